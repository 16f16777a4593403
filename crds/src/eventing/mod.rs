//! Kinds of the group `eventing.knative.dev`: Brokers, the Triggers that read from them, and the
//! EventTypes that say what there is to read.

pub mod broker;
pub mod event_type;
pub mod filter;
pub mod trigger;

pub use broker::{Broker, BrokerSpec, BrokerStatus};
pub use event_type::{EventType, EventTypeSpec, EventTypeStatus};
pub use filter::{SubscriptionsApiFilter, TriggerFilter};
pub use trigger::{Trigger, TriggerSpec, TriggerStatus};
