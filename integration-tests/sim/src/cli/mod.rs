//! The subcommands of the `vipfence-sim` binary.

mod mutants;

pub use mutants::mutants;
