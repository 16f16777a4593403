//! Kinds of the group `sources.knative.dev`: what makes events.

pub mod kafka_source;

pub use kafka_source::{KafkaSource, KafkaSourceSpec, KafkaSourceStatus};
