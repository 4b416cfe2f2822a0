//! Texts of others in messages of ours.

/// So many characters of a foreign text are passed on.
const MAX_BRIEF: usize = 500;

/// The beginning of a text that may be of any length: it goes into the log, into headers, before
/// people, and whoever wrote it may have sent megabytes.
#[must_use]
pub fn brief(text: &str) -> String {
    match text.char_indices().nth(MAX_BRIEF) {
        Some((end, _)) => format!("{} …", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// An error with its causes, which most errors leave out of their text.
#[must_use]
pub fn told(error: &dyn core::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_a_short_one_left_alone() {
        assert_eq!(brief("ä"), "ä");
        let cut = brief(&"ä".repeat(MAX_BRIEF + 1));
        assert_eq!(cut.chars().count(), MAX_BRIEF + 2);
        assert!(cut.ends_with("ä …"));
    }
}
