//! Defaults and checks of kinds of Kubernetes itself, as far as clients depend on them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::{Check, Complete};
use crate::admission::Beyond;
use crate::api::names;
use crate::resource::{AdmissionContext, FieldError};
use crate::structural::words::Faults;

/// Bytes of a Secret's data.
const MAX_SECRET: usize = 1024 * 1024;

/// What a kind says beyond its schema.
#[derive(Debug)]
pub(super) struct Extras {
    pub(super) complete: Complete,
    pub(super) check: Check,
}

impl Beyond for Extras {
    const COMPLETES: bool = true;

    fn complete(
        &self,
        object: &mut Value,
        _: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        (self.complete)(object);
        Ok(())
    }

    fn check(
        &self,
        object: &Value,
        old: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        let mut faults = Faults::default();
        (self.check)(object, old, &mut faults);
        faults.into_vec()
    }
}

pub(super) fn as_it_is(_: &mut Value) {}

pub(super) fn anything(_: &Value, _: Option<&Value>, _: &mut Faults) {}

/// Sets fields that are not there.
fn absent(object: &mut Value, fields: &[(&str, Value)]) {
    for (name, value) in fields {
        if object[*name].is_null() {
            object[*name] = value.clone();
        }
    }
}

/// The items of a list, if it is there.
fn list<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    let found = object.get_mut(field).and_then(Value::as_array_mut);
    found.into_iter().flatten()
}

/// The Pods of a workload.
fn template(spec: &mut Value) {
    if let Some(pods) = spec.pointer_mut("/template/spec") {
        pod_spec(pods);
    }
}

/// A Secret: `stringData` goes into `data`, encoded.
pub(super) fn secret(object: &mut Value) {
    if let Some(texts) = object.as_object_mut().and_then(|o| o.remove("stringData")) {
        let mut data = object["data"].as_object().cloned().unwrap_or_default();
        for (name, text) in texts.as_object().into_iter().flatten() {
            let encoded = BASE64_STANDARD.encode(text.as_str().unwrap_or_default());
            data.insert(name.clone(), json!(encoded));
        }
        object["data"] = Value::Object(data);
    }
    absent(object, &[("type", json!("Opaque"))]);
}

pub(super) fn check_secret(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    let data = object["data"].as_object();
    let size: usize = data
        .into_iter()
        .flatten()
        .map(|(_, value)| value.as_str().map_or(0, |text| text.len() / 4 * 3))
        .sum();
    if size > MAX_SECRET {
        faults.too_long("data", MAX_SECRET as u64);
    }
    for name in data.into_iter().flat_map(Map::keys) {
        if let Err(why) = names::data_key(name) {
            faults.invalid(format!("data[{name}]"), &json!(name), why);
        }
    }
    check_secret_type(object, faults);
    let Some(old) = old else { return };
    if old["type"] != object["type"] {
        faults.invalid("type", &object["type"], "field is immutable");
    }
    if old["immutable"] == true {
        if object["immutable"] != true {
            faults.forbidden("immutable", "field is immutable when `immutable` is set");
        }
        if old["data"] != object["data"] {
            faults.forbidden("data", "field is immutable when `immutable` is set");
        }
    }
}

/// What Kubernetes wants of Secrets of its own types.
fn check_secret_type(object: &Value, faults: &mut Faults) {
    let data = &object["data"];
    let required: &[&str] = match object["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        // One of them is enough.
        "kubernetes.io/basic-auth" if data["username"].is_null() && data["password"].is_null() => {
            &["username", "password"]
        }
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            let account = object["metadata"]["annotations"][name].as_str();
            if account.unwrap_or_default().is_empty() {
                faults.required(format!("metadata.annotations[{name}]"), "");
            }
            &[]
        }
        _ => &[],
    };
    for name in required {
        let field = format!("data[{name}]");
        match data[*name].as_str() {
            None => faults.required(field, ""),
            Some(text) if name.starts_with(".docker") => {
                let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
                if let Err(why) = serde_json::from_slice::<IgnoredAny>(&bytes) {
                    faults.invalid(field, &json!("<secret contents redacted>"), why);
                }
            }
            Some(_) => {}
        }
    }
}

/// A Service. There is no network of a cluster here, so none gets an address of it.
pub(super) fn service(object: &mut Value) {
    let spec = &mut object["spec"];
    absent(
        spec,
        &[
            ("type", json!("ClusterIP")),
            ("sessionAffinity", json!("None")),
        ],
    );
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
        absent(spec, &[("clusterIP", json!("None"))]);
        if spec["clusterIPs"].is_null() {
            spec["clusterIPs"] = json!([spec["clusterIP"]]);
        }
    }
    for port in list(spec, "ports") {
        let number = port["port"].clone();
        absent(port, &[("protocol", json!("TCP")), ("targetPort", number)]);
    }
}

pub(super) fn check_service(object: &Value, _: Option<&Value>, faults: &mut Faults) {
    let spec = &object["spec"];
    let known = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"].map(Value::from);
    if !known.contains(&spec["type"]) {
        faults.unsupported("spec.type", &spec["type"], &known);
    }
    let external = spec["type"] == "ExternalName";
    if external && spec["externalName"].as_str().unwrap_or_default().is_empty() {
        faults.required("spec.externalName", "");
    }
    let ports = spec["ports"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if ports.is_empty() && !external && spec["clusterIP"] != "None" {
        faults.required("spec.ports", "");
    }
    for (at, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        for field in ["port", "targetPort"] {
            let number = &port[field];
            let good = number.as_i64().is_some_and(|n| (1..=65_535).contains(&n));
            // A target may be named.
            if !(good || field == "targetPort" && number.is_string()) {
                let detail = "must be between 1 and 65535, inclusive";
                faults.invalid(format!("{path}.{field}"), number, detail);
            }
        }
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            faults.required(format!("{path}.name"), "");
        }
        let known = ["SCTP", "TCP", "UDP"].map(Value::from);
        if !known.contains(&port["protocol"]) {
            faults.unsupported(format!("{path}.protocol"), &port["protocol"], &known);
        }
    }
}

/// The spec of a Pod, alone or in a template.
fn pod_spec(spec: &mut Value) {
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
        }
    }
}

pub(super) fn pod(object: &mut Value) {
    pod_spec(&mut object["spec"]);
    if object["status"].is_null() {
        object["status"] = json!({"phase": "Pending"});
    }
}

pub(super) fn deployment(object: &mut Value) {
    let spec = &mut object["spec"];
    let rolling = json!({
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    });
    absent(
        spec,
        &[
            ("replicas", json!(1)),
            ("revisionHistoryLimit", json!(10)),
            ("progressDeadlineSeconds", json!(600)),
            ("strategy", rolling),
        ],
    );
    template(spec);
}

pub(super) fn replica_set(object: &mut Value) {
    absent(&mut object["spec"], &[("replicas", json!(1))]);
    template(&mut object["spec"]);
}

pub(super) fn job(object: &mut Value) {
    absent(
        &mut object["spec"],
        &[
            ("parallelism", json!(1)),
            ("completions", json!(1)),
            ("backoffLimit", json!(6)),
            ("completionMode", json!("NonIndexed")),
            ("suspend", json!(false)),
        ],
    );
    template(&mut object["spec"]);
}

/// The containers of a Pod: one at least, each with an image and a name. That names differ, the schema
/// says.
fn check_containers(spec: &Value, path: &str, faults: &mut Faults) {
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        faults.required(format!("{path}.containers"), "");
    }
    for field in ["initContainers", "containers"] {
        for (at, container) in spec[field].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.{field}[{at}]");
            let name = container["name"].as_str().unwrap_or_default();
            if name.is_empty() {
                faults.required(format!("{path}.name"), "");
            } else if let Err(why) = names::dns_label(name) {
                faults.invalid(format!("{path}.name"), &json!(name), why);
            }
            let image = container["image"].as_str().unwrap_or_default();
            if image.is_empty() {
                faults.required(format!("{path}.image"), "");
            }
        }
    }
}

pub(super) fn check_pod(object: &Value, _: Option<&Value>, faults: &mut Faults) {
    check_containers(&object["spec"], "spec", faults);
}

/// A selector must choose the Pods of its own template, and may not change.
pub(super) fn check_selector(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    let spec = &object["spec"];
    let labels = &spec["template"]["metadata"]["labels"];
    let wanted = spec["selector"]["matchLabels"].as_object();
    if wanted.is_some_and(|all| all.iter().any(|(name, value)| labels[name] != *value)) {
        let detail = "`selector` does not match template `labels`";
        faults.invalid("spec.template.metadata.labels", labels, detail);
    }
    check_containers(&spec["template"]["spec"], "spec.template.spec", faults);
    if let Some(old) = old
        && old["spec"]["selector"] != spec["selector"]
    {
        faults.invalid("spec.selector", &spec["selector"], "field is immutable");
    }
    if spec["replicas"]
        .as_i64()
        .is_some_and(|replicas| replicas < 0)
    {
        let detail = "must be greater than or equal to 0";
        faults.invalid("spec.replicas", &spec["replicas"], detail);
    }
}

/// A Job's template is part of what it is; its restart policy cannot be the default.
pub(super) fn check_job(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    let template = &object["spec"]["template"];
    check_containers(&template["spec"], "spec.template.spec", faults);
    let policy = &template["spec"]["restartPolicy"];
    let known = ["OnFailure", "Never"].map(Value::from);
    if !known.contains(policy) {
        faults.unsupported("spec.template.spec.restartPolicy", policy, &known);
    }
    if let Some(old) = old
        && old["spec"]["template"] != *template
    {
        faults.invalid("spec.template", template, "field is immutable");
    }
}

/// What a binding grants may not change.
pub(super) fn check_binding(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    if let Some(old) = old
        && old["roleRef"] != object["roleRef"]
    {
        let detail = "cannot change roleRef";
        faults.invalid("roleRef", &object["roleRef"], detail);
    }
}
