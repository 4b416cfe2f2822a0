//! Step tests: an input, and the exact effects.

mod around;
mod attacks;
mod beats;
mod bench;
mod cuts;
mod leases;
mod random;
mod reaches;
mod releases;
mod sighted;
mod stops;
mod table;
mod tasks;
