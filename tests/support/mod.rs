//! What the black-box tests share: the real binary in a process of its own, an HTTP client, and
//! subscribers that do as they are told.
//!
//! Nothing here knows the product's code; it is driven over its listeners and its command line
//! alone. Nothing waits for a time to pass: [`wait::until`] looks for a condition, and fails with
//! the reason when its deadline has passed.

#![allow(dead_code, unused_imports)] // Every test binary uses its own part of this.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods)] // Tests run on the machine's clock.

pub(crate) mod api;
pub(crate) mod disk;
pub(crate) mod heddle;
pub(crate) mod http;
pub(crate) mod kafka;
pub(crate) mod load;
pub(crate) mod nats;
pub(crate) mod report;
pub(crate) mod subscriber;
pub(crate) mod wait;

pub(crate) use heddle::{Heddle, data_directory};
pub(crate) use http::{Http, Response};
pub(crate) use subscriber::{Answer, Delivery, Subscriber};
