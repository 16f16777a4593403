//! EventType -> whether its referent exists; and EventTypes for events that came in.
//!
//! With the feature `eventtype-auto-create`, an EventType is made for each type and source that a
//! Broker or channel takes. Its name is a hash of these, so that there is one for each whoever makes
//! it and how often; it belongs to the Broker or channel and goes with it. Names and contents are
//! Knative's, so that a Broker that is moved from there finds its EventTypes.

use heddle_crds::duck::KReference;
use heddle_crds::eventing::event_type::convert::to_v1beta2;
use heddle_crds::eventing::event_type::v1beta3::{self, EventAttribute};
use heddle_crds::eventing::event_type::{self as types, AUTO_CREATE};
use heddle_crds::eventing::{EventType, EventTypeStatus};
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::{Write, resource_of};
use heddle_crds::world::World;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::json;

use super::{Step, backing, broker, status_write};

/// The most EventTypes that are made for one Broker or channel. Sources whose names never repeat
/// would make them without end.
pub const MAX_OF_ONE: usize = 1_000;
/// The longest name of an object.
const MAX_NAME: usize = 253;

pub(super) fn plan(world: &World, key: &Key, now: Timestamp) -> Vec<Step> {
    let Some(event_type) = world.event_types.get(&key.namespace, &key.name) else {
        return Vec::new();
    };
    if event_type.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let status = status(world, event_type, now);
    let write = status_write(
        key,
        &event_type.metadata,
        event_type.status.as_ref(),
        &status,
        &[],
    );
    write.map(Step::Write).into_iter().collect()
}

fn status(world: &World, event_type: &EventType, now: Timestamp) -> EventTypeStatus {
    let mut status = event_type.status.clone().unwrap_or_default();
    status.observed_generation = event_type.metadata.generation;
    let mut conditions = std::mem::take(&mut status.conditions);
    let mut manage = types::CONDITIONS.manage(&mut conditions, now);
    manage.initialize();
    let condition = types::REFERENCE_EXISTS;
    let namespace = event_type.namespace().unwrap_or_default();
    let referent = event_type.spec.referent();
    match referent.as_ref().map(|to| (to, world.has(to, &namespace))) {
        None => {
            manage.mark_true_with_reason(condition, "ReferenceNotSet", "spec.reference is not set");
        }
        Some((_, Some(true))) => manage.mark_true(condition),
        Some((_, Some(false))) => manage.mark_false(
            condition,
            "ResourceDoesNotExist",
            "Resource in spec.reference does not exist",
        ),
        Some((to, None)) => {
            let (kind, api_version) = (&to.kind, &to.api_version);
            let message = format!(
                "Failed to get reference: objects of {kind} ({api_version}) are not followed here"
            );
            manage.mark_unknown(condition, "ReferenceGetFailed", &message);
        }
    }
    status.conditions = conditions;
    status
}

/// The EventTypes that refer to the object `key`.
pub(super) fn dependents(world: &World, key: &Key) -> Vec<Key> {
    let refers = |event_type: &EventType| {
        let own = event_type.metadata.namespace.as_deref().unwrap_or_default();
        event_type.spec.referent().is_some_and(|to| {
            let namespace = to.namespace.as_deref().filter(|name| !name.is_empty());
            to.kind == key.kind && to.name == key.name && namespace.unwrap_or(own) == key.namespace
        })
    };
    let all = world.event_types.iter();
    all.filter(|event_type| refers(event_type))
        .map(|event_type| Key::of("EventType", &**event_type))
        .collect()
}

/// Something that takes events, as EventTypes refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Addressable {
    /// `Broker`, or a kind of channel that keeps events.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Addressable {
    fn of(kind: &'static str, object: &ObjectMeta) -> Self {
        Self {
            kind,
            namespace: object.namespace.clone().unwrap_or_default(),
            name: object.name.clone().unwrap_or_default(),
            uid: object.uid.clone().unwrap_or_default(),
        }
    }

    fn exists(&self, world: &World) -> bool {
        let (namespace, name) = (&self.namespace, &self.name);
        let uid = match self.kind {
            "Broker" => world.brokers.get(namespace, name).map(|found| found.uid()),
            kind => world
                .backing(kind, namespace, name)
                .map(|found| Some(found.uid().to_owned())),
        };
        uid.flatten().is_some_and(|uid| uid == self.uid)
    }
}

/// What takes events, by the name of its log; nothing while the feature is off.
#[must_use]
pub fn addressables(world: &World) -> Vec<(String, Addressable)> {
    if !world.has_feature(AUTO_CREATE) {
        return Vec::new();
    }
    let brokers = world
        .brokers
        .iter()
        .filter(|object| broker::is_ours(object));
    let brokers = brokers.map(|object| {
        let addressable = Addressable::of("Broker", &object.metadata);
        (broker::log_of(object), addressable)
    });
    let channels = world.backings().map(|channel| {
        let addressable = Addressable::of(channel.kind, channel.metadata);
        (backing::log_of(&channel), addressable)
    });
    brokers.chain(channels).collect()
}

/// A type of event that came in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sighting {
    /// What took it.
    pub addressable: Addressable,
    /// The `type`.
    pub type_: String,
    /// The `source`.
    pub source: String,
    /// The `specversion`.
    pub spec_version: &'static str,
    /// The `dataschema`, where it has one.
    pub schema: Option<String>,
}

/// What became of a sighting.
#[derive(Debug, PartialEq)]
pub enum Made {
    /// An EventType is to be made.
    Missing(Box<Write>),
    /// There is one, or nobody wants one.
    Nothing,
    /// There are too many already.
    TooMany,
}

/// What to do about a type of event that came in.
#[must_use]
pub fn make(world: &World, sighting: &Sighting) -> Made {
    let owner = &sighting.addressable;
    if !world.has_feature(AUTO_CREATE) || !owner.exists(world) {
        return Made::Nothing;
    }
    let name = name_of(sighting);
    if world.event_types.get(&owner.namespace, &name).is_some() {
        return Made::Nothing;
    }
    let owned = |event_type: &EventType| {
        let owners = event_type.owner_references().iter();
        owners.map(|found| &found.uid).any(|uid| *uid == owner.uid)
    };
    let others = world.event_types.within(&owner.namespace);
    if others.filter(|event_type| owned(event_type)).count() >= MAX_OF_ONE {
        return Made::TooMany;
    }
    Made::Missing(Box::new(Write::Create(
        "EventType",
        Box::new(object(sighting, &name)),
    )))
}

/// The name of the EventType, as Knative makes it: `et-<owner>-<MD5 of what is told apart>`.
#[must_use]
pub fn name_of(sighting: &Sighting) -> String {
    let Sighting {
        addressable,
        type_,
        source,
        spec_version: _,
        schema: _,
    } = sighting;
    let (namespace, owner) = (&addressable.namespace, &addressable.name);
    let hash = md5::compute(format!("{type_}{source}{namespace}{owner}"));
    let suffix = format!("-{hash:x}");
    let room = MAX_NAME.saturating_sub("et-".len() + suffix.len());
    // Names are ASCII. What is cut off must not leave a dot before the dash.
    let owner = owner.get(..room.min(owner.len())).unwrap_or_default();
    format!("et-{}{suffix}", owner.trim_end_matches(['.', '-']))
}

fn object(sighting: &Sighting, name: &str) -> DynamicObject {
    let owner = &sighting.addressable;
    let mut object = DynamicObject::new(name, &resource_of("EventType")).within(&owner.namespace);
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: resource_of(owner.kind).api_version,
        kind: owner.kind.to_owned(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        ..OwnerReference::default()
    }]);
    let schema = sighting.schema.as_deref();
    let spec = v1beta3::EventTypeSpec {
        reference: Some(KReference {
            api_version: resource_of(owner.kind).api_version,
            kind: owner.kind.to_owned(),
            name: owner.name.clone(),
            namespace: Some(owner.namespace.clone()),
            ..KReference::default()
        }),
        description: Some("Event Type auto-created by controller".to_owned()),
        attributes: vec![
            EventAttribute::new("type", true, Some(&sighting.type_)),
            EventAttribute::new("source", true, Some(&sighting.source)),
            EventAttribute::new("schemadata", true, schema),
            EventAttribute::new("specversion", true, Some(sighting.spec_version)),
            EventAttribute::new("id", false, None),
        ],
    };
    let annotations = object.metadata.annotations.get_or_insert_default();
    let spec = to_v1beta2(spec, annotations);
    object.data = json!({ "spec": spec });
    object
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
