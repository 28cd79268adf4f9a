//! Patterns of topic exchanges: `*` is one word, `#` any number of them, words are separated by dots.

/// The words of a routing key or a pattern; an empty one has none, as in the broker.
pub(in crate::plan) fn words(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.split('.').collect() }
}

/// Whether the words of `key` match those of `pattern`.
///
/// Every `#` first takes nothing; on a mismatch the latest one takes a word more. Earlier ones need no second try,
/// because the latest could take whatever they would leave: at most `key × pattern` steps.
pub(in crate::plan) fn matches(pattern: &[&str], key: &[&str]) -> bool {
    let (mut at_pattern, mut at_key) = (0, 0);
    // Where to go on after the latest `#`, and the first word that it has not taken.
    let mut retry = None;
    while at_key < key.len() {
        match pattern.get(at_pattern) {
            Some(&"#") => {
                at_pattern += 1;
                retry = Some((at_pattern, at_key));
            }
            Some(word) if *word == "*" || *word == key[at_key] => {
                at_pattern += 1;
                at_key += 1;
            }
            _ => {
                let Some((after, untaken)) = retry else { return false };
                retry = Some((after, untaken + 1));
                (at_pattern, at_key) = (after, untaken + 1);
            }
        }
    }
    pattern[at_pattern..].iter().all(|word| *word == "#")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word for word.
    fn oracle(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((&"#", rest)), _) => (0..=key.len()).any(|taken| oracle(rest, &key[taken..])),
            (Some(_), None) => false,
            (Some((word, pattern)), Some((first, key))) => (*word == "*" || word == first) && oracle(pattern, key),
        }
    }

    #[test]
    fn the_specifications_examples() {
        for (pattern, key, expected) in [
            ("*.stock.#", "usd.stock", true),
            ("*.stock.#", "eur.stock.db", true),
            ("*.stock.#", "stock.nasdaq", false),
            ("#", "", true),
            ("*", "", false),
            ("", "", true),
            ("#.#", "a", true),
            ("a.*", "a.", true),
            ("a", "a.", false),
        ] {
            assert_eq!(matches(&words(pattern), &words(key)), expected, "{pattern} on {key}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn agrees_with_the_definition(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "#"]), 0..7),
            key in prop::collection::vec(prop::sample::select(vec!["a", "b"]), 0..7),
        ) {
            prop_assert_eq!(matches(&pattern, &key), oracle(&pattern, &key));
        }
    }
}
