//! What Endpoints, EndpointSlices, Events, Leases and autoscalers fill in and must be.

use serde_json::{Value, json};

use super::admission::{absent, list};
use super::must::{Must, PORT, PROTOCOL, Rule, address, hold};
use crate::api::names;
use crate::structural::words::Faults;

/// Below Endpoints.
const ENDPOINTS: &[Rule] = &[
    ("subsets[].addresses[].ip", Must::Be(address)),
    ("subsets[].notReadyAddresses[].ip", Must::Be(address)),
    ("subsets[].ports[].port", PORT),
    ("subsets[].ports[].protocol", PROTOCOL),
    ("subsets[].ports[].name", Must::Be(names::dns_label)),
];
/// Below an EndpointSlice.
const SLICE: &[Rule] = &[
    ("addressType", Must::BeOneOf(&["FQDN", "IPv4", "IPv6"])),
    ("ports[].port", PORT),
    ("ports[].protocol", PROTOCOL),
    ("ports[].name", Must::Be(names::dns_label)),
    ("ports[].name", Must::BeUnique),
];
/// Below a Lease.
const LEASE: &[Rule] = &[
    ("spec.leaseDurationSeconds", Must::BePositive),
    ("spec.leaseTransitions", Must::BeAtLeast(0)),
];
/// Below an autoscaler.
const AUTOSCALER: &[Rule] = &[
    ("spec.scaleTargetRef.kind", Must::BeThere),
    ("spec.scaleTargetRef.name", Must::BeThere),
    ("spec.minReplicas", Must::BeAtLeast(1)),
    (
        "spec.metrics[].type",
        Must::BeOneOf(&[
            "ContainerResource",
            "External",
            "Object",
            "Pods",
            "Resource",
        ]),
    ),
];

pub(super) fn endpoints(object: &mut Value) {
    for subset in list(object, "subsets") {
        for port in list(subset, "ports") {
            absent(port, &[("protocol", json!("TCP"))]);
        }
    }
}

pub(super) fn check_endpoints(object: &Value, _: Option<&Value>, faults: &mut Faults) {
    hold(object, "", ENDPOINTS, faults);
    let subsets = object["subsets"].as_array().into_iter().flatten();
    for (at, subset) in subsets.enumerate() {
        let none = |field: &str| subset[field].as_array().is_none_or(Vec::is_empty);
        if none("addresses") && none("notReadyAddresses") {
            let detail = "must specify `addresses` or `notReadyAddresses`";
            faults.required(format!("subsets[{at}]"), detail);
        }
    }
}

pub(super) fn endpoint_slice(object: &mut Value) {
    for port in list(object, "ports") {
        absent(port, &[("name", json!("")), ("protocol", json!("TCP"))]);
    }
}

pub(super) fn check_endpoint_slice(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    let kind = &object["addressType"];
    if kind == "" {
        faults.required("addressType", "");
        return;
    }
    hold(object, "", SLICE, faults);
    if let Some(old) = old
        && old["addressType"] != *kind
    {
        faults.invalid("addressType", kind, "field is immutable");
    }
    let endpoints = object["endpoints"].as_array().into_iter().flatten();
    for (at, endpoint) in endpoints.enumerate() {
        let place = format!("endpoints[{at}].addresses");
        if endpoint["addresses"].as_array().is_none_or(Vec::is_empty) {
            faults.required(place, "must contain at least 1 address");
        } else if kind != "FQDN" {
            let rule = [("addresses[]", Must::Be(address))];
            hold(endpoint, &format!("endpoints[{at}]"), &rule, faults);
        }
    }
}

pub(super) fn check_lease(object: &Value, _: Option<&Value>, faults: &mut Faults) {
    hold(object, "", LEASE, faults);
}

pub(super) fn check_autoscaler(object: &Value, _: Option<&Value>, faults: &mut Faults) {
    hold(object, "", AUTOSCALER, faults);
    let spec = &object["spec"];
    let most = spec["maxReplicas"].as_i64().unwrap_or_default();
    if most < 1 {
        let detail = "must be set and greater than 0";
        faults.required("spec.maxReplicas", detail);
    }
    if most < spec["minReplicas"].as_i64().unwrap_or_default() {
        let detail = "must be greater than or equal to `minReplicas`";
        faults.invalid("spec.maxReplicas", &json!(most), detail);
    }
}

/// An Event is in the namespace of what it tells of, or in `default` where that has none.
pub(super) fn check_event(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (about, own) = (
        text(&object["involvedObject"]["namespace"]),
        text(&object["metadata"]["namespace"]),
    );
    let fits = about == own || about.is_empty() && own == "default";
    if old.is_none() && !fits {
        let detail = "does not match event.namespace";
        faults.invalid("involvedObject.namespace", &json!(about), detail);
    }
}
