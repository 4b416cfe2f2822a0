//! The timeline: what happened, in words, for whoever reads a replay. Written only when asked for.

use crate::time::At;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    lines: Option<Vec<(At, String)>>,
}

impl Timeline {
    /// From now on lines are kept.
    pub fn keep(&mut self) {
        self.lines.get_or_insert_with(Vec::new);
    }

    /// A line, made only if lines are kept.
    pub fn note(&mut self, at: At, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push((at, line()));
        }
    }

    /// What was written from a moment on.
    pub(crate) fn since(&self, at: At) -> impl Iterator<Item = &str> + '_ {
        let lines = self.lines.iter().flatten().filter(move |(when, _)| *when >= at);
        lines.map(|(_, line)| line.as_str())
    }

    /// All lines, with the time in seconds.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.lines
            .iter()
            .flatten()
            .map(|(at, line)| format!("{:>4}.{:06} {line}", at / 1_000_000, at % 1_000_000))
    }
}
