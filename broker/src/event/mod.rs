//! A CloudEvent as the broker keeps it: validated once, then carried as one block of bytes.
//!
//! Everything between the front door and the subscriber handles [`Event`]: the attributes as
//! text, each with the type it had on the wire, and the data as the bytes that came in. Data is
//! never parsed, reordered or encoded anew (a signature over it still verifies), and an event
//! keeps its `specversion`.
//!
//! * [`attributes`]: names, types and limits; what makes an event valid.
//! * [`http`]: the HTTP binding, binary, structured and batched, in and out.
//! * [`header`]: attribute text as HTTP header values.
//! * [`json`]: the JSON event format.
//! * [`message`]: the bindings of buses with headers, Kafka and NATS.
//! * [`builder`]: events that the program makes, and events with attributes changed.
//! * [`draft`]: an event on its way in, to which the broker adds.
//! * [`sdk`]: conversions from and to `cloudevents::Event`, for the edges.
//! * [`packed`]: the block of bytes, which is also what the log keeps.

pub mod attributes;
pub mod builder;
pub mod draft;
pub mod header;
pub mod http;
pub mod json;
pub mod message;
pub mod packed;
pub mod sdk;

pub use attributes::{EventError, Rule};
pub use builder::{AttributeValue, EventBuilder};
pub use draft::Draft;
pub use packed::{Attribute, AttributeKind, DataForm, Event, Packer, SpecVersion, UnpackError};
