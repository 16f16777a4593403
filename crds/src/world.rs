//! What controllers know: the newest version of every object that they watch.
//!
//! Watches write into a [`World`], plans read it; it does nothing else. Objects are shared, not
//! copied, and looked up by namespace and name.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::admission::config;
use crate::duck::{Addressable, Destination, KReference};
use crate::eventing::{Broker, EventType, KafkaSink, Trigger};
use crate::messaging::{
    Backing, Backs, Channel, InMemoryChannel, KafkaChannel, NatsJetStreamChannel, Subscription,
};
use crate::resource::AdmissionContext;
use crate::sources::KafkaSource;

/// The objects of one kind, by namespace and name.
#[derive(Clone, Debug)]
pub struct Shelf<K>(BTreeSet<Placed<K>>);

/// An object where it is found by its namespace and name, which are not written down again.
#[derive(Clone, Debug)]
struct Placed<K>(Arc<K>);

/// A namespace and a name. Orders objects.
trait Place {
    fn place(&self) -> (&str, &str);
}

impl Place for (&str, &str) {
    fn place(&self) -> (&str, &str) {
        *self
    }
}

impl<K: kube::Resource> Place for Placed<K> {
    fn place(&self) -> (&str, &str) {
        let metadata = self.0.meta();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        (namespace, metadata.name.as_deref().unwrap_or_default())
    }
}

impl<'a, K: kube::Resource + 'a> Borrow<dyn Place + 'a> for Placed<K> {
    fn borrow(&self) -> &(dyn Place + 'a) {
        self
    }
}

impl Ord for dyn Place + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for dyn Place + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Place + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn Place + '_ {}

impl<K: kube::Resource> Ord for Placed<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<K: kube::Resource> PartialOrd for Placed<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: kube::Resource> PartialEq for Placed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl<K: kube::Resource> Eq for Placed<K> {}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: kube::Resource> Shelf<K> {
    /// The object of that name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        let place: &dyn Place = &(namespace, name);
        self.0.get(place).map(|Placed(object)| object)
    }

    /// All objects, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.0.iter().map(|Placed(object)| object)
    }

    /// The objects of one namespace, by name.
    pub fn within<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<K>> {
        let first: &dyn Place = &(namespace, "");
        self.0
            .range::<dyn Place, _>((Bound::Included(first), Bound::Unbounded))
            .take_while(move |placed| placed.place().0 == namespace)
            .map(|Placed(object)| object)
    }

    /// Takes in a new version, and returns the one before.
    pub fn put(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        self.0.replace(Placed(object)).map(|Placed(object)| object)
    }

    /// Forgets an object.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let place: &dyn Place = &(namespace, name);
        self.0.take(place).map(|Placed(object)| object)
    }

    /// Replaces everything; returns the names of the objects that are there no more.
    pub fn replace(&mut self, objects: Vec<Arc<K>>) -> Vec<(String, String)> {
        let new = objects.into_iter().map(Placed).collect();
        let old = std::mem::replace(&mut self.0, new);
        let gone = old.iter().filter(|placed| !self.0.contains(*placed));
        gone.map(|placed| {
            let (namespace, name) = placed.place();
            (namespace.to_owned(), name.to_owned())
        })
        .collect()
    }
}

/// Channels of one kind that keep events.
trait BackingShelf {
    fn kind(&self) -> &'static str;
    fn find(&self, namespace: &str, name: &str) -> Option<Backing<'_>>;
    fn every(&self) -> Box<dyn Iterator<Item = Backing<'_>> + '_>;
}

impl<K: Backs> BackingShelf for Shelf<K> {
    fn kind(&self) -> &'static str {
        K::KIND
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Backing<'_>> {
        self.get(namespace, name).map(|channel| channel.backing())
    }

    fn every(&self) -> Box<dyn Iterator<Item = Backing<'_>> + '_> {
        Box::new(self.iter().map(|channel| channel.backing()))
    }
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// All Brokers.
    pub brokers: Shelf<Broker>,
    /// All Triggers.
    pub triggers: Shelf<Trigger>,
    /// All Channels.
    pub channels: Shelf<Channel>,
    /// All InMemoryChannels.
    pub in_memory_channels: Shelf<InMemoryChannel>,
    /// All KafkaChannels.
    pub kafka_channels: Shelf<KafkaChannel>,
    /// All NatsJetStreamChannels.
    pub nats_jet_stream_channels: Shelf<NatsJetStreamChannel>,
    /// All Subscriptions.
    pub subscriptions: Shelf<Subscription>,
    /// All EventTypes.
    pub event_types: Shelf<EventType>,
    /// All KafkaSources.
    pub kafka_sources: Shelf<KafkaSource>,
    /// All KafkaSinks.
    pub kafka_sinks: Shelf<KafkaSink>,
    /// All ConfigMaps.
    pub config_maps: Shelf<ConfigMap>,
    /// All Secrets.
    pub secrets: Shelf<Secret>,
}

/// Where a destination turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The absolute URI.
    pub uri: String,
    /// Certificates of authorities (PEM).
    pub ca_certs: Option<String>,
    /// The OIDC audience.
    pub audience: Option<String>,
}

/// A destination has no address, for now or for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Neither `ref` nor `uri`.
    #[error("the destination has neither ref nor uri")]
    Empty,
    /// The object does not exist.
    #[error("{kind} {namespace}/{name} does not exist")]
    NotFound {
        /// The kind referred to.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The object exists, and has no address yet.
    #[error("{kind} {namespace}/{name} has no address yet")]
    NoAddress {
        /// The kind referred to.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Objects of this kind are not known to have addresses here.
    #[error(
        "{kind} ({api_version}) has no address here; refer to a Broker, a channel or a KafkaSink, or give the URL as uri"
    )]
    UnknownKind {
        /// The kind referred to.
        kind: String,
        /// Its API version.
        api_version: String,
    },
    /// A relative URI that cannot be joined to the object's address.
    #[error("uri {uri:?} cannot be resolved against {base}")]
    BadUri {
        /// The relative URI.
        uri: String,
        /// The object's address.
        base: String,
    },
}

impl World {
    /// The `data` of a ConfigMap.
    #[must_use]
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&BTreeMap<String, String>> {
        self.config_maps
            .get(namespace, name)
            .and_then(|map| map.data.as_ref())
    }

    /// The kinds of channels that keep events.
    fn backing_shelves(&self) -> [&dyn BackingShelf; 3] {
        [
            &self.in_memory_channels,
            &self.kafka_channels,
            &self.nats_jet_stream_channels,
        ]
    }

    fn backing_shelf(&self, kind: &str) -> Option<&dyn BackingShelf> {
        let mut shelves = self.backing_shelves().into_iter();
        shelves.find(|shelf| shelf.kind() == kind)
    }

    /// The kinds of channels that keep events.
    #[must_use]
    pub fn backing_kinds(&self) -> Vec<&'static str> {
        let shelves = self.backing_shelves().into_iter();
        shelves.map(BackingShelf::kind).collect()
    }

    /// A channel that keeps events.
    #[must_use]
    pub fn backing(&self, kind: &str, namespace: &str, name: &str) -> Option<Backing<'_>> {
        self.backing_shelf(kind)?.find(namespace, name)
    }

    /// All channels that keep events, of whatever kind.
    pub fn backings(&self) -> impl Iterator<Item = Backing<'_>> {
        let shelves = self.backing_shelves().into_iter();
        shelves.flat_map(BackingShelf::every)
    }

    /// Finds out where a destination is. `namespace` is that of the object that names it.
    pub fn resolve(&self, to: &Destination, namespace: &str) -> Result<Resolved, Unresolved> {
        let mut resolved = match (&to.reference, &to.uri) {
            (None, None) => return Err(Unresolved::Empty),
            (None, Some(uri)) => Resolved {
                uri: uri.clone(),
                ..Resolved::default()
            },
            (Some(reference), uri) => {
                let address = self.address(reference, namespace)?;
                let base = address.url.unwrap_or_default();
                let uri = match uri.as_deref().filter(|uri| !uri.is_empty()) {
                    None => base,
                    Some(uri) => join(&base, uri).ok_or_else(|| Unresolved::BadUri {
                        uri: uri.to_owned(),
                        base,
                    })?,
                };
                Resolved {
                    uri,
                    ca_certs: address.ca_certs,
                    audience: address.audience,
                }
            }
        };
        if to.ca_certs.is_some() {
            resolved.ca_certs.clone_from(&to.ca_certs);
        }
        if to.audience.is_some() {
            resolved.audience.clone_from(&to.audience);
        }
        Ok(resolved)
    }

    /// Whether a feature is turned on in the ConfigMap `config-features`.
    #[must_use]
    pub fn has_feature(&self, name: &str) -> bool {
        config::feature(self, name)
    }

    /// Whether the object of a reference exists; `None` where objects of its kind are not followed.
    /// `namespace` is that of the object that refers to it.
    #[must_use]
    pub fn has(&self, to: &KReference, namespace: &str) -> Option<bool> {
        let (group, namespace) = place(to, namespace);
        let name = to.name.as_str();
        let found = match (group, to.kind.as_str()) {
            ("eventing.knative.dev", "Broker") => self.brokers.get(namespace, name).is_some(),
            ("eventing.knative.dev", "Trigger") => self.triggers.get(namespace, name).is_some(),
            ("eventing.knative.dev", "EventType") => {
                self.event_types.get(namespace, name).is_some()
            }
            ("eventing.knative.dev", "KafkaSink") => {
                self.kafka_sinks.get(namespace, name).is_some()
            }
            ("messaging.knative.dev", "Channel") => self.channels.get(namespace, name).is_some(),
            ("messaging.knative.dev", "Subscription") => {
                self.subscriptions.get(namespace, name).is_some()
            }
            ("sources.knative.dev", "KafkaSource") => {
                self.kafka_sources.get(namespace, name).is_some()
            }
            ("", "ConfigMap") => self.config_maps.get(namespace, name).is_some(),
            ("messaging.knative.dev", kind) => {
                self.backing_shelf(kind)?.find(namespace, name).is_some()
            }
            _ => return None,
        };
        Some(found)
    }

    fn address(&self, to: &KReference, namespace: &str) -> Result<Addressable, Unresolved> {
        let (group, namespace) = place(to, namespace);
        let found = match (group, to.kind.as_str()) {
            ("eventing.knative.dev", "Broker") => {
                self.brokers.get(namespace, &to.name).map(|broker| {
                    broker
                        .status
                        .as_ref()
                        .and_then(|status| status.address.clone())
                })
            }
            ("messaging.knative.dev", "Channel") => {
                self.channels.get(namespace, &to.name).map(|channel| {
                    channel
                        .status
                        .as_ref()
                        .and_then(|status| status.address.clone())
                })
            }
            ("eventing.knative.dev", "KafkaSink") => {
                self.kafka_sinks.get(namespace, &to.name).map(|sink| {
                    let status = sink.status.as_ref();
                    status.and_then(|status| status.address.clone())
                })
            }
            ("messaging.knative.dev", kind) if self.backing_shelf(kind).is_some() => {
                let channel = self.backing(kind, namespace, &to.name);
                channel.map(|channel| channel.status.and_then(|status| status.address.clone()))
            }
            _ => {
                return Err(Unresolved::UnknownKind {
                    kind: to.kind.clone(),
                    api_version: to.api_version.clone(),
                });
            }
        };
        let (kind, namespace, name) = (to.kind.clone(), namespace.to_owned(), to.name.clone());
        match found {
            None => Err(Unresolved::NotFound {
                kind,
                namespace,
                name,
            }),
            Some(Some(address)) if address.url.is_some() => Ok(address),
            Some(_) => Err(Unresolved::NoAddress {
                kind,
                namespace,
                name,
            }),
        }
    }
}

impl AdmissionContext for World {
    fn config_map(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        Self::config_map(self, namespace, name).cloned()
    }
}

/// The group and the namespace of a reference's object.
fn place<'a>(to: &'a KReference, namespace: &'a str) -> (&'a str, &'a str) {
    let group = to.api_version.rsplit_once('/');
    let namespace = to
        .namespace
        .as_deref()
        .filter(|ns| !ns.is_empty())
        .unwrap_or(namespace);
    (group.map_or("", |(group, _)| group), namespace)
}

/// Resolves a relative reference by RFC 3986 as far as addresses need it: an absolute path replaces
/// the base's, a relative one replaces what follows the last slash, a query replaces the query.
fn join(base: &str, relative: &str) -> Option<String> {
    let base: http::Uri = base.parse().ok()?;
    let root = format!("{}://{}", base.scheme_str()?, base.authority()?);
    let path = match relative.as_bytes().first()? {
        b'/' if relative.starts_with("//") => return None,
        b'/' => relative.to_owned(),
        b'?' => format!("{}{relative}", base.path()),
        b'#' => return None,
        _ => {
            let folder = base
                .path()
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            format!("{folder}/{relative}")
        }
    };
    let joined = format!("{root}{path}");
    joined.parse::<http::Uri>().ok().map(|_| joined)
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn a_relative_uri_is_joined_to_the_address() {
        for (relative, joined) in [
            ("/extra", Some("http://h:1/extra")),
            ("extra?a=b", Some("http://h:1/ns/extra?a=b")),
            ("?a=b", Some("http://h:1/ns/name?a=b")),
            ("//other", None),
        ] {
            assert_eq!(
                join("http://h:1/ns/name", relative).as_deref(),
                joined,
                "{relative}"
            );
        }
    }
}
