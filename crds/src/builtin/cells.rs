//! What `kubectl get` shows of kinds of Kubernetes itself, in the order of their columns.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::age as short;

/// Items of a list that one cell names.
const MAX_NAMED: usize = 3;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn or(value: &str, other: &str) -> Value {
    json!(if value.is_empty() { other } else { value })
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The time since then.
fn since(value: &Value, now: Timestamp) -> String {
    match text(value).parse::<Timestamp>() {
        Ok(then) => short(now.as_second() - then.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

fn old(object: &Value, now: Timestamp) -> Value {
    json!(since(&object["metadata"]["creationTimestamp"], now))
}

fn joined<'a>(all: impl IntoIterator<Item = &'a Value>, field: &str) -> Value {
    let all: Vec<_> = all.into_iter().map(|item| text(&item[field])).collect();
    json!(all.join(","))
}

fn pairs(map: &Value) -> Value {
    let all: Vec<_> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    or(&all.join(","), "<none>")
}

/// At most a few items, and how many more there are.
fn few(all: &[String]) -> Value {
    let more = all.len().saturating_sub(MAX_NAMED);
    let mut named = all
        .iter()
        .take(MAX_NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(",");
    if more > 0 {
        named.push_str(&format!(" + {more} more..."));
    }
    or(&named, "<none>")
}

pub(crate) fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![object["status"]["phase"].clone(), old(object, now)]
}

pub(crate) fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
    vec![json!(count("data") + count("binaryData")), old(object, now)]
}

pub(super) fn age(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![old(object, now)]
}

pub(super) fn created(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![object["metadata"]["creationTimestamp"].clone()]
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = object["data"].as_object().map_or(0, serde_json::Map::len);
    vec![object["type"].clone(), json!(count), old(object, now)]
}

pub(super) fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let kind = text(&spec["type"]);
    let external: Vec<&str> = match kind {
        "ExternalName" => vec![text(&spec["externalName"])],
        "LoadBalancer" => items(&object["status"]["loadBalancer"]["ingress"])
            .iter()
            .map(|to| {
                text(if to["ip"].is_string() {
                    &to["ip"]
                } else {
                    &to["hostname"]
                })
            })
            .collect(),
        _ => items(&spec["externalIPs"]).iter().map(text).collect(),
    };
    let none = if kind == "LoadBalancer" {
        "<pending>"
    } else {
        "<none>"
    };
    let ports: Vec<_> = items(&spec["ports"])
        .iter()
        .map(|port| {
            let node = match number(&port["nodePort"]) {
                0 => String::new(),
                node => format!(":{node}"),
            };
            format!("{}{node}/{}", port["port"], text(&port["protocol"]))
        })
        .collect();
    vec![
        json!(kind),
        or(text(&spec["clusterIP"]), "<none>"),
        or(&external.join(","), none),
        or(&ports.join(","), "<none>"),
        old(object, now),
        pairs(&spec["selector"]),
    ]
}

pub(super) fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in items(&object["subsets"]) {
        for address in items(&subset["addresses"]) {
            let ip = text(&address["ip"]);
            if items(&subset["ports"]).is_empty() {
                all.push(ip.to_owned());
            }
            for port in items(&subset["ports"]) {
                all.push(format!("{ip}:{}", port["port"]));
            }
        }
    }
    vec![few(&all), old(object, now)]
}

pub(super) fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<_> = items(&object["ports"])
        .iter()
        .map(|port| match &port["port"] {
            Value::Null => "*".to_owned(),
            port => port.to_string(),
        })
        .collect();
    let addresses: Vec<_> = items(&object["endpoints"])
        .iter()
        .flat_map(|endpoint| items(&endpoint["addresses"]))
        .map(|address| text(address).to_owned())
        .collect();
    vec![
        object["addressType"].clone(),
        match few(&ports) {
            none if ports.is_empty() => json!(text(&none).replace("<none>", "<unset>")),
            some => some,
        },
        match few(&addresses) {
            none if addresses.is_empty() => json!(text(&none).replace("<none>", "<unset>")),
            some => some,
        },
        old(object, now),
    ]
}

/// An event in either of its forms.
pub(super) fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |a: &str, b: &str| match &object[a] {
        Value::Null => object[b].clone(),
        found => found.clone(),
    };
    let when = |value: &Value| {
        if value.is_string() {
            json!(since(value, now))
        } else {
            object["eventTime"].as_str().map_or_else(
                || json!("<unknown>"),
                |_| json!(since(&object["eventTime"], now)),
            )
        }
    };
    let last = match &object["series"]["lastObservedTime"] {
        Value::Null => either("lastTimestamp", "deprecatedLastTimestamp"),
        time => time.clone(),
    };
    let first = either("firstTimestamp", "deprecatedFirstTimestamp");
    let about = either("involvedObject", "regarding");
    let source = either("source", "deprecatedSource");
    let component = match text(&source["component"]) {
        "" => text(&either("reportingComponent", "reportingController")).to_owned(),
        component => component.to_owned(),
    };
    let from = [component.as_str(), text(&source["host"])];
    let from: Vec<_> = from.into_iter().filter(|part| !part.is_empty()).collect();
    let count = match &object["series"]["count"] {
        Value::Null => number(&either("count", "deprecatedCount")).max(1),
        count => number(count),
    };
    vec![
        when(&last),
        object["type"].clone(),
        object["reason"].clone(),
        json!(format!(
            "{}/{}",
            text(&about["kind"]).to_lowercase(),
            text(&about["name"])
        )),
        json!(text(&about["fieldPath"])),
        json!(from.join(", ")),
        json!(text(&either("message", "note")).trim()),
        when(&first),
        json!(count),
        object["metadata"]["name"].clone(),
    ]
}

pub(super) fn pod(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let states = items(&status["containerStatuses"]);
    let ready = states.iter().filter(|state| state["ready"] == true).count();
    let restarts: i64 = states
        .iter()
        .map(|state| number(&state["restartCount"]))
        .sum();
    let mut reason = match text(&status["reason"]) {
        "" => text(&status["phase"]),
        reason => reason,
    };
    for state in states.iter().rev() {
        for kind in ["waiting", "terminated"] {
            let why = text(&state["state"][kind]["reason"]);
            if !why.is_empty() {
                reason = why;
            }
        }
    }
    if object["metadata"]["deletionTimestamp"].is_string() {
        reason = "Terminating";
    }
    let gates = items(&spec["readinessGates"]).len();
    let open = items(&spec["readinessGates"]).iter().filter(|gate| {
        items(&status["conditions"])
            .iter()
            .any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
    });
    let gates = match gates {
        0 => "<none>".to_owned(),
        all => format!("{}/{all}", open.count()),
    };
    vec![
        json!(format!("{ready}/{}", items(&spec["containers"]).len())),
        json!(reason),
        json!(restarts.to_string()),
        old(object, now),
        or(text(&status["podIP"]), "<none>"),
        or(text(&spec["nodeName"]), "<none>"),
        or(text(&status["nominatedNodeName"]), "<none>"),
        json!(gates),
    ]
}

/// The containers of a template, their images, and the selector.
fn template(object: &Value) -> [Value; 3] {
    let spec = &object["spec"];
    let containers = items(&spec["template"]["spec"]["containers"]);
    [
        joined(containers, "name"),
        joined(containers, "image"),
        pairs(&spec["selector"]["matchLabels"]),
    ]
}

pub(super) fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let (wanted, status) = (number(&object["spec"]["replicas"]), &object["status"]);
    let mut cells = vec![
        json!(format!("{}/{wanted}", number(&status["readyReplicas"]))),
        json!(number(&status["updatedReplicas"])),
        json!(number(&status["availableReplicas"])),
        old(object, now),
    ];
    cells.extend(template(object));
    cells
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let mut cells = vec![
        json!(number(&object["spec"]["replicas"])),
        json!(number(&status["replicas"])),
        json!(number(&status["readyReplicas"])),
        old(object, now),
    ];
    cells.extend(template(object));
    cells
}

pub(super) fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let is = |name: &str| {
        items(&status["conditions"])
            .iter()
            .any(|c| c["type"] == name && c["status"] == "True")
    };
    let state = ["Complete", "Failed", "Suspended"]
        .into_iter()
        .find(|name| is(name));
    let state = match state {
        _ if object["metadata"]["deletionTimestamp"].is_string() => "Terminating",
        Some(state) => state,
        None => "Running",
    };
    let done = number(&status["succeeded"]);
    let completions = match (&spec["completions"], number(&spec["parallelism"])) {
        (Value::Null, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (Value::Null, _) => format!("{done}/1"),
        (wanted, _) => format!("{done}/{wanted}"),
    };
    let at = |value: &Value| text(value).parse::<Timestamp>().ok();
    let duration = at(&status["startTime"]).map(|start| {
        let end = at(&status["completionTime"]).unwrap_or(now);
        short(end.as_second() - start.as_second())
    });
    let mut cells = vec![
        json!(state),
        json!(completions),
        json!(duration.unwrap_or_default()),
        old(object, now),
    ];
    cells.extend(template(object));
    cells
}

pub(super) fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let current = items(&status["currentMetrics"]);
    let targets: Vec<_> = items(&spec["metrics"])
        .iter()
        .enumerate()
        .map(|(at, metric)| {
            let resource = &metric["resource"];
            let wanted = &resource["target"]["averageUtilization"];
            let found = current
                .get(at)
                .map(|c| &c["resource"]["current"]["averageUtilization"]);
            let found = match found {
                Some(Value::Number(number)) => format!("{number}%"),
                _ => "<unknown>".to_owned(),
            };
            match (text(&resource["name"]), wanted) {
                ("", _) | (_, Value::Null) => "<unknown>".to_owned(),
                (name, wanted) => format!("{name}: {found}/{wanted}%"),
            }
        })
        .collect();
    let least = match &spec["minReplicas"] {
        Value::Null => json!("<unset>"),
        least => json!(least.to_string()),
    };
    vec![
        json!(format!(
            "{}/{}",
            text(&target["kind"]),
            text(&target["name"])
        )),
        few(&targets),
        least,
        json!(number(&spec["maxReplicas"])),
        json!(number(&status["currentReplicas"])),
        old(object, now),
    ]
}

pub(super) fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        json!(text(&object["spec"]["holderIdentity"])),
        old(object, now),
    ]
}

pub(super) fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = &object["roleRef"];
    let of = |kind: &str| {
        let names: Vec<_> = items(&object["subjects"])
            .iter()
            .filter(|subject| subject["kind"] == kind)
            .map(|subject| match (kind, text(&subject["namespace"])) {
                ("ServiceAccount", namespace) if !namespace.is_empty() => {
                    format!("{namespace}/{}", text(&subject["name"]))
                }
                _ => text(&subject["name"]).to_owned(),
            })
            .collect();
        json!(names.join(", "))
    };
    vec![
        json!(format!("{}/{}", text(&role["kind"]), text(&role["name"]))),
        old(object, now),
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}
