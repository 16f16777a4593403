//! Which definition may use which names.
//!
//! Names are granted within a group, first come, first served, and are kept until the definition
//! goes; a definition is established once all of its names were granted and stays so. A later
//! change of names that conflicts leaves the definition under its old ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Names that were granted in one group.
#[derive(Debug, Default)]
struct Granted {
    /// Plural, singular and short names.
    resources: BTreeSet<String>,
    /// Kinds and kinds of lists.
    kinds: BTreeSet<String>,
}

/// Grants names to definitions, which are given in the order of their creation. Gives the new
/// status of every definition whose status changes, by its place.
pub(crate) fn settle(definitions: &[&Value], now: &str) -> BTreeMap<usize, Value> {
    let mut statuses: Vec<Value> = definitions.iter().map(|d| d["status"].clone()).collect();
    let mut changed = BTreeMap::new();
    for (at, definition) in definitions.iter().enumerate() {
        let group = &definition["spec"]["group"];
        let mut granted = Granted::default();
        for (other, status) in statuses.iter().enumerate() {
            if other != at
                && definitions
                    .get(other)
                    .is_some_and(|d| d["spec"]["group"] == *group)
            {
                granted.add(&status["acceptedNames"]);
            }
        }
        let Some(before) = statuses.get_mut(at) else {
            continue;
        };
        let after = status(definition, before, &granted, now);
        if after != *before {
            changed.insert(at, after.clone());
            *before = after;
        }
    }
    changed
}

impl Granted {
    fn add(&mut self, names: &Value) {
        let text = |field: &str| names[field].as_str().filter(|t| !t.is_empty());
        self.resources.extend(
            ["plural", "singular"]
                .into_iter()
                .filter_map(text)
                .map(str::to_owned),
        );
        self.resources.extend(texts(&names["shortNames"]));
        self.kinds.extend(
            ["kind", "listKind"]
                .into_iter()
                .filter_map(text)
                .map(str::to_owned),
        );
    }
}

fn texts(list: &Value) -> impl Iterator<Item = String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(|item| item.as_str().map(str::to_owned))
}

fn status(definition: &Value, before: &Value, granted: &Granted, now: &str) -> Value {
    let wanted = &definition["spec"]["names"];
    let held = &before["acceptedNames"];
    let mut accepted = if held.is_object() {
        held.clone()
    } else {
        json!({})
    };
    let mut conflict: Option<(&str, String)> = None;
    let in_use = |name: &str| format!("{} is already in use", Value::from(name));
    for (field, reason, taken) in [
        ("plural", "PluralConflict", &granted.resources),
        ("singular", "SingularConflict", &granted.resources),
        ("shortNames", "ShortNamesConflict", &granted.resources),
        ("kind", "KindConflict", &granted.kinds),
        ("listKind", "ListKindConflict", &granted.kinds),
    ] {
        let mine: BTreeSet<String> = texts(&held[field]).collect();
        let faults: Vec<String> = if field == "shortNames" {
            texts(&wanted[field])
                .filter(|name| !mine.contains(name) && taken.contains(name))
                .map(|name| in_use(&name))
                .collect()
        } else {
            let name = wanted[field].as_str().unwrap_or_default();
            let fault = wanted[field] != held[field] && taken.contains(name);
            fault.then(|| in_use(name)).into_iter().collect()
        };
        match faults.as_slice() {
            [] if wanted[field].is_null() => {
                if let Some(fields) = accepted.as_object_mut() {
                    fields.remove(field);
                }
            }
            [] => accepted[field] = wanted[field].clone(),
            [one] => conflict = Some((reason, one.clone())),
            many => conflict = Some((reason, format!("[{}]", many.join(", ")))),
        }
    }
    match &wanted["categories"] {
        Value::Null => {
            if let Some(fields) = accepted.as_object_mut() {
                fields.remove("categories");
            }
        }
        categories => accepted["categories"] = categories.clone(),
    }
    let mut status = before.clone();
    status["acceptedNames"] = accepted;
    let established = super::condition(definition, "Established");
    let (good, reason, message) = match &conflict {
        None => ("True", "NoConflicts", "no conflicts found"),
        Some((reason, message)) => ("False", *reason, message.as_str()),
    };
    set(&mut status, "NamesAccepted", good, reason, message, now);
    if !established {
        let (good, reason, message) = match conflict {
            None => (
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
            ),
            Some(_) => ("False", "NotAccepted", "not all names are accepted"),
        };
        set(&mut status, "Established", good, reason, message, now);
    }
    status
}

/// Writes a condition; its time changes with its status alone.
pub(crate) fn set(
    status: &mut Value,
    name: &str,
    value: &str,
    reason: &str,
    message: &str,
    now: &str,
) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    let found = conditions.iter_mut().find(|c| c["type"] == name);
    let since = match &found {
        Some(old) if old["status"] == value => old["lastTransitionTime"].clone(),
        _ => json!(now),
    };
    let condition = json!({
        "type": name, "status": value, "reason": reason, "message": message,
        "lastTransitionTime": since,
    });
    match found {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}
