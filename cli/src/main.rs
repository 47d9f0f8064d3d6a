//! `tannin`: one binary for every role and every command.
fn main() {}
