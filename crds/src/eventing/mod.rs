//! Kinds of the group `eventing.knative.dev`: Brokers, the Triggers that read from them, the EventTypes
//! that say what there is to read, and the KafkaSinks that events leave by.

pub mod broker;
pub mod event_type;
pub mod filter;
pub mod kafka_sink;
pub mod trigger;

pub use broker::{Broker, BrokerSpec, BrokerStatus};
pub use event_type::{EventType, EventTypeSpec, EventTypeStatus};
pub use filter::{SubscriptionsApiFilter, TriggerFilter};
pub use kafka_sink::{KafkaSink, KafkaSinkSpec, KafkaSinkStatus};
pub use trigger::{Trigger, TriggerSpec, TriggerStatus};
