//! What a Pod fills in and what it must be, alone or as the template of a workload.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::admission::{absent, list};
use super::must::{Must, PORT, PROTOCOL, Rule, address, hold, port_name};
use crate::api::names;
use crate::structural::words::Faults;

/// The largest identity of a user.
const MAX_ID: i64 = i32::MAX as i64;
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
/// What a probe or a hook may do.
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
/// Where the value of an environment variable may come from.
const SOURCES: [&str; 5] = [
    "fieldRef",
    "resourceFieldRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fileKeyRef",
];

/// Below the spec of a Pod.
const SPEC: &[Rule] = &[
    (
        "restartPolicy",
        Must::BeOneOf(&["Always", "OnFailure", "Never"]),
    ),
    (
        "dnsPolicy",
        Must::BeOneOf(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
    ),
    ("activeDeadlineSeconds", Must::BeBetween(1, MAX_ID)),
    ("serviceAccountName", Must::Be(names::subdomain)),
    ("nodeName", Must::Be(names::subdomain)),
    ("hostname", Must::Be(names::dns_label)),
    ("subdomain", Must::Be(names::dns_label)),
    ("nodeSelector", Must::BeLabels),
    ("hostAliases[].ip", Must::Be(address)),
    ("securityContext.runAsUser", Must::BeBetween(0, MAX_ID)),
    ("volumes[].name", Must::BeThere),
    ("volumes[].name", Must::Be(names::dns_label)),
    ("volumes[].name", Must::BeUnique),
    ("volumes[].secret.secretName", Must::BeThere),
    ("volumes[].configMap.name", Must::BeThere),
    ("volumes[].hostPath.path", Must::BeThere),
];
/// Below a container.
const CONTAINER: &[Rule] = &[
    ("name", Must::BeThere),
    ("name", Must::Be(names::dns_label)),
    ("image", Must::BeThere),
    ("image", Must::Be(image)),
    (
        "imagePullPolicy",
        Must::BeOneOf(&["Always", "IfNotPresent", "Never"]),
    ),
    ("ports[].containerPort", PORT),
    ("ports[].hostPort", PORT),
    ("ports[].name", Must::Be(port_name)),
    ("ports[].name", Must::BeUnique),
    ("ports[].protocol", PROTOCOL),
    ("env[].name", Must::BeThere),
    ("env[].name", Must::Be(variable)),
    ("volumeMounts[].name", Must::BeThere),
    ("volumeMounts[].mountPath", Must::BeThere),
    ("securityContext.runAsUser", Must::BeBetween(0, MAX_ID)),
];
/// Below a probe.
const PROBE: &[Rule] = &[
    ("httpGet.port", PORT),
    ("httpGet.port", Must::Be(port_name)),
    ("tcpSocket.port", PORT),
    ("tcpSocket.port", Must::Be(port_name)),
    ("grpc.port", PORT),
    ("initialDelaySeconds", Must::BeAtLeast(0)),
    ("timeoutSeconds", Must::BeAtLeast(0)),
    ("periodSeconds", Must::BeAtLeast(0)),
    ("successThreshold", Must::BeAtLeast(0)),
    ("failureThreshold", Must::BeAtLeast(0)),
];

fn image(text: &str) -> Result<(), String> {
    if text.trim() == text {
        Ok(())
    } else {
        Err("must not have leading or trailing whitespace".to_owned())
    }
}

fn variable(text: &str) -> Result<(), String> {
    let known = |b: u8| (b' '..=b'~').contains(&b) && b != b'=';
    if text.bytes().all(known) {
        Ok(())
    } else {
        let why = "a valid environment variable name must consist only of printable ASCII \
                   characters other than '='";
        Err(why.to_owned())
    }
}

/// Fills in the spec of a Pod.
pub(super) fn complete_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    absent(
        spec,
        &[
            ("restartPolicy", json!("Always")),
            ("terminationGracePeriodSeconds", json!(30)),
            ("dnsPolicy", json!("ClusterFirst")),
            ("schedulerName", json!("default-scheduler")),
            ("securityContext", json!({})),
        ],
    );
    for field in ["containers", "initContainers"] {
        for container in list(spec, field) {
            complete_container(container);
        }
    }
    for volume in list(spec, "volumes") {
        for source in ["secret", "configMap", "downwardAPI", "projected"] {
            if volume[source].is_object() {
                absent(&mut volume[source], &[("defaultMode", json!(420))]);
            }
        }
        if volume.as_object().is_some_and(|fields| fields.len() < 2) {
            volume["emptyDir"] = json!({});
        }
    }
}

fn complete_container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit('/').next().unwrap_or_default();
    let latest = !tag.contains([':', '@']) || tag.ends_with(":latest");
    let pull = if latest { "Always" } else { "IfNotPresent" };
    absent(
        container,
        &[
            ("imagePullPolicy", json!(pull)),
            ("terminationMessagePath", json!("/dev/termination-log")),
            ("terminationMessagePolicy", json!("File")),
            ("resources", json!({})),
        ],
    );
    for port in list(container, "ports") {
        absent(port, &[("protocol", json!("TCP"))]);
    }
    for variable in list(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            absent(field, &[("apiVersion", json!("v1"))]);
        }
    }
    for probe in PROBES {
        let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) else {
            continue;
        };
        absent(
            probe,
            &[
                ("timeoutSeconds", json!(1)),
                ("periodSeconds", json!(10)),
                ("successThreshold", json!(1)),
                ("failureThreshold", json!(3)),
            ],
        );
        if let Some(get) = probe.get_mut("httpGet") {
            absent(get, &[("path", json!("/")), ("scheme", json!("HTTP"))]);
        }
    }
}

/// Holds the spec of a Pod, which is at `path`, against what it must be.
pub(super) fn check_spec(spec: &Value, path: &str, faults: &mut Faults) {
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        faults.required(format!("{path}.containers"), "");
    }
    hold(spec, path, SPEC, faults);
    if spec["dnsPolicy"] == "None" && spec["dnsConfig"].is_null() {
        let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
        faults.required(format!("{path}.dnsConfig"), detail);
    }
    let volumes = spec["volumes"].as_array().map(Vec::as_slice);
    let volumes = volumes.unwrap_or_default();
    for (at, volume) in volumes.iter().enumerate() {
        let sources = volume.as_object().into_iter().flatten();
        let sources = sources.filter(|(name, value)| *name != "name" && !value.is_null());
        for (source, _) in sources.skip(1) {
            let detail = "may not specify more than 1 volume type";
            faults.forbidden(format!("{path}.volumes[{at}].{source}"), detail);
        }
    }
    let volumes: BTreeSet<&str> = volumes.iter().filter_map(|v| v["name"].as_str()).collect();
    let mut names = BTreeSet::new();
    // The containers first: an initContainer may not have the name of one.
    for field in ["containers", "initContainers"] {
        let containers = spec[field].as_array().into_iter().flatten();
        for (at, container) in containers.enumerate() {
            let path = format!("{path}.{field}[{at}]");
            if !names.insert(container["name"].as_str().unwrap_or_default()) {
                faults.duplicate(format!("{path}.name"), &container["name"]);
            }
            check_container(container, &path, &volumes, faults);
        }
    }
}

fn check_container(container: &Value, path: &str, volumes: &BTreeSet<&str>, faults: &mut Faults) {
    hold(container, path, CONTAINER, faults);
    let variables = container["env"].as_array().into_iter().flatten();
    for (at, variable) in variables.enumerate() {
        check_variable(variable, &format!("{path}.env[{at}].valueFrom"), faults);
    }
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let mut places = BTreeSet::new();
    for (at, mount) in mounts.enumerate() {
        let path = format!("{path}.volumeMounts[{at}]");
        let volume = mount["name"].as_str().unwrap_or_default();
        if !volume.is_empty() && !volumes.contains(volume) {
            let name = Value::from(volume);
            faults.other("FieldValueNotFound", format!("{path}.name"), name);
        }
        if !places.insert(mount["mountPath"].as_str().unwrap_or_default()) {
            let place = format!("{path}.mountPath");
            faults.invalid(place, &mount["mountPath"], "must be unique");
        }
    }
    for probe in PROBES {
        let path = format!("{path}.{probe}");
        let probe = &container[probe];
        check_handler(probe, &path, faults);
        hold(probe, &path, PROBE, faults);
    }
    for hook in ["postStart", "preStop"] {
        let path = format!("{path}.lifecycle.{hook}");
        check_handler(&container["lifecycle"][hook], &path, faults);
    }
}

/// A probe or a hook does one thing.
fn check_handler(handler: &Value, path: &str, faults: &mut Faults) {
    if handler.is_null() {
        return;
    }
    let mut kinds = HANDLERS.iter().filter(|kind| !handler[**kind].is_null());
    if kinds.next().is_none() {
        faults.required(path, "must specify a handler type");
    }
    for kind in kinds {
        let detail = "may not specify more than 1 handler type";
        faults.forbidden(format!("{path}.{kind}"), detail);
    }
}

/// An environment variable has its value in one way.
fn check_variable(variable: &Value, path: &str, faults: &mut Faults) {
    let from = &variable["valueFrom"];
    if from.is_null() {
        return;
    }
    let sources = SOURCES.iter().filter(|source| !from[**source].is_null());
    let why = if !variable["value"].as_str().unwrap_or_default().is_empty() {
        "may not be specified when `value` is not empty"
    } else {
        match sources.count() {
            0 => {
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, \
                 `secretKeyRef` or `fileKeyRef`"
            }
            1 => return,
            _ => "may not have more than one field specified at a time",
        }
    };
    faults.invalid(path, &json!(""), why);
}
