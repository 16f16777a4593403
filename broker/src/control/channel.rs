//! Channel -> the channel behind it; its address is that channel's.
//!
//! The channel behind has the Channel's name and belongs to it. InMemoryChannel is the one kind that
//! can stand behind a Channel so far.

use heddle_crds::conditions::{self, ConditionManager};
use heddle_crds::duck::{Addressable, DeliveryStatus, KReference};
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::{Write, resource_of, status_patch};
use heddle_crds::messaging::channel as types;
use heddle_crds::messaging::{Channel, ChannelStatus, InMemoryChannel, InMemoryChannelStatus};
use heddle_crds::world::World;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{Step, report, status_write};

const API_VERSION: &str = "messaging.knative.dev/v1";
const BEHIND: &str = "InMemoryChannel";

pub(super) fn plan(world: &World, key: &Key, now: Timestamp) -> Vec<Step> {
    let Some(channel) = world.channels.get(&key.namespace, &key.name) else {
        return Vec::new();
    };
    if channel.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let template = channel.spec.channel_template.clone().unwrap_or_default();
    let mut steps = Vec::new();
    let supported = template.kind == BEHIND && template.api_version == API_VERSION;
    if supported {
        let existing = world.in_memory_channels.get(&key.namespace, &key.name);
        steps.extend(shape(channel, existing.map(AsRef::as_ref)).map(Step::Write));
    }
    let refused = (!supported).then(|| {
        format!(
            "channel template {} ({}) is not supported; use {BEHIND} ({API_VERSION})",
            template.kind, template.api_version
        )
    });
    let status = status(world, channel, refused.as_deref(), now);
    let write = status_write(key, &**channel, channel.status.as_ref(), &status, &[]);
    steps.extend(write.map(Step::Write));
    steps
}

/// What makes the channel behind this one what it should be.
fn shape(channel: &Channel, existing: Option<&InMemoryChannel>) -> Option<Write> {
    let Some(existing) = existing else {
        return Some(Write::Create(BEHIND, Box::new(behind(channel))));
    };
    let patch = status_patch(
        Some(&json!({ "delivery": existing.spec.delivery })),
        &json!({ "delivery": channel.spec.delivery }),
        &[],
    )?;
    let key = Key::new(
        BEHIND,
        &existing.namespace().unwrap_or_default(),
        &existing.name_any(),
    );
    Some(Write::Spec(key, existing.resource_version(), patch))
}

fn behind(channel: &Channel) -> DynamicObject {
    let resource = resource_of(BEHIND);
    let mut object = DynamicObject::new(&channel.name_any(), &resource)
        .within(&channel.namespace().unwrap_or_default());
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: Channel::api_version(&()).into_owned(),
        kind: Channel::kind(&()).into_owned(),
        name: channel.name_any(),
        uid: channel.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }]);
    let template = channel.spec.channel_template.clone().unwrap_or_default();
    let mut spec = template.spec.unwrap_or_default();
    if let Some(delivery) = &channel.spec.delivery {
        spec.insert("delivery".to_owned(), json!(delivery));
    }
    object.data = json!({ "spec": spec });
    object
}

fn status(
    world: &World,
    channel: &Channel,
    refused: Option<&str>,
    now: Timestamp,
) -> ChannelStatus {
    let mut status = channel.status.clone().unwrap_or_default();
    status.observed_generation = channel.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    let mut manage = types::CONDITIONS.manage(&mut conditions, now);
    manage.initialize();
    let namespace = channel.namespace().unwrap_or_default();
    let behind = world
        .in_memory_channels
        .get(&namespace, &channel.name_any());
    let behind_status = behind.and_then(|behind| behind.status.clone());
    status.channel = behind_status.as_ref().map(|_| KReference {
        kind: BEHIND.to_owned(),
        namespace: Some(namespace.clone()),
        name: channel.name_any(),
        api_version: API_VERSION.to_owned(),
        ..KReference::default()
    });
    mark_behind(&mut manage, refused, behind_status.as_ref());
    let address = behind_status
        .as_ref()
        .and_then(|behind| behind.address.clone());
    mark_address(&mut manage, address.as_ref(), types::ADDRESSABLE);
    status.address = address.clone();
    status.addresses = address.into_iter().collect();
    status.delivery = behind_status
        .map(|behind| behind.delivery)
        .unwrap_or_default();
    mark_dead_letter_sink(
        &mut manage,
        types::DEAD_LETTER_SINK_RESOLVED,
        channel
            .spec
            .delivery
            .as_ref()
            .is_some_and(|d| d.dead_letter_sink.is_some()),
        &status.delivery,
    );
    report::mark_policies(&mut manage, types::EVENT_POLICIES_READY);
    status.conditions = conditions;
    status
}

fn mark_behind(
    manage: &mut ConditionManager<'_>,
    refused: Option<&str>,
    behind: Option<&InMemoryChannelStatus>,
) {
    let condition = types::BACKING_CHANNEL_READY;
    match (refused, behind) {
        (Some(reason), _) => manage.mark_false(condition, "ChannelTemplateFailed", reason),
        (None, None) => manage.mark_unknown(
            condition,
            "BackingChannelNotConfigured",
            "BackingChannel has not yet been reconciled.",
        ),
        (None, Some(behind)) if conditions::is_true(&behind.conditions, "Ready") => {
            manage.mark_true(condition);
        }
        (None, Some(_)) => manage.mark_unknown(
            condition,
            "BackingChannelNotReady",
            "The channel behind this one is not ready yet.",
        ),
    }
}

fn mark_address(manage: &mut ConditionManager<'_>, address: Option<&Addressable>, condition: &str) {
    if address.is_some() {
        manage.mark_true(condition);
    } else {
        manage.mark_false(
            condition,
            "EmptyHostname",
            "The channel behind this one has no address yet.",
        );
    }
}

fn mark_dead_letter_sink(
    manage: &mut ConditionManager<'_>,
    condition: &str,
    wanted: bool,
    resolved: &DeliveryStatus,
) {
    match (wanted, &resolved.dead_letter_sink_uri) {
        (false, _) => manage.mark_true_with_reason(
            condition,
            "DeadLetterSinkNotConfigured",
            "No dead letter sink is configured.",
        ),
        (true, Some(_)) => manage.mark_true(condition),
        (true, None) => manage.mark_unknown(
            condition,
            "DeadLetterSinkUnknown",
            "The channel behind this one has not resolved the dead letter sink yet.",
        ),
    }
}
