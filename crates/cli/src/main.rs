//! The `filch` command line.
fn main() {}
