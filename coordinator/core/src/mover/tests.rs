//! Step tests of the Mover.
