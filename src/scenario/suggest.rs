//! The nearest of the words that would have been right.
//!
//! May use nothing of the house.

/// The candidate that `word` was most likely meant to be; none where nothing is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let flat = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let word = flat(word);
    let limit = (word.chars().count() / 3).max(1);
    let distances = candidates.into_iter().map(|candidate| {
        let candidate_flat = flat(candidate);
        // A part of the right name is near, however long the rest: `ttl` for `message_ttl`.
        let part = word.len() > 2
            && (candidate_flat.starts_with(&format!("{word}_")) || candidate_flat.ends_with(&format!("_{word}")));
        let distance = if part { 1 } else { strsim::damerau_levenshtein(&word, &candidate_flat) };
        (distance, candidate)
    });
    distances.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, best)| best)
}

/// `words` in quotes, as a list in prose: "`a`, `b` and `c`".
pub(super) fn list<'a>(words: impl IntoIterator<Item = &'a str>, and: &str) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, before)) => format!("{} {and} {last}", before.join(", ")),
    }
}

/// As [`list`], but no longer than ten words.
pub(super) fn short_list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 10;
    let words: Vec<&str> = words.into_iter().collect();
    match words.len().checked_sub(MOST) {
        Some(more @ 1..) => format!("{} and {more} more", list(words[..MOST].iter().copied(), ",")),
        _ => list(words, "and"),
    }
}

/// "did you mean `b`?", or `otherwise`.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    match nearest(word, candidates) {
        Some(best) => format!("did you mean `{best}`?"),
        None => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["prefetch", "prefetch_scope", "priority", "message_ttl", "auto_delete"];
        for (written, meant) in [
            ("prefech", Some("prefetch")),
            ("Prefetch", Some("prefetch")),
            ("auto-delete", Some("auto_delete")),
            ("ttl", Some("message_ttl")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, keys), meant, "{written}");
        }
    }

    #[test]
    fn lists_as_prose() {
        assert_eq!(list(["a"], "and"), "`a`");
        assert_eq!(list(["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
