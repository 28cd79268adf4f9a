//! HTML as it is written: every text is escaped, and numbers carry the value that programs read.

use crate::record::Verdict;
use crate::report::figure::{self, Figure};

/// A piece of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

/// One cell of a table.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Text(String),
    /// A text that is read letter by letter: a name, a path, an error.
    Code(String),
    /// A text in a column of numbers.
    Right(String),
    Number(Option<Figure>, &'static str),
    Verdict(Option<Verdict>),
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn code(text: impl Into<String>) -> Self {
        Self::Code(text.into())
    }

    pub(super) fn count(count: u64) -> Self {
        Self::Number(Some(count.into()), "messages")
    }

    pub(super) fn us(us: Option<u64>) -> Self {
        Self::Number(us.map(Figure::from), "us")
    }
}

impl Html {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Markup that was written by this program, not taken from a record.
    pub(super) fn markup(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.0.push_str(&escaped(text));
    }

    /// `<tag>text</tag>`
    pub(super) fn element(&mut self, tag: &str, text: &str) {
        self.markup(&format!("<{tag}>"));
        self.text(text);
        self.markup(&format!("</{tag}>\n"));
    }

    /// A heading that can be linked to, and what stands below it.
    pub(super) fn section(&mut self, id: &str, heading: &str, fill: impl FnOnce(&mut Self)) {
        self.markup(&format!("<section id=\"{id}\">\n"));
        self.element("h2", heading);
        fill(self);
        self.markup("</section>\n");
    }

    /// A number with the value that programs read.
    pub(super) fn number(&mut self, number: Option<Figure>, unit: &str) {
        match number {
            Some(number) => self.markup(&format!(
                "<data value=\"{}\">{}</data>",
                figure::plain(number),
                escaped(&figure::shown(number, unit))
            )),
            None => self.markup("–"),
        }
    }

    /// A table; `name` is what programs find it by. One without rows says `if_empty` instead.
    pub(super) fn table<const COLUMNS: usize>(
        &mut self,
        name: &str,
        header: [&str; COLUMNS],
        rows: impl IntoIterator<Item = [Cell; COLUMNS]>,
        if_empty: &str,
    ) {
        let mut rows = rows.into_iter().peekable();
        let Some(first) = rows.peek() else {
            self.element("p", if_empty);
            return;
        };
        let classes = first
            .each_ref()
            .map(|cell| if matches!(cell, Cell::Number(..) | Cell::Right(_)) { " class=\"number\"" } else { "" });
        self.markup(&format!("<div class=\"scroll\"><table id=\"{name}\">\n<thead><tr>"));
        header.iter().zip(classes).for_each(|(title, class)| {
            self.markup(&format!("<th scope=\"col\"{class}>"));
            self.text(title);
            self.markup("</th>");
        });
        self.markup("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.markup("<tr>");
            row.into_iter().for_each(|cell| self.cell(cell));
            self.markup("</tr>\n");
        }
        self.markup("</tbody></table></div>\n");
    }

    fn cell(&mut self, cell: Cell) {
        match cell {
            Cell::Text(text) => {
                self.markup("<td>");
                self.text(&text);
            }
            Cell::Code(text) => {
                self.markup("<td class=\"code\">");
                self.text(&text);
            }
            Cell::Right(text) => {
                self.markup("<td class=\"number\">");
                self.text(&text);
            }
            Cell::Number(number, unit) => {
                self.markup("<td class=\"number\">");
                self.number(number, unit);
            }
            Cell::Verdict(verdict) => {
                self.markup("<td>");
                verdict.into_iter().for_each(|verdict| {
                    self.markup(&format!("<span class=\"mark {0}\">{0}</span>", verdict.word()));
                });
            }
        }
        self.markup("</td>");
    }

    /// Names with their values, side by side.
    pub(super) fn facts<'a>(&mut self, facts: impl IntoIterator<Item = (&'a str, String)>) {
        self.markup("<dl>\n");
        for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
            self.markup("<div><dt>");
            self.text(name);
            self.markup("</dt><dd>");
            self.text(&value);
            self.markup("</dd></div>\n");
        }
        self.markup("</dl>\n");
    }
}

/// `text` as it stands in HTML, between tags or in a quoted attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            // HTML has no way to write these.
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_carry_what_programs_read() {
        let mut html = Html::default();
        html.number(Some(Figure::Whole(1_234_567)), "us");
        assert_eq!(html.into_string(), "<data value=\"1234567\">1,234.567 ms</data>");
    }

    proptest! {
        #[test]
        fn no_text_becomes_markup(text in ".*") {
            let safe = escaped(&text);
            prop_assert!(!safe.contains(['<', '>', '"', '\'']));
        }
    }
}
