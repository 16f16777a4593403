//! Kinds of the group `eventing.knative.dev`: Brokers and the Triggers that read from them.

pub mod broker;
pub mod filter;
pub mod trigger;

pub use broker::{Broker, BrokerSpec, BrokerStatus};
pub use filter::{SubscriptionsApiFilter, TriggerFilter};
pub use trigger::{Trigger, TriggerSpec, TriggerStatus};
