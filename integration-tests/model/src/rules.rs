//! Which rules of the design a model keeps.

/// The rules of a model: all of them, but for those that were dropped to see what they are for.
#[derive(Clone, Debug)]
pub struct Rules<R> {
    dropped: Vec<R>,
}

impl<R: Copy + PartialEq> Rules<R> {
    /// Every rule is kept.
    #[must_use]
    pub fn full() -> Self {
        Self { dropped: Vec::new() }
    }

    /// Every rule but these is kept.
    #[must_use]
    pub fn without(dropped: &[R]) -> Self {
        Self { dropped: dropped.to_vec() }
    }

    /// Whether a rule is kept.
    #[must_use]
    pub fn keep(&self, rule: R) -> bool {
        !self.dropped.contains(&rule)
    }
}
