//! The event, the log that keeps it, the filters that choose it and the front door that takes it.
//!
//! Read in this order: [`event`] (what travels), [`ingress`] (how it comes in), [`directory`]
//! (where it goes), [`log`] (how it is kept), [`filter`] (who wants it). Only `control` knows
//! Kubernetes resources; everything else here works without them.

pub mod clock;
pub mod control;
pub mod directory;
pub mod event;
pub mod filter;
pub mod ingress;
pub mod log;
