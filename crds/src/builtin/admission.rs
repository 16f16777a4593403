//! Defaults and checks of kinds of Kubernetes itself, as far as clients depend on them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::must::{self, Must, Rule, hold};
use super::{Check, Complete, pods};
use crate::admission::Beyond;
use crate::api::names;
use crate::resource::{AdmissionContext, FieldError};
use crate::structural::words::Faults;

/// Bytes of a Secret's data.
const MAX_SECRET: usize = 1024 * 1024;

/// Below what keeps a number of Pods.
const WORKLOAD: &[Rule] = &[
    ("spec.replicas", Must::BeAtLeast(0)),
    ("spec.minReadySeconds", Must::BeAtLeast(0)),
    ("spec.revisionHistoryLimit", Must::BeAtLeast(0)),
    (
        "spec.strategy.type",
        Must::BeOneOf(&["Recreate", "RollingUpdate"]),
    ),
    ("spec.strategy.rollingUpdate.maxSurge", Must::Be(share)),
    (
        "spec.strategy.rollingUpdate.maxUnavailable",
        Must::Be(share),
    ),
];
/// Below a Job.
const JOB: &[Rule] = &[
    ("spec.parallelism", Must::BeAtLeast(0)),
    ("spec.completions", Must::BeAtLeast(0)),
    ("spec.backoffLimit", Must::BeAtLeast(0)),
    ("spec.activeDeadlineSeconds", Must::BeAtLeast(0)),
    ("spec.ttlSecondsAfterFinished", Must::BeAtLeast(0)),
    (
        "spec.completionMode",
        Must::BeOneOf(&["NonIndexed", "Indexed"]),
    ),
];

/// A share of Pods, where it is no number of them.
fn share(text: &str) -> Result<(), String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        Ok(())
    } else {
        let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. \
                   '1%',  or '93%', regex used for validation is '[0-9]+%')";
        Err(why.to_owned())
    }
}

/// What a kind says beyond its schema.
#[derive(Debug)]
pub(super) struct Extras {
    pub(super) complete: Complete,
    pub(super) check: Check,
}

impl Beyond for Extras {
    const COMPLETES: bool = true;
    const SUPPLIES: bool = true;

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
pub(super) fn absent(object: &mut Value, fields: &[(&str, Value)]) {
    for (name, value) in fields {
        if object[*name].is_null() {
            object[*name] = value.clone();
        }
    }
}

/// The items of a list, if it is there.
pub(super) fn list<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    let found = object.get_mut(field).and_then(Value::as_array_mut);
    found.into_iter().flatten()
}

/// The Pods of a workload.
fn template(spec: &mut Value) {
    if let Some(pods) = spec.pointer_mut("/template/spec") {
        pods::complete_spec(pods);
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

pub(super) fn pod(object: &mut Value) {
    if object["spec"].is_null() {
        object["spec"] = json!({});
    }
    pods::complete_spec(&mut object["spec"]);
    absent(
        &mut object["spec"],
        &[
            ("enableServiceLinks", json!(true)),
            ("preemptionPolicy", json!("PreemptLowerPriority")),
            ("priority", json!(0)),
        ],
    );
    if object["status"].is_null() {
        object["status"] = json!({"phase": "Pending"});
    }
}

pub(super) fn deployment(object: &mut Value) {
    let spec = &mut object["spec"];
    absent(
        spec,
        &[
            ("replicas", json!(1)),
            ("revisionHistoryLimit", json!(10)),
            ("progressDeadlineSeconds", json!(600)),
            ("strategy", json!({})),
        ],
    );
    let strategy = &mut spec["strategy"];
    absent(strategy, &[("type", json!("RollingUpdate"))]);
    if strategy["type"] == "RollingUpdate" {
        absent(strategy, &[("rollingUpdate", json!({}))]);
        let quarter = json!("25%");
        let shares = [("maxSurge", quarter.clone()), ("maxUnavailable", quarter)];
        absent(&mut strategy["rollingUpdate"], &shares);
    }
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

pub(super) fn check_pod(object: &Value, _: Option<&Value>, faults: &mut Faults) {
    pods::check_spec(&object["spec"], "spec", faults);
}

/// A selector must choose the Pods of its own template, and may not change.
pub(super) fn check_selector(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    let spec = &object["spec"];
    let selector = &spec["selector"];
    let labels = &spec["template"]["metadata"]["labels"];
    let wanted = selector["matchLabels"].as_object();
    let expressions = selector["matchExpressions"].as_array();
    if wanted.is_none_or(Map::is_empty) && expressions.is_none_or(Vec::is_empty) {
        let detail = "empty selector is invalid for deployment";
        faults.invalid("spec.selector", &json!({}), detail);
    }
    if wanted.is_some_and(|all| all.iter().any(|(name, value)| labels[name] != *value)) {
        let detail = "`selector` does not match template `labels`";
        faults.invalid("spec.template.metadata.labels", labels, detail);
    }
    let pods = &spec["template"]["spec"];
    pods::check_spec(pods, "spec.template.spec", faults);
    let policy = &pods["restartPolicy"];
    must::one_of(
        "spec.template.spec.restartPolicy",
        policy,
        &["Always"],
        faults,
    );
    if let Some(old) = old
        && old["spec"]["selector"] != *selector
    {
        faults.invalid("spec.selector", selector, "field is immutable");
    }
    hold(object, "", WORKLOAD, faults);
}

pub(super) fn check_deployment(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    check_selector(object, old, faults);
    let spec = &object["spec"];
    let strategy = &spec["strategy"];
    let rolling = &strategy["rollingUpdate"];
    if strategy["type"] == "Recreate" && !rolling.is_null() {
        let detail = "may not be specified when strategy `type` is 'Recreate'";
        faults.forbidden("spec.strategy.rollingUpdate", detail);
    }
    let none = |value: &Value| *value == 0 || value == "0%";
    if none(&rolling["maxSurge"]) && none(&rolling["maxUnavailable"]) {
        let place = "spec.strategy.rollingUpdate.maxUnavailable";
        let detail = "may not be 0 when `maxSurge` is 0";
        faults.invalid(place, &rolling["maxUnavailable"], detail);
    }
    let (limit, ready) = (&spec["progressDeadlineSeconds"], &spec["minReadySeconds"]);
    if limit.as_i64().unwrap_or(i64::MAX) <= ready.as_i64().unwrap_or_default() {
        let detail = "must be greater than minReadySeconds";
        faults.invalid("spec.progressDeadlineSeconds", limit, detail);
    }
}

/// A Job's template is part of what it is; its restart policy cannot be the default.
pub(super) fn check_job(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    let template = &object["spec"]["template"];
    pods::check_spec(&template["spec"], "spec.template.spec", faults);
    if template["spec"]["restartPolicy"] == "Always" {
        let detail = "valid values: \"OnFailure\", \"Never\"";
        faults.required("spec.template.spec.restartPolicy", detail);
    }
    hold(object, "", JOB, faults);
    if let Some(old) = old
        && old["spec"]["template"] != *template
    {
        faults.invalid("spec.template", template, "field is immutable");
    }
}
