//! What an update may do differs between the kinds of Kubernetes itself, for reasons of their
//! history that clients have come to rely on. Kinds with a definition all follow one rule: an update
//! changes what is there, and says which version it continues from.

use crate::resource::ResourceKind;

/// Kinds of Kubernetes that a replacement makes where there is none.
const CREATED_BY_UPDATE: [(&str, &str); 9] = [
    ("", "endpoints"),
    ("", "events"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("events.k8s.io", "events"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];
/// Kinds of Kubernetes for which an update must say which version it continues from.
const CONDITIONAL: [(&str, &str); 2] = [
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("coordination.k8s.io", "leases"),
];

/// Kinds of Kubernetes that count what is wanted of them.
const COUNTED: [(&str, &str); 6] = [
    ("", "pods"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("batch", "jobs"),
    ("discovery.k8s.io", "endpointslices"),
];

/// Whether a kind is one of Kubernetes itself: those have no definition, and so no fields
/// that it makes selectable, and their groups have no
/// domain or one of Kubernetes.
pub(crate) fn is_built_in(kind: &ResourceKind) -> bool {
    kind.selectable.is_none() && (!kind.group.contains('.') || kind.group.ends_with(".k8s.io"))
}

/// Whether a replacement of an object that is not there makes it.
pub(crate) fn created_by_update(kind: &ResourceKind) -> bool {
    is_built_in(kind) && is_one_of(kind, &CREATED_BY_UPDATE)
}

/// Whether a replacement may leave open which version it continues from.
pub(crate) fn updated_unconditionally(kind: &ResourceKind) -> bool {
    is_built_in(kind) && !is_one_of(kind, &CONDITIONAL)
}

/// Whether objects of the kind have a `generation`, which grows when anything but their metadata and
/// their status changes.
pub(crate) fn has_generation(kind: &ResourceKind) -> bool {
    !is_built_in(kind) || is_one_of(kind, &COUNTED)
}

fn is_one_of(kind: &ResourceKind, kinds: &[(&str, &str)]) -> bool {
    kinds.contains(&(kind.group.as_str(), kind.plural.as_str()))
}
