//! Small models, searched to the end: what they contain is the design, not the code.
//!
//! * [`lease`]: grants, epochs, heartbeats with their delays, changes of leader, frozen agents
//!   (I1, I5).
//! * [`writes`]: Azure writes that arrive late, compare-and-swap, exposed NICs, moves that supersede
//!   each other (I2, I8).
//!
//! Each model has its rules as switches ([`Rules`]). With all of them it holds within the bounds
//! that were searched; without one of them it breaks, or the rule stands in the model's table of
//! rules that nothing shows.
//!
//! Deliberately not here: any of the product's crates. A model that shares code with what it
//! judges repeats its mistakes.

mod check;
pub mod lease;
mod rules;
pub mod writes;

pub use check::{Counterexample, Limits, Report, check};
pub use rules::Rules;
