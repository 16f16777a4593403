//! Kinds of the group `messaging.knative.dev`: channels and the Subscriptions that read from them.

pub mod backing;
pub mod channel;
pub mod in_memory_channel;
pub mod kafka_channel;
pub mod nats_jet_stream_channel;
pub mod subscription;

pub use backing::{Backing, BackingSpec, BackingStatus, Backs};
pub use channel::{Channel, ChannelSpec, ChannelStatus};
pub use in_memory_channel::{InMemoryChannel, InMemoryChannelSpec};
pub use kafka_channel::{KafkaChannel, KafkaChannelSpec};
pub use nats_jet_stream_channel::{NatsJetStreamChannel, NatsJetStreamChannelSpec};
pub use subscription::{PhysicalSubscription, Subscription, SubscriptionSpec, SubscriptionStatus};
