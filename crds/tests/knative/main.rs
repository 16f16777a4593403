//! Our definitions beside Knative's, field by field.
//!
//! `HEDDLE_CONFORMANCE_DATA` names the directory that holds Knative's definitions; where it is not
//! set, the comparison is skipped and says so. Every difference is either a mistake, and printed,
//! or stands in [`ALLOWED`] with its reason; an entry there that fits no difference is a mistake as
//! well, so that the list cannot outlive what it excuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allowed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use allowed::ALLOWED;

/// File, kind.
const FILES: [(&str, &str); 10] = [
    ("broker.yaml", "Broker"),
    ("trigger.yaml", "Trigger"),
    ("eventtype.yaml", "EventType"),
    ("channel.yaml", "Channel"),
    ("in-memory-channel.yaml", "InMemoryChannel"),
    ("kafkachannel.yaml", "KafkaChannel"),
    ("natsjetstreamchannel.yaml", "NatsJetStreamChannel"),
    ("subscription.yaml", "Subscription"),
    ("kafkasource.yaml", "KafkaSource"),
    ("kafkasink.yaml", "KafkaSink"),
];

/// A definition as a flat list of facts.
type Facts = BTreeMap<String, String>;

fn facts_of(crd: &Value) -> Facts {
    let mut facts = Facts::new();
    let spec = &crd["spec"];
    for (name, value) in crd["metadata"]["labels"].as_object().unwrap() {
        facts.insert(format!("labels.{name}"), value.to_string());
    }
    facts.insert("name".to_owned(), crd["metadata"]["name"].to_string());
    facts.insert("group".to_owned(), spec["group"].to_string());
    facts.insert("scope".to_owned(), spec["scope"].to_string());
    for name in ["kind", "plural", "singular"] {
        facts.insert(format!("names.{name}"), spec["names"][name].to_string());
    }
    for list in ["categories", "shortNames"] {
        for value in spec["names"][list].as_array().into_iter().flatten() {
            facts.insert(
                format!("names.{list}.{}", value.as_str().unwrap()),
                "yes".to_owned(),
            );
        }
    }
    for version in spec["versions"].as_array().unwrap() {
        // Of the version that is stored, facts stand alone; those of others say whose they are.
        let of = match version["storage"] == true {
            true => String::new(),
            false => format!("{}:", version["name"].as_str().unwrap()),
        };
        version_facts(version, &of, &mut facts);
    }
    if let Some(strategy) = spec.pointer("/conversion/strategy") {
        facts.insert("conversion.strategy".to_owned(), strategy.to_string());
    }
    facts
}

fn version_facts(version: &Value, of: &str, facts: &mut Facts) {
    for name in [
        "name",
        "served",
        "storage",
        "deprecated",
        "deprecationWarning",
    ] {
        facts.insert(format!("{of}version.{name}"), version[name].to_string());
    }
    for name in version["subresources"].as_object().unwrap().keys() {
        facts.insert(format!("{of}subresources.{name}"), "yes".to_owned());
    }
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    for (index, column) in columns.iter().enumerate() {
        let column_of = format!("{of}columns.{}", column["name"].as_str().unwrap());
        facts.insert(format!("{column_of}.place"), index.to_string());
        for name in ["type", "jsonPath"] {
            facts.insert(format!("{column_of}.{name}"), column[name].to_string());
        }
        let priority = column["priority"].as_i64().unwrap_or_default();
        facts.insert(format!("{column_of}.priority"), priority.to_string());
    }
    let schema = &version["schema"]["openAPIV3Schema"];
    schema_facts(schema, &format!("{of}schema"), facts);
}

fn schema_facts(schema: &Value, path: &str, facts: &mut Facts) {
    for (key, value) in schema.as_object().unwrap() {
        match key.as_str() {
            "description" => {}
            "properties" => {
                for (name, schema) in value.as_object().unwrap() {
                    schema_facts(schema, &format!("{path}.{name}"), facts);
                }
            }
            "items" => schema_facts(value, &format!("{path}[]"), facts),
            "required" => {
                for name in value.as_array().unwrap() {
                    let fact = format!("{path}#required.{}", name.as_str().unwrap());
                    facts.insert(fact, "yes".to_owned());
                }
            }
            // The API's own types write bounds as 1.0.
            _ => {
                let whole = value.as_f64().filter(|number| number.fract() == 0.0);
                let text = whole.map_or_else(|| value.to_string(), |number| format!("{number}"));
                facts.insert(format!("{path}#{key}"), text);
            }
        }
    }
}

fn allows((kind, path, _): &(&str, &str, &str), of: &str, fact: &str) -> bool {
    if *kind != "*" && *kind != of {
        return false;
    }
    if let Some(path) = path.strip_suffix("/**") {
        let rest = fact.strip_prefix(path);
        return rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '#', '[']));
    }
    let (path, below) = match path.strip_suffix('/') {
        Some(path) => (path, true),
        None => (*path, false),
    };
    // Facts of the field itself follow after '#'.
    let fact = if below {
        fact.split('#').next().unwrap()
    } else {
        fact
    };
    match path.strip_prefix('*') {
        Some(end) => fact.ends_with(end),
        None => fact == path,
    }
}

#[test]
fn definitions_are_those_of_knative() {
    let Some(data) = std::env::var_os("HEDDLE_CONFORMANCE_DATA") else {
        eprintln!("skipped: HEDDLE_CONFORMANCE_DATA does not name a directory");
        return;
    };
    let folder = PathBuf::from(data).join("knative_crds");
    let ours: BTreeMap<String, Value> = heddle_crds::crds()
        .into_iter()
        .map(|crd| {
            (
                crd.spec.names.kind.clone(),
                serde_json::to_value(crd).unwrap(),
            )
        })
        .collect();
    assert_eq!(ours.len(), FILES.len(), "every definition is compared");
    let mut differences = Vec::new();
    let mut used = BTreeSet::new();
    for (file, kind) in FILES {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        // One of the files ends with the beginning of another document.
        let text = text.trim_end().trim_end_matches("---");
        let theirs = facts_of(&serde_saphyr::from_str::<Value>(text).unwrap());
        let ours = facts_of(&ours[kind]);
        assert!(theirs.len() > 50, "{file} was read");
        let every: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        for fact in every {
            let (our, their) = (ours.get(fact), theirs.get(fact));
            if our == their {
                continue;
            }
            let allowing: Vec<_> = (0..ALLOWED.len())
                .filter(|index| allows(&ALLOWED[*index], kind, fact))
                .collect();
            if allowing.is_empty() {
                differences.push(format!("{kind} {fact}: ours {our:?}, Knative's {their:?}"));
            }
            used.extend(allowing);
        }
    }
    let stale: Vec<_> = (0..ALLOWED.len())
        .filter(|i| !used.contains(i))
        .map(|i| ALLOWED[i])
        .collect();
    assert!(
        differences.is_empty(),
        "not allowed for:\n{}",
        differences.join("\n")
    );
    assert!(stale.is_empty(), "allowed for nothing: {stale:#?}");
}
