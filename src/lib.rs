//! Heddle's one binary as a library, so that tests can use its parts: the [command line](cli).

pub mod cli;
