//! Our definitions beside Knative's, field by field.
//!
//! `HEDDLE_CONFORMANCE_DATA` names the directory that holds Knative's definitions; where it is not
//! set, the comparison is skipped and says so. Every difference is either a mistake, and printed,
//! or stands in [`ALLOWED`] with its reason; an entry there that fits no difference is a mistake as
//! well, so that the list cannot outlive what it excuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

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

/// Kind or `*`, the fact's path (a leading `*` stands for anything before), and why it differs.
/// A difference of a field whose path ends with `/` is allowed whole, and one that ends with `/**` with
/// everything below it.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "*",
        "labels.app.kubernetes.io/name",
        "the definition is part of our installation, not of Knative's",
    ),
    (
        "*",
        "labels.app.kubernetes.io/version",
        "names Knative's version; ours is the chart's to say",
    ),
    (
        "*",
        "*schema.spec#default",
        "spec may be left out; an API server then fills in the empty one that typed clients need",
    ),
    (
        "*",
        "*delivery.timeout/",
        "Knative keeps it as an unknown field behind a feature flag; here it always works",
    ),
    (
        "*",
        "*delivery.retryAfterMax/",
        "Knative keeps it as an unknown field behind a feature flag; here it always works",
    ),
    (
        "*",
        "*delivery.format/",
        "Knative declares it for Triggers and keeps it as unknown elsewhere",
    ),
    (
        "*",
        "*ref.group/",
        "declared, so that it is refused with a reason and not dropped",
    ),
    (
        "*",
        "*ref.address/",
        "part of the reference type; Knative's definitions lag behind it",
    ),
    (
        "Broker",
        "schema.spec.config.group/",
        "declared, so that it is refused with a reason",
    ),
    (
        "Broker",
        "schema.spec.config.address/",
        "part of the reference type",
    ),
    (
        "Trigger",
        "schema.spec.brokerRef.group/",
        "declared, so that it is refused with a reason",
    ),
    (
        "Trigger",
        "schema.spec.brokerRef.address/",
        "part of the reference type",
    ),
    (
        "Trigger",
        "schema.spec.filters[].heddle.dev/data/",
        "a dialect of our own, which is opt-in and bears our name",
    ),
    (
        "Subscription",
        "schema.spec.channel.group/",
        "declared, so that it is refused with a reason",
    ),
    (
        "Subscription",
        "schema.spec.channel.address/",
        "part of the reference type",
    ),
    (
        "Channel",
        "schema.status.channel.group/",
        "part of the reference type",
    ),
    (
        "Channel",
        "schema.status.channel.address/",
        "part of the reference type",
    ),
    (
        "*",
        "schema.status.deadLetterChannel.group/",
        "part of the reference type",
    ),
    (
        "*",
        "schema.status.deadLetterChannel.address/",
        "part of the reference type",
    ),
    (
        "Channel",
        "schema.spec.subscribers[].delivery.deadLetterSink.CACerts/",
        "part of a destination everywhere else, and of InMemoryChannel here too",
    ),
    (
        "Channel",
        "schema.spec.subscribers[].delivery.deadLetterSink.audience/",
        "part of a destination everywhere else, and of InMemoryChannel here too",
    ),
    (
        "Channel",
        "schema.spec.subscribers[].namespace/",
        "declared by InMemoryChannel, which has the same subscribers",
    ),
    (
        "KafkaChannel",
        "schema.spec.numPartitions#default",
        "filled in at admission",
    ),
    (
        "KafkaChannel",
        "schema.spec.replicationFactor#default",
        "filled in at admission",
    ),
    (
        "KafkaChannel",
        "schema.spec.replicationFactor#format",
        "a number of 16 bits; Knative's has the bounds only",
    ),
    (
        "KafkaChannel",
        "schema.spec.replicationFactor#minimum",
        "a number of 16 bits; Knative's has the upper bound only",
    ),
    (
        "KafkaChannel",
        "schema.spec.subscribers[].auth.serviceAccountNames/**",
        "declared by the other channels, which have the same subscribers",
    ),
    (
        "KafkaChannel",
        "schema.status.subscribers[].auth.serviceAccountNames/**",
        "declared by the other channels, which have the same status",
    ),
    (
        "KafkaChannel",
        "schema.status.address#required.url",
        "left out by all other kinds; an address may have no URL yet",
    ),
    (
        "KafkaChannel",
        "conversion.strategy",
        "one version is served, which needs no conversion",
    ),
    (
        "KafkaChannel",
        "v1:schema/**",
        "v1 has the fields of v1beta1, and is not served",
    ),
    (
        "KafkaChannel",
        "v1:columns/**",
        "v1 has the fields of v1beta1, and is not served",
    ),
    (
        "KafkaChannel",
        "v1:version/**",
        "v1 has the fields of v1beta1, and is not served",
    ),
    (
        "KafkaChannel",
        "v1:subresources/**",
        "v1 has the fields of v1beta1, and is not served",
    ),
    (
        "KafkaChannel",
        "schema.spec.subscribers[].namespace/",
        "declared by InMemoryChannel, which has the same subscribers",
    ),
    (
        "NatsJetStreamChannel",
        "labels.nats.eventing.knative.dev/release",
        "names eventing-natss's version; ours is the chart's to say",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.delivery#x-kubernetes-preserve-unknown-fields",
        "opened by all other kinds that have it, as features add fields to it",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.subscribers[].delivery#x-kubernetes-preserve-unknown-fields",
        "opened by all other kinds that have it, as features add fields to it",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.subscribers[].auth#required.serviceAccountName",
        "left out by all other kinds; it may be empty",
    ),
    (
        "NatsJetStreamChannel",
        "schema.status.subscribers[].auth#required.serviceAccountName",
        "left out by all other kinds; it may be empty",
    ),
    (
        "NatsJetStreamChannel",
        "schema.status.address#required.url",
        "left out by all other kinds; an address may have no URL yet",
    ),
    (
        "NatsJetStreamChannel",
        "schema.status.addresses[]#required.url",
        "left out by all other kinds; an address may have no URL yet",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.deploymentSpecTemplate/**",
        "kept as it is and without effect: there is no Deployment of dispatchers",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.subscribers[].namespace/",
        "declared by InMemoryChannel, which has the same subscribers",
    ),
    (
        "NatsJetStreamChannel",
        "schema.status.deadLetterChannel/**",
        "part of the status that all channels share",
    ),
    (
        "Subscription",
        "schema.spec.subscriber.ref#x-kubernetes-preserve-unknown-fields",
        "opened by Knative for the field group, which is declared here",
    ),
    (
        "EventType",
        "*schema.spec.reference.group/",
        "declared, so that it is refused with a reason",
    ),
    (
        "EventType",
        "v1beta3:version.served",
        "an API server converts it through a webhook, which is not installed yet",
    ),
    (
        "EventType",
        "conversion.strategy",
        "an API server converts through a webhook, which is not installed yet; none is needed \
         between v1beta1 and v1beta2",
    ),
    (
        "KafkaSource",
        "conversion.strategy",
        "Knative converts through a webhook; its versions are alike, so that none is needed",
    ),
    ("KafkaSource", "names.singular", "an API server fills it in"),
    (
        "KafkaSource",
        "*schema.apiVersion#type",
        "declared by an API server for every kind",
    ),
    (
        "KafkaSource",
        "*schema.kind#type",
        "declared by an API server for every kind",
    ),
    (
        "KafkaSource",
        "*schema.metadata#type",
        "declared by an API server for every kind",
    ),
    (
        "KafkaSource",
        "*schema.spec#required.bootstrapServers",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSource",
        "*schema.spec#required.topics",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSource",
        "*ref#required.kind",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSource",
        "*ref#required.name",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSource",
        "*schema.spec.delivery#x-kubernetes-preserve-unknown-fields",
        "as for all other kinds with delivery options",
    ),
    (
        "KafkaSource",
        "*schema.status.auth.serviceAccountNames/",
        "part of the same type in all other kinds",
    ),
    (
        "KafkaSource",
        "*schema.status.auth.serviceAccountNames[]/",
        "part of the same type in all other kinds",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN.secretKeyRef/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN.secretKeyRef.key/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN.secretKeyRef.name/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN.secretKeyRef.optional/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider.secretKeyRef/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider.secretKeyRef.key/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider.secretKeyRef.name/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider.secretKeyRef.optional/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSink",
        "schema.spec#required.bootstrapServers",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSink",
        "schema.spec#required.topic",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSink",
        "*ref#required.name",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSink",
        "schema.spec.bootstrapServers#minLength",
        "a bound for texts, which says nothing of a list; admission asks for one name at least",
    ),
    (
        "KafkaSink",
        "schema.spec.contentMode#default",
        "filled in by admission",
    ),
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
