//! One row for each kind.

use super::admission::{
    anything, as_it_is, check_deployment, check_job, check_pod, check_secret, check_selector,
    deployment, job, pod, replica_set, secret,
};
use super::{Check, Complete, autoscaling, cells, others, rights, service};
use crate::resource::Cells;

/// A kind.
pub(super) struct Row {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) short_names: &'static [&'static str],
    pub(super) categories: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Whether there is a status, which is a subresource.
    pub(super) status: bool,
    pub(super) scale: bool,
    /// The name of its type.
    pub(super) schema: &'static str,
    /// Columns and their priorities, without the name.
    pub(super) columns: &'static [(&'static str, i32)],
    pub(super) cells: Cells,
    pub(super) complete: Complete,
    pub(super) check: Check,
    /// What requests for it are warned of.
    pub(super) deprecation: Option<&'static str>,
}

/// A kind of the core group in namespaces, to be adapted.
const CORE: Row = Row {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    status: false,
    scale: false,
    schema: "",
    columns: &[],
    cells: cells::age,
    complete: as_it_is,
    check: anything,
    deprecation: None,
};
const RBAC: Row = Row {
    group: "rbac.authorization.k8s.io",
    ..CORE
};
const AUTOSCALER: Row = Row {
    group: autoscaling::GROUP,
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    short_names: &["hpa"],
    categories: &["all"],
    status: true,
    columns: &[
        ("Reference", 0),
        ("Targets", 0),
        ("MinPods", 0),
        ("MaxPods", 0),
        ("Replicas", 0),
        ("Age", 0),
    ],
    check: others::check_autoscaler,
    ..CORE
};
const EVENT: &[(&str, i32)] = &[
    ("Last Seen", 0),
    ("Type", 0),
    ("Reason", 0),
    ("Object", 0),
    ("Subobject", 1),
    ("Source", 1),
    ("Message", 0),
    ("First Seen", 1),
    ("Count", 1),
    ("Name", 1),
];
const BINDING: &[(&str, i32)] = &[
    ("Role", 0),
    ("Age", 0),
    ("Users", 1),
    ("Groups", 1),
    ("ServiceAccounts", 1),
];

/// All kinds but Namespace and ConfigMap, which the API itself needs.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    Row {
        kind: "Secret", plural: "secrets", schema: "core.v1.Secret",
        columns: &[("Type", 0), ("Data", 0), ("Age", 0)], cells: cells::secret,
        complete: secret, check: check_secret, ..CORE
    },
    Row {
        kind: "ServiceAccount", plural: "serviceaccounts", short_names: &["sa"],
        schema: "core.v1.ServiceAccount",
        columns: &[("Age", 0)], ..CORE
    },
    Row {
        kind: "Service", plural: "services", short_names: &["svc"], categories: &["all"],
        schema: "core.v1.Service", status: true,
        columns: &[("Type", 0), ("Cluster-IP", 0), ("External-IP", 0), ("Port(s)", 0), ("Age", 0),
            ("Selector", 1)],
        cells: cells::service, complete: service::complete, check: service::check, ..CORE
    },
    Row {
        kind: "Endpoints", plural: "endpoints", short_names: &["ep"],
        schema: "core.v1.Endpoints",
        columns: &[("Endpoints", 0), ("Age", 0)], cells: cells::endpoints,
        complete: others::endpoints, check: others::check_endpoints,
        deprecation: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ..CORE
    },
    Row {
        kind: "Event", plural: "events", short_names: &["ev"], schema: "core.v1.Event",
        columns: EVENT, cells: cells::event, check: others::check_event, ..CORE
    },
    Row {
        group: "events.k8s.io", kind: "Event", plural: "events", short_names: &["ev"],
        schema: "events.v1.Event", columns: EVENT, cells: cells::event, ..CORE
    },
    Row {
        kind: "Pod", plural: "pods", short_names: &["po"], categories: &["all"],
        schema: "core.v1.Pod", status: true,
        columns: &[("Ready", 0), ("Status", 0), ("Restarts", 0), ("Age", 0), ("IP", 1),
            ("Node", 1), ("Nominated Node", 1), ("Readiness Gates", 1)],
        cells: cells::pod, complete: pod, check: check_pod, ..CORE
    },
    Row {
        group: "apps", kind: "Deployment", plural: "deployments", short_names: &["deploy"],
        categories: &["all"], scale: true, schema: "apps.v1.Deployment", status: true,
        columns: &[("Ready", 0), ("Up-to-date", 0), ("Available", 0), ("Age", 0),
            ("Containers", 1), ("Images", 1), ("Selector", 1)],
        cells: cells::deployment, complete: deployment, check: check_deployment, ..CORE
    },
    Row {
        group: "apps", kind: "ReplicaSet", plural: "replicasets", short_names: &["rs"],
        categories: &["all"], scale: true, schema: "apps.v1.ReplicaSet", status: true,
        columns: &[("Desired", 0), ("Current", 0), ("Ready", 0), ("Age", 0), ("Containers", 1),
            ("Images", 1), ("Selector", 1)],
        cells: cells::replica_set, complete: replica_set, check: check_selector, ..CORE
    },
    Row {
        group: "batch", kind: "Job", plural: "jobs", categories: &["all"],
        schema: "batch.v1.Job", status: true,
        columns: &[("Status", 0), ("Completions", 0), ("Duration", 0), ("Age", 0),
            ("Containers", 1), ("Images", 1), ("Selector", 1)],
        cells: cells::job, complete: job, check: check_job, ..CORE
    },
    Row {
        version: "v2", schema: "autoscaling.v2.HorizontalPodAutoscaler",
        cells: cells::autoscaler, complete: autoscaling::complete, ..AUTOSCALER
    },
    Row {
        version: "v1", schema: "autoscaling.v1.HorizontalPodAutoscaler",
        cells: autoscaling::cells_first, complete: autoscaling::complete_first, ..AUTOSCALER
    },
    Row {
        group: "coordination.k8s.io", kind: "Lease", plural: "leases",
        schema: "coordination.v1.Lease",
        columns: &[("Holder", 0), ("Age", 0)], cells: cells::lease,
        check: others::check_lease, ..CORE
    },
    Row {
        group: "discovery.k8s.io", kind: "EndpointSlice", plural: "endpointslices",
        schema: "discovery.v1.EndpointSlice",
        columns: &[("AddressType", 0), ("Ports", 0), ("Endpoints", 0), ("Age", 0)],
        cells: cells::endpoint_slice, complete: others::endpoint_slice,
        check: others::check_endpoint_slice, ..CORE
    },
    Row {
        kind: "Role", plural: "roles", schema: "rbac.v1.Role",
        columns: &[("Created At", 0)], cells: cells::created, check: rights::check_role, ..RBAC
    },
    Row {
        kind: "RoleBinding", plural: "rolebindings", schema: "rbac.v1.RoleBinding",
        columns: BINDING, cells: cells::binding, complete: rights::complete_binding,
        check: rights::check_role_binding, ..RBAC
    },
    Row {
        kind: "ClusterRole", plural: "clusterroles", schema: "rbac.v1.ClusterRole",
        namespaced: false, columns: &[("Created At", 0)], cells: cells::created,
        check: rights::check_cluster_role, ..RBAC
    },
    Row {
        kind: "ClusterRoleBinding", plural: "clusterrolebindings",
        schema: "rbac.v1.ClusterRoleBinding", namespaced: false, columns: BINDING,
        cells: cells::binding, complete: rights::complete_binding,
        check: rights::check_cluster_role_binding, ..RBAC
    },
];
