//! Heddle's one binary as a library, so that tests can use its parts.
//!
//! [`cli`] is what a person types, [`run`] wires the roles, [`admin`] shows how the process is, and
//! [`telemetry`] and [`shutdown`] are its logs and its end.

pub mod admin;
pub mod cli;
pub mod run;
pub mod shutdown;
pub mod telemetry;
