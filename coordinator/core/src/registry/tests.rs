//! Step tests of the Registry.
