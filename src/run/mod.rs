//! Wiring: one function a role. No logic.

mod banner;
pub mod control;
mod data_dir;
mod first_steps;
mod handlers;
pub mod up;
