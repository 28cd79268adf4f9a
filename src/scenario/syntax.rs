//! What is said about a file that is not TOML.
//!
//! The parser's own words are made for people who write parsers; here they become a fault and what would be right.

use std::ops::Range;

/// What the parser says where a key is there twice.
pub(super) const DUPLICATE: &str = "duplicate key";

/// What is wrong, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Explained {
    pub message: String,
    pub help: Option<String>,
    /// Whether the parser lost its way here, so that what it says of later lines means nothing.
    pub lost: bool,
}

/// The parser's message about the stretch `span` of `text`, in our words.
pub(super) fn explain(message: &str, text: &str, span: &Range<usize>) -> Explained {
    let part = text.get(span.clone()).unwrap_or_default();
    let explained = |message: &str, help: &str, lost: bool| Explained {
        message: message.to_owned(),
        help: Some(help.to_owned()),
        lost,
    };
    let said = |message: &str, help: &str| explained(message, help, false);
    let (fault, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    match fault {
        DUPLICATE => said(
            &format!("`{part}` is there twice"),
            "keep one of them; a list of tables is written with double brackets, such as `[[queue]]`",
        ),
        "string values must be quoted" if part.is_empty() => {
            said("a value is missing here", "write a number, `true`, `false`, or text in quotes")
        }
        "string values must be quoted" => {
            said(&format!("`{part}` is text and should be in quotes"), &format!("write `\"{part}\"`"))
        }
        "key with no value" => said("a key without a value", "write `key = value`"),
        "unquoted keys cannot be empty" => said("a key is missing before the `=`", "write `key = value`"),
        "invalid unquoted key" => said(
            &format!("`{part}` does not belong in a key"),
            "keys hold letters, digits, `-` and `_`; others go in quotes",
        ),
        "invalid basic string" | "invalid literal string" => {
            said("the text is not closed on its line", &format!("end it with {expected}"))
        }
        "missing escaped value" => said(
            "`\\` begins an escape that TOML does not know",
            "write `\\\\` for a backslash, or put the text in '…'",
        ),
        "invalid boolean" => said(&format!("`{part}` is no value"), "write `true` or `false`, in small letters"),
        "unexpected leading zero" => {
            said("a number does not begin with a zero", "leave it out, or put the text in quotes")
        }
        "unclosed table" | "unclosed array table" | "unclosed array" | "unclosed inline table" => {
            let what = fault.trim_start_matches("unclosed ");
            let what = what.replace("array table", "list of tables").replace("array", "list");
            explained(&format!("the {what} is not closed"), &format!("close it with {expected}"), true)
        }
        "missing comma between array elements" => explained(
            "the list goes on here without a comma",
            "put a comma before this, or close the list above with `]`",
            true,
        ),
        _ => Explained {
            message: format!("not TOML: {fault}"),
            help: (!expected.is_empty() && expected != "nothing").then(|| format!("expected here: {expected}")),
            lost: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A newer parser may say it differently; then the table above wants new words.
    #[test]
    fn the_parser_still_says_what_is_known_here() {
        for text in [
            "rate = 2000/s",
            "a = ",
            "= 3",
            "a b = 3",
            "a = 1\na = 2",
            "a = \"abc\nb = 1",
            "[[queue]\nname='x'",
            "a = {b = 1",
            "a = [1, 2",
            "a = [1\nb = 2",
            "a = \"\\q\"",
            "a = True",
            "a = 01",
        ] {
            let (_, errors) = toml::de::DeTable::parse_recoverable(text);
            let error = errors.first().unwrap_or_else(|| panic!("{text:?} was accepted"));
            let explained = explain(error.message(), text, &error.span().unwrap_or_default());
            assert!(!explained.message.starts_with("not TOML"), "{text:?}: {explained:?}");
        }
    }
}
