//! The `lurcher` command.

fn main() {}
