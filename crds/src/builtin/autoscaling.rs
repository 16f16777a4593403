//! HorizontalPodAutoscalers: `autoscaling/v1`, which `kubectl autoscale` and older manifests use, beside
//! `autoscaling/v2`, in which they are stored.
//!
//! v1 has one field for the utilization of CPU. Whatever else v2 can say stands in annotations there, as
//! in Kubernetes (pkg/apis/autoscaling/v1/conversion.go), so that nothing is lost on the way.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::admission::absent;
use super::cells;

pub(super) const GROUP: &str = "autoscaling";
/// The version that is stored.
pub(super) const STORED: &str = "v2";

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

/// The utilization of CPU, in percent, that counts where no metric is named.
const USUAL: i64 = 80;
/// The most metrics that are read from an annotation.
const MOST_METRICS: usize = 1_000;

/// What a metric is to be, and what it is: the words that stand for `*` in [`METRIC`].
const WANTED: &str = "target";
const FOUND: &str = "current";

/// A field of a metric in v1, and its path in v2.
type Field = (&'static str, &'static str);

/// For each type of metric, by the member that holds it, its fields.
const METRIC: [(&str, &[Field]); 5] = [
    (
        "resource",
        &[("name", "name"), UTILIZATION, ("*AverageValue", AVERAGE)],
    ),
    (
        "containerResource",
        &[
            ("name", "name"),
            ("container", "container"),
            UTILIZATION,
            ("*AverageValue", AVERAGE),
        ],
    ),
    (
        "pods",
        &[NAME, ("selector", SELECTOR), ("*AverageValue", AVERAGE)],
    ),
    (
        "object",
        &[
            NAME,
            ("target", "describedObject"),
            ("selector", SELECTOR),
            VALUE,
            ("averageValue", AVERAGE),
        ],
    ),
    (
        "external",
        &[
            NAME,
            ("metricSelector", SELECTOR),
            VALUE,
            ("*AverageValue", AVERAGE),
        ],
    ),
];
const NAME: Field = ("metricName", "metric/name");
const SELECTOR: &str = "metric/selector";
const UTILIZATION: Field = ("*AverageUtilization", "*/averageUtilization");
const VALUE: Field = ("*Value", "*/value");
const AVERAGE: &str = "*/averageValue";

/// Fills in what Kubernetes does in v2: at least one replica, and 80 % of the CPU where no metric is named.
pub(super) fn complete(object: &mut Value) {
    complete_first(object);
    let metrics = &mut object["spec"]["metrics"];
    if metrics.is_null() || metrics.as_array().is_some_and(Vec::is_empty) {
        *metrics = json!([cpu(&json!(USUAL))]);
    }
}

/// The same in v1, which says nothing of metrics that are not named.
pub(super) fn complete_first(object: &mut Value) {
    absent(&mut object["spec"], &[("minReplicas", json!(1))]);
}

/// The cells of one in v1, which are those of v2.
pub(super) fn cells_first(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut object = object.clone();
    to_stored(&mut object);
    cells::autoscaler(&object, now)
}

/// Turns an autoscaler into its other version.
pub(super) fn convert(object: &mut Value, _: &str, to: &str) -> Result<(), String> {
    if !object.is_object() {
        return Err("it is not an object".to_owned());
    }
    if to == STORED {
        to_stored(object);
    } else {
        to_first(object);
    }
    Ok(())
}

/// A part of an object, where it is one.
fn part<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(field)?.as_object_mut()
}

fn cpu(utilization: &Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": utilization});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// The utilization of CPU that a metric of v2 speaks of.
fn of_cpu(metric: &Value, member: &str) -> Option<Value> {
    let resource = &metric["resource"];
    let utilization = &resource[member]["averageUtilization"];
    (resource["name"] == "cpu" && utilization.is_number()).then(|| utilization.clone())
}

fn to_first(object: &mut Value) {
    let mut notes = Map::new();
    if let Some(spec) = part(object, "spec") {
        let mut others = Vec::new();
        let mut utilization = None;
        for metric in list(spec.remove("metrics")) {
            match of_cpu(&metric, "target") {
                Some(found) if utilization.is_none() => utilization = Some(found),
                _ => others.push(older(&metric, WANTED)),
            }
        }
        if let Some(utilization) = utilization {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), utilization);
        }
        note(&mut notes, METRICS, others);
        if let Some(behavior) = spec.remove("behavior") {
            notes.insert(BEHAVIOR.to_owned(), behavior.to_string().into());
        }
    }
    if let Some(status) = part(object, "status") {
        let current = list(status.remove("currentMetrics"));
        let utilization = current.iter().find_map(|metric| of_cpu(metric, "current"));
        if let Some(utilization) = utilization {
            status.insert("currentCPUUtilizationPercentage".to_owned(), utilization);
        }
        let current = current.iter().map(|metric| older(metric, FOUND)).collect();
        note(&mut notes, CURRENT, current);
        note(&mut notes, CONDITIONS, list(status.remove("conditions")));
    }
    if let (false, Some(metadata)) = (notes.is_empty(), part(object, "metadata")) {
        let annotations = metadata.entry("annotations").or_insert(json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.extend(notes);
        }
    }
}

fn to_stored(object: &mut Value) {
    let mut taken = |name: &str| -> Option<Value> {
        let annotations = object
            .pointer_mut("/metadata/annotations")?
            .as_object_mut()?;
        let text = annotations.get(name)?.as_str()?;
        // What cannot be read is left where it is, as a remark.
        let value = serde_json::from_str(text).ok()?;
        annotations.remove(name);
        Some(value)
    };
    let (metrics, behavior) = (list(taken(METRICS)), taken(BEHAVIOR));
    let (current, conditions) = (list(taken(CURRENT)), list(taken(CONDITIONS)));
    if let Some(metadata) = part(object, "metadata")
        && metadata.get("annotations") == Some(&json!({}))
    {
        metadata.remove("annotations");
    }
    if let Some(spec) = part(object, "spec") {
        let mut all: Vec<_> = metrics.iter().map(|metric| newer(metric, WANTED)).collect();
        let utilization = spec.remove("targetCPUUtilizationPercentage");
        all.extend(utilization.as_ref().map(cpu));
        if all.is_empty() {
            // Where v1 names none, v2 has its default.
            all.push(cpu(&json!(USUAL)));
        }
        spec.insert("metrics".to_owned(), all.into());
        if let Some(behavior) = behavior {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    if let Some(status) = part(object, "status") {
        let mut all: Vec<_> = current.iter().map(|metric| newer(metric, FOUND)).collect();
        let utilization = status.remove("currentCPUUtilizationPercentage");
        if let (true, Some(utilization)) = (all.is_empty(), utilization) {
            let current = json!({"averageUtilization": utilization});
            all.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": current}}));
        }
        for (field, all) in [("currentMetrics", all), ("conditions", conditions)] {
            if !all.is_empty() {
                status.insert(field.to_owned(), all.into());
            }
        }
    }
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) if items.len() <= MOST_METRICS => items,
        _ => Vec::new(),
    }
}

fn note(notes: &mut Map<String, Value>, name: &str, all: Vec<Value>) {
    if !all.is_empty() {
        notes.insert(name.to_owned(), Value::from(all).to_string().into());
    }
}

/// A metric as v1 writes it.
fn older(metric: &Value, word: &str) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (member, fields) in METRIC {
        if metric[member].is_object() {
            let found = fields.iter().filter_map(|(field, path)| {
                let path = path.replace('*', word);
                let value = path.split('/').fold(&metric[member], |at, step| &at[step]);
                (!value.is_null()).then(|| (field.replace('*', word), value.clone()))
            });
            out[member] = found.collect::<Map<_, _>>().into();
        }
    }
    out
}

/// A metric as v2 writes it.
fn newer(metric: &Value, word: &str) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (member, fields) in METRIC {
        let Some(given) = metric[member].as_object() else {
            continue;
        };
        let mut inner = json!({});
        for (field, path) in fields {
            if let Some(value) = given.get(&field.replace('*', word)) {
                let path = path.replace('*', word);
                *path.split('/').fold(&mut inner, |at, step| &mut at[step]) = value.clone();
            }
        }
        let kinds = [
            ("averageUtilization", "Utilization"),
            ("averageValue", "AverageValue"),
            ("value", "Value"),
        ];
        if let Some(target) = inner.get_mut(WANTED).filter(|target| target.is_object()) {
            let kind = kinds.iter().find(|(field, _)| !target[*field].is_null());
            target["type"] = json!(kind.map(|(_, kind)| *kind));
        }
        out[member] = inner;
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// One with everything that v1 has no fields for.
    fn rich() -> Value {
        let name = json!({"name": "queue", "selector": {"matchLabels": {"a": "b"}}});
        let metrics = json!([
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 50}}},
            {"type": "Pods", "pods": {"metric": name, "target": {"type": "AverageValue", "averageValue": "10"}}},
            {"type": "Object", "object": {"describedObject": {"kind": "Broker", "name": "b"}, "metric": name, "target": {"type": "Value", "value": "5"}}},
            {"type": "External", "external": {"metric": name, "target": {"type": "AverageValue", "averageValue": "7"}}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
        ]);
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "annotations": {"mine": "kept"}},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 9,
                "metrics": metrics, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
            },
            "status": {
                "currentReplicas": 2, "desiredReplicas": 3,
                "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 60, "averageValue": "6m"}}},
                    {"type": "Pods", "pods": {"metric": name, "current": {"averageValue": "11"}}},
                ],
            },
        })
    }

    #[test]
    fn nothing_is_lost_in_v1() {
        let stored = rich();
        let mut first = stored.clone();
        convert(&mut first, STORED, "v1").unwrap();
        let spec = json!({
            "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 9,
            "targetCPUUtilizationPercentage": 70,
        });
        assert_eq!(first["spec"], spec);
        let status = json!({
            "currentReplicas": 2, "desiredReplicas": 3, "currentCPUUtilizationPercentage": 60,
        });
        assert_eq!(first["status"], status);
        let note = first["metadata"]["annotations"][METRICS].as_str().unwrap();
        let notes: Vec<Value> = serde_json::from_str(note).unwrap();
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}});
        assert_eq!(notes[0], memory);
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(cells_first(&first, now), cells::autoscaler(&stored, now));
        convert(&mut first, "v1", STORED).unwrap();
        assert_eq!(first, stored);
    }

    #[test]
    fn a_simple_one_is_simple_in_both() {
        let mut object = json!({
            "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50},
            "status": {"currentCPUUtilizationPercentage": 40},
        });
        let first = object.clone();
        convert(&mut object, "v1", STORED).unwrap();
        assert_eq!(object["spec"]["metrics"], json!([cpu(&json!(50))]));
        assert_eq!(object["metadata"], json!({"name": "h"}));
        let mut back = object.clone();
        back["status"] = json!({});
        convert(&mut back, STORED, "v1").unwrap();
        assert_eq!(
            (&back["spec"], &back["metadata"]),
            (&first["spec"], &first["metadata"])
        );
        // Without a metric there is the one that Kubernetes takes then.
        let mut bare = json!({"spec": {"maxReplicas": 3}});
        complete(&mut bare);
        assert_eq!(bare["spec"]["metrics"], json!([cpu(&json!(USUAL))]));
        // What is not of this form is left alone.
        let mut odd = json!({"metadata": {"annotations": {METRICS: "["}}, "spec": {}});
        let before = odd["metadata"].clone();
        convert(&mut odd, "v1", STORED).unwrap();
        assert_eq!(odd["metadata"], before);
        assert_eq!(odd["spec"]["metrics"], json!([cpu(&json!(USUAL))]));
        assert!(convert(&mut json!([]), "v1", STORED).is_err());
    }
}
