//! The harness: stub.
