//! What is peculiar to KafkaChannels: the cluster and the topic that keep their events.
//!
//! The cluster stands in the ConfigMap `kafka-channel-config` of the namespace `knative-eventing`, with the
//! keys that a Broker's has; the topic in the channel's spec.

use heddle_crds::conditions::ConditionManager;
use heddle_crds::duration::parse_duration;
use heddle_crds::messaging::{Backing, Backs as _, KafkaChannel, kafka_channel as types};
use heddle_crds::world::World;

use super::StoreKind;
use super::backing::Implementation;
use super::{broker, kafka, report};
use crate::log::kafka::Template;

pub(super) const IMPLEMENTATION: Implementation = Implementation {
    kind: KafkaChannel::KIND,
    conditions: types::CONDITIONS,
    store,
    remarks,
};

const CONFIG_MAP: &str = "kafka-channel-config";

fn store(world: &World, channel: &Backing<'_>) -> Result<StoreKind, String> {
    let (namespace, name) = (channel.namespace(), channel.name());
    let spec = world.kafka_channels.get(namespace, name);
    let spec = spec.map(|found| found.spec.clone()).unwrap_or_default();
    let kept = parse_duration(spec.retention()).map_err(|error| error.to_string())?;
    let settings = [("retention.ms".to_owned(), kept.as_millis().to_string())];
    let place = kafka::Place {
        access: kafka::named(world, CONFIG_MAP)?,
        template: Template {
            partitions: spec.num_partitions.unsigned_abs(),
            replication: spec.replication_factor.unsigned_abs(),
            settings: settings.into(),
            ..Template::new(&format!("knative-messaging-kafka.{namespace}.{name}"))
        },
    };
    Ok(StoreKind::Kafka(place.into()))
}

fn remarks(
    world: &World,
    channel: &Backing<'_>,
    trouble: Option<&str>,
    manage: &mut ConditionManager<'_>,
) {
    match store(world, channel) {
        Err(reason) => report::mark_kafka(manage, Some(&reason), None),
        Ok(store) => {
            report::mark_kafka(manage, None, Some(trouble.map_or(Ok(()), Err)));
            broker::mark_durability(manage, &store);
        }
    }
}
