//! `server`: stub.
fn main() {}
