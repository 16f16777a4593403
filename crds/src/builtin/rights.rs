//! What roles and their bindings fill in and must be.

use serde_json::{Value, json};

use super::admission::list;
use super::must::{self, Must, Rule, hold};
use crate::api::names;
use crate::structural::words::Faults;

const GROUP: &str = "rbac.authorization.k8s.io";
const GROUPS: &[&str] = &[GROUP];

/// Below a binding.
const BINDING: &[Rule] = &[
    ("roleRef.apiGroup", Must::BeOneOf(GROUPS)),
    ("roleRef.name", Must::BeThere),
    ("subjects[].name", Must::BeThere),
];

/// A binding: the group of what it names is known.
pub(super) fn complete_binding(object: &mut Value) {
    fn group(named: &mut Value, group: &str) {
        if named["apiGroup"].as_str().unwrap_or_default().is_empty() && !group.is_empty() {
            named["apiGroup"] = json!(group);
        }
    }
    if object["roleRef"].is_object() {
        group(&mut object["roleRef"], GROUP);
    }
    for subject in list(object, "subjects") {
        let of = match subject["kind"].as_str() {
            Some("User" | "Group") => GROUP,
            _ => "",
        };
        group(subject, of);
    }
}

pub(super) fn check_role_binding(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    check_binding(object, old, &["Role", "ClusterRole"], faults);
}

pub(super) fn check_cluster_role_binding(object: &Value, old: Option<&Value>, faults: &mut Faults) {
    check_binding(object, old, &["ClusterRole"], faults);
    let subjects = object["subjects"].as_array().into_iter().flatten();
    for (at, subject) in subjects.enumerate() {
        let namespace = subject["namespace"].as_str().unwrap_or_default();
        if subject["kind"] == "ServiceAccount" && namespace.is_empty() {
            faults.required(format!("subjects[{at}].namespace"), "");
        }
    }
}

fn check_binding(object: &Value, old: Option<&Value>, kinds: &[&str], faults: &mut Faults) {
    must::one_of("roleRef.kind", &object["roleRef"]["kind"], kinds, faults);
    hold(object, "", BINDING, faults);
    let subjects = object["subjects"].as_array().into_iter().flatten();
    for (at, subject) in subjects.enumerate() {
        let path = format!("subjects[{at}]");
        let (kind, group) = (&subject["kind"], &subject["apiGroup"]);
        let known = ["ServiceAccount", "User", "Group"];
        must::one_of(&format!("{path}.kind"), kind, &known, faults);
        match kind.as_str() {
            Some("ServiceAccount") => {
                let name = subject["name"].as_str().unwrap_or_default();
                if let Err(why) = names::subdomain(name)
                    && !name.is_empty()
                {
                    faults.invalid(format!("{path}.name"), &subject["name"], why);
                }
            }
            Some("User" | "Group") => {
                must::one_of(&format!("{path}.apiGroup"), group, GROUPS, faults);
            }
            _ => {}
        }
    }
    // What a binding grants may not change.
    if let Some(old) = old
        && old["roleRef"] != object["roleRef"]
    {
        let detail = "cannot change roleRef";
        faults.invalid("roleRef", &object["roleRef"], detail);
    }
}

pub(super) fn check_role(object: &Value, _: Option<&Value>, faults: &mut Faults) {
    check_rules(object, true, faults);
}

pub(super) fn check_cluster_role(object: &Value, _: Option<&Value>, faults: &mut Faults) {
    check_rules(object, false, faults);
    let rule = &object["aggregationRule"];
    let selectors = rule["clusterRoleSelectors"].as_array();
    if !rule.is_null() && selectors.is_none_or(Vec::is_empty) {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        faults.required("aggregationRule.clusterRoleSelectors", detail);
    }
}

fn check_rules(object: &Value, namespaced: bool, faults: &mut Faults) {
    let rules = object["rules"].as_array().into_iter().flatten();
    for (at, rule) in rules.enumerate() {
        let path = format!("rules[{at}]");
        let none = |field: &str| rule[field].as_array().is_none_or(Vec::is_empty);
        if none("verbs") {
            let detail = "verbs must contain at least one value";
            faults.required(format!("{path}.verbs"), detail);
        }
        let (urls, place) = (&rule["nonResourceURLs"], format!("{path}.nonResourceURLs"));
        if !none("nonResourceURLs") {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                faults.invalid(&place, urls, detail);
            }
            if !none("apiGroups") || !none("resources") || !none("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                faults.invalid(&place, urls, detail);
            }
            continue;
        }
        for (field, what) in [("apiGroups", "api group"), ("resources", "resource")] {
            if none(field) {
                let detail = format!("resource rules must supply at least one {what}");
                faults.required(format!("{path}.{field}"), &detail);
            }
        }
    }
}
