//! Wiring: one function a role. No logic.

mod access;
mod banner;
pub mod control;
pub mod data_dir;
mod first_steps;
mod handlers;
mod metrics;
pub mod up;
