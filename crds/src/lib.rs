//! Heddle's resource types, their admission, and the Kubernetes-style API that keeps them.
//!
//! This crate knows nothing of events. [`resource`] is the seam between the types and whatever
//! serves them: [`kinds`] hands over every kind, and a new one takes a file for its type and a line
//! in the list below. [`crds`] makes what is installed on a cluster of the same types.

mod admission;
pub mod annotations;
pub mod api;
mod builtin;
pub mod conditions;
pub mod core;
mod definitions;
pub mod duck;
pub mod duration;
pub mod eventing;
mod kind;
pub mod kube;
pub mod messaging;
mod pool;
mod publish;
pub mod resource;
mod schema;
pub mod sources;
mod structural;
pub mod word;
pub mod world;

use ::kube::api::ApiResource;
use ::kube::core::GroupVersion;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

pub use crate::duration::parse_duration;
use crate::kind::Registered;
use crate::resource::ResourceKind;

/// Every kind, in the order of installation.
const KINDS: &[Registered] = &[
    Registered::built_in(|| vec![core::namespace_kind()]),
    Registered::built_in(|| vec![core::config_map_kind()]),
    Registered::built_in(builtin::kinds),
    Registered::custom::<eventing::Broker>(),
    Registered::custom::<eventing::Trigger>(),
    Registered::custom::<eventing::EventType>(),
    Registered::custom::<messaging::Channel>(),
    Registered::custom::<messaging::InMemoryChannel>(),
    Registered::custom::<messaging::KafkaChannel>(),
    Registered::custom::<messaging::NatsJetStreamChannel>(),
    Registered::custom::<messaging::Subscription>(),
    Registered::custom::<sources::KafkaSource>(),
    Registered::custom::<eventing::KafkaSink>(),
];

/// Every kind that the API serves, in each of its versions.
pub fn kinds() -> Vec<ResourceKind> {
    let kinds = KINDS.iter().map(|registered| (registered.kinds)());
    kinds.flatten().collect()
}

/// Where the API stores the objects of each kind, without what it takes to serve them.
pub(crate) fn stored() -> Vec<ApiResource> {
    let mut all = Vec::new();
    for registered in KINDS {
        if let Some(stored) = registered.stored {
            all.push(stored());
            continue;
        }
        let kinds = (registered.kinds)().into_iter();
        all.extend(kinds.filter(|kind| kind.storage).map(|kind| {
            let version = GroupVersion::gv(&kind.group, &kind.version);
            ApiResource::from_gvk_with_plural(&version.with_kind(&kind.kind), &kind.plural)
        }));
    }
    all
}

/// The definitions of our own kinds, in the order of installation.
pub fn crds() -> Vec<CustomResourceDefinition> {
    KINDS
        .iter()
        .filter_map(|registered| registered.definition)
        .map(|make| make())
        .collect()
}

/// [`crds`] as one YAML text of several documents, ready for `kubectl apply`.
///
/// # Errors
/// A definition cannot be written as YAML, which would be a fault of a type of ours.
pub fn crds_yaml() -> Result<String, serde_saphyr::ser::Error> {
    crds()
        .iter()
        .map(|crd| Ok(format!("---\n{}", serde_saphyr::to_string(crd)?)))
        .collect()
}
