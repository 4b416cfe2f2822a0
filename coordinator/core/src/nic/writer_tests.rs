//! Step tests of the NicWriter.
