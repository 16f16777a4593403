//! The `heddle` binary.
fn main() {}
