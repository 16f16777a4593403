//! Kinds of the group `messaging.knative.dev`: channels and the Subscriptions that read from them.

pub mod channel;
pub mod in_memory_channel;
pub mod subscription;

pub use channel::{Channel, ChannelSpec, ChannelStatus};
pub use in_memory_channel::{InMemoryChannel, InMemoryChannelSpec, InMemoryChannelStatus};
pub use subscription::{PhysicalSubscription, Subscription, SubscriptionSpec, SubscriptionStatus};
