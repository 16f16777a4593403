//! What a Service fills in and what it must be. There is no network of a cluster here, so none gets an
//! address of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::admission::{absent, list};
use super::must::{self, Must, PORT, PROTOCOL, Rule, address, hold, port_name};
use crate::api::names;
use crate::structural::words::Faults;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: &[&str] = &["Cluster", "Local"];

/// Below a Service.
const RULES: &[Rule] = &[
    ("spec.type", Must::BeOneOf(TYPES)),
    ("spec.sessionAffinity", Must::BeOneOf(&["ClientIP", "None"])),
    ("spec.selector", Must::BeLabels),
    ("spec.externalIPs[]", Must::Be(address)),
    ("spec.internalTrafficPolicy", Must::BeOneOf(POLICIES)),
    ("spec.ipFamilies[]", Must::BeOneOf(&["IPv4", "IPv6"])),
    (
        "spec.ipFamilyPolicy",
        Must::BeOneOf(&["PreferDualStack", "RequireDualStack", "SingleStack"]),
    ),
    ("spec.ports[].port", PORT),
    ("spec.ports[].targetPort", PORT),
    ("spec.ports[].targetPort", Must::Be(port_name)),
    ("spec.ports[].protocol", PROTOCOL),
    ("spec.ports[].name", Must::Be(names::dns_label)),
    ("spec.ports[].name", Must::BeUnique),
];

pub(super) fn complete(object: &mut Value) {
    let spec = &mut object["spec"];
    absent(
        spec,
        &[
            ("type", json!("ClusterIP")),
            ("sessionAffinity", json!("None")),
        ],
    );
    if spec["sessionAffinity"] == "ClientIP" && spec["sessionAffinityConfig"].is_null() {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10_800}});
    }
    for port in list(spec, "ports") {
        let number = port["port"].clone();
        absent(port, &[("protocol", json!("TCP"))]);
        if port["targetPort"] == 0 || port["targetPort"] == "" || port["targetPort"].is_null() {
            port["targetPort"] = number;
        }
    }
    if spec["type"] == "ExternalName" {
        // What it had as another type goes, as in Kubernetes.
        if let Some(spec) = spec
            .as_object_mut()
            .filter(|s| s.get("clusterIP") == Some(&json!("None")))
        {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
    } else {
        absent(spec, &[("internalTrafficPolicy", json!("Cluster"))]);
        if spec["type"] != "ClusterIP" {
            absent(spec, &[("externalTrafficPolicy", json!("Cluster"))]);
        }
        // One that nobody has asked to be without an address needs ports, as if it were to get one.
        if spec["ports"].as_array().is_some_and(|all| !all.is_empty()) {
            absent(spec, &[("clusterIP", json!("None"))]);
        }
        if spec["clusterIPs"].is_null() && !spec["clusterIP"].is_null() {
            spec["clusterIPs"] = json!([spec["clusterIP"]]);
        }
    }
    if object["status"].is_null() {
        object["status"] = json!({"loadBalancer": {}});
    }
}

pub(super) fn check(object: &Value, _: Option<&Value>, faults: &mut Faults) {
    let spec = &object["spec"];
    let text = |field: &str| spec[field].as_str().unwrap_or_default();
    let external = spec["type"] == "ExternalName";
    let ports = spec["ports"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if ports.is_empty() && !external && spec["clusterIP"] != "None" {
        faults.required("spec.ports", "");
    }
    hold(object, "", RULES, faults);
    if external {
        let name = text("externalName");
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            faults.required("spec.externalName", "");
        } else if let Err(why) = names::subdomain(name) {
            faults.invalid("spec.externalName", &json!(name), why);
        }
    }
    check_address(text("clusterIP"), external, faults);
    check_traffic(spec, faults);
    let mut seen = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        if ports.len() > 1 && port["name"].as_str().unwrap_or_default().is_empty() {
            faults.required(format!("{path}.name"), "");
        }
        let key = json!({"port": port["port"], "protocol": port["protocol"]});
        if !seen.insert(key.to_string()) {
            faults.duplicate(&path, &key);
        }
        if spec["type"] == "ClusterIP" && port["nodePort"].as_i64().is_some_and(|n| n != 0) {
            let detail = "may not be used when `type` is 'ClusterIP'";
            faults.forbidden(format!("{path}.nodePort"), detail);
        }
    }
}

fn check_address(given: &str, external: bool, faults: &mut Faults) {
    if given.is_empty() {
        return;
    }
    if external {
        let detail = "may not be set for ExternalName services";
        faults.forbidden("spec.clusterIPs", detail);
    } else if given != "None"
        && let Err(why) = address(given)
    {
        faults.invalid("spec.clusterIPs[0]", &json!(given), why);
    }
}

fn check_traffic(spec: &Value, faults: &mut Faults) {
    let (policy, place) = (&spec["externalTrafficPolicy"], "spec.externalTrafficPolicy");
    let reachable = spec["type"] == "NodePort" || spec["type"] == "LoadBalancer";
    if reachable {
        must::one_of(place, policy, POLICIES, faults);
    } else if !policy.is_null() {
        let detail = "may only be set for externally-accessible services";
        faults.invalid(place, policy, detail);
    }
    let seconds = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    if seconds.as_i64().is_some_and(|n| !(1..=86_400).contains(&n)) {
        let place = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        let detail = "must be greater than 0 and less than 86400";
        faults.invalid(place, seconds, detail);
    }
}
