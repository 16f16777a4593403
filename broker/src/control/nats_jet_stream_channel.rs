//! What is peculiar to NatsJetStreamChannels: the stream that keeps their events, and the settings that
//! have no effect here, which the channel says by name.

use heddle_crds::conditions::ConditionManager;
use heddle_crds::messaging::nats_jet_stream_channel::{self as types, ConsumerConfigTemplate};
use heddle_crds::messaging::{Backing, Backs as _, NatsJetStreamChannel};
use heddle_crds::world::World;

use super::StoreKind;
use super::backing::Implementation;
use super::{broker, jetstream};

pub(super) const IMPLEMENTATION: Implementation = Implementation {
    kind: NatsJetStreamChannel::KIND,
    conditions: types::CONDITIONS,
    store,
    remarks,
};

/// The condition that names settings which have no effect. Informational.
pub const SETTINGS_HONOURED: &str = "SettingsHonoured";

fn of<'a>(world: &'a World, channel: &Backing<'_>) -> Option<&'a NatsJetStreamChannel> {
    let shelf = &world.nats_jet_stream_channels;
    let found = shelf.get(channel.namespace(), channel.name());
    found.map(AsRef::as_ref)
}

fn store(world: &World, channel: &Backing<'_>) -> Result<StoreKind, String> {
    let spec = of(world, channel).map(|found| found.spec.clone());
    let place = jetstream::keeping(world, &spec.unwrap_or_default())?;
    Ok(StoreKind::JetStream(place.into()))
}

fn remarks(
    world: &World,
    channel: &Backing<'_>,
    trouble: Option<&str>,
    manage: &mut ConditionManager<'_>,
) {
    match trouble {
        Some(reason) => manage.mark_false(types::STREAM_READY, "StreamFailed", reason),
        None => manage.mark_true(types::STREAM_READY),
    }
    if let Ok(store) = store(world, channel) {
        broker::mark_durability(manage, &store);
    }
    let Some(spec) = of(world, channel).map(|found| &found.spec) else {
        return;
    };
    let mut without = jetstream::without_effect(&spec.stream_config());
    without.extend(spec.consumer_config_template.iter().flat_map(of_consumers));
    if spec.deployment_spec_template.is_some() {
        without.push("deploymentSpecTemplate: there is no Deployment of dispatchers".to_owned());
    }
    if without.is_empty() {
        manage.mark_true(SETTINGS_HONOURED);
    } else {
        let message = format!("Without effect here: {}.", without.join("; "));
        manage.mark_false(SETTINGS_HONOURED, "WithoutEffect", &message);
    }
}

/// The fields of a consumer template that have no effect, and what to use in their place.
fn of_consumers(template: &ConsumerConfigTemplate) -> Vec<String> {
    let ConsumerConfigTemplate {
        deliver_policy,
        opt_start_seq: _,
        opt_start_time: _,
        ack_wait,
        max_deliver,
        filter_subject,
        replay_policy,
        rate_limit_bps,
        sample_frequency,
        max_ack_pending: _,
        consumer_type,
        fetch_max_wait,
        fetch_batch_size,
    } = template;
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let rows = [
        (
            deliver_policy.as_deref() == Some("Last"),
            "deliverPolicy Last (subscribers start with what comes after them)",
        ),
        (
            set(ack_wait),
            "ackWait (delivery.timeout bounds an attempt)",
        ),
        (
            max_deliver.is_some_and(|most| most != 0),
            "maxDeliver (delivery.retry counts attempts)",
        ),
        (
            set(filter_subject),
            "filterSubject (subscribers get all events of a channel)",
        ),
        (
            replay_policy.as_deref() == Some("Original"),
            "replayPolicy Original",
        ),
        (rate_limit_bps.is_some_and(|most| most != 0), "rateLimitBPS"),
        (set(sample_frequency), "sampleFrequency"),
        (
            set(consumer_type) || set(fetch_max_wait) || fetch_batch_size.is_some(),
            "consumerType, fetchMaxWait and fetchBatchSize (events are read without consumers)",
        ),
    ];
    let rows = rows.into_iter().filter(|(given, _)| *given);
    rows.map(|(_, what)| format!("consumerConfigTemplate.{what}"))
        .collect()
}
