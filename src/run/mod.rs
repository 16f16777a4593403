//! Wiring: one function a role. No logic.

pub mod control;
pub mod data_dir;
pub mod up;
