//! Channel -> the channel behind it; its address is that channel's.
//!
//! The channel behind has the Channel's name and belongs to it. Every kind of channel that keeps
//! events can stand behind a Channel.

use heddle_crds::conditions::{self, ConditionManager};
use heddle_crds::duck::{Addressable, ChannelTemplateSpec, DeliveryStatus, KReference};
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::{Write, resource_of, status_patch};
use heddle_crds::messaging::channel as types;
use heddle_crds::messaging::{Backing, BackingStatus, Channel, ChannelStatus};
use heddle_crds::world::World;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{Step, backing, report, status_write};

pub(super) fn plan(world: &World, key: &Key, now: Timestamp) -> Vec<Step> {
    let Some(channel) = world.channels.get(&key.namespace, &key.name) else {
        return Vec::new();
    };
    if channel.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let template = channel.spec.channel_template.clone().unwrap_or_default();
    let mut steps = Vec::new();
    let kind = kind_of(&template);
    let behind = kind.and_then(|kind| world.backing(kind, &key.namespace, &key.name));
    if let Some(kind) = kind {
        let write = match &behind {
            Some(behind) => shape(channel, behind),
            None => Some(Write::Create(kind, Box::new(make(channel, kind)))),
        };
        steps.extend(write.map(Step::Write));
    }
    let refused = kind.is_none().then(|| {
        format!(
            "channel template {} ({}) is not supported; use {}",
            template.kind,
            template.api_version,
            supported()
        )
    });
    let status = status(channel, &template, behind.as_ref(), refused.as_deref(), now);
    let metadata = &channel.metadata;
    let write = status_write(key, metadata, channel.status.as_ref(), &status, &[]);
    steps.extend(write.map(Step::Write));
    steps
}

/// The kind that a template names, where there is one here.
fn kind_of(template: &ChannelTemplateSpec) -> Option<&'static str> {
    let mut kinds = backing::kinds().into_iter();
    let kind = kinds.find(|kind| *kind == template.kind)?;
    (resource_of(kind).api_version == template.api_version).then_some(kind)
}

fn supported() -> String {
    let name = |kind: &str| format!("{kind} ({})", resource_of(kind).api_version);
    let all: Vec<_> = backing::kinds().into_iter().map(name).collect();
    all.join(" or ")
}

/// What makes the channel behind this one what it should be.
fn shape(channel: &Channel, existing: &Backing<'_>) -> Option<Write> {
    let patch = status_patch(
        Some(&json!({ "delivery": existing.delivery })),
        &json!({ "delivery": channel.spec.delivery }),
        &[],
    )?;
    let key = Key::new(existing.kind, existing.namespace(), existing.name());
    let version = existing.metadata.resource_version.clone();
    Some(Write::Spec(key, version, patch))
}

fn make(channel: &Channel, kind: &'static str) -> DynamicObject {
    let resource = resource_of(kind);
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
    channel: &Channel,
    template: &ChannelTemplateSpec,
    behind: Option<&Backing<'_>>,
    refused: Option<&str>,
    now: Timestamp,
) -> ChannelStatus {
    let mut status = channel.status.clone().unwrap_or_default();
    status.observed_generation = channel.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    let mut manage = types::CONDITIONS.manage(&mut conditions, now);
    manage.initialize();
    let behind_status = behind.and_then(|behind| behind.status);
    status.channel = behind_status.map(|_| KReference {
        kind: template.kind.clone(),
        namespace: channel.namespace(),
        name: channel.name_any(),
        api_version: template.api_version.clone(),
        ..KReference::default()
    });
    mark_behind(&mut manage, refused, behind_status);
    let address = behind_status.and_then(|behind| behind.address.clone());
    mark_address(&mut manage, address.as_ref(), types::ADDRESSABLE);
    status.address = address.clone();
    status.addresses = address.into_iter().collect();
    status.delivery = behind_status
        .map(|behind| behind.delivery.clone())
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
    behind: Option<&BackingStatus>,
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
