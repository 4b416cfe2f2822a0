//! The replicated state (being built).
use serde::{Deserialize, Serialize};
use vipfence_types::Term;

/// The replicated state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Registry {
    /// Counts changes.
    pub revision: u64,
}
/// A command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Version of the record.
    pub format: u16,
}
/// What became of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Applied {
    /// Done.
    Done,
}
impl Registry {
    /// Applies a command.
    pub fn apply(&mut self, _term: Term, _command: &Command) -> Applied {
        self.revision += 1;
        Applied::Done
    }
}
