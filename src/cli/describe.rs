//! `heddle describe`: one resource for people: what it is, whether it is well, what it is doing.
//!
//! For a Trigger, the admin listener adds live statistics and the newest dead letters; where it
//! cannot be reached, that is said and the rest is shown.

use std::io::Write;

use clap::Args;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::api::{AS_JSON, Api};
use super::get::to_yaml;
use super::http::Http;
use super::kinds;
use super::merge::LAST_APPLIED;
use super::show_event::Shown;
use super::table::{Table, age, paint_status};
use super::{Context, Failure, Format, Global};

/// How many dead letters are shown.
const DEAD_LETTERS_SHOWN: usize = 5;
/// The column that values begin in.
const VALUES_AT: usize = 22;

/// Show one resource with its conditions and what it is doing
#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// The kind, or KIND/NAME
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// The names
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// Shows what the arguments name.
///
/// # Errors
///
/// When the API cannot be reached or has no such resource.
pub async fn run(args: DescribeArgs, context: &mut Context) -> Result<(), Failure> {
    let DescribeArgs {
        kind,
        names,
        global: _,
    } = args;
    let (kind, names) = kinds::kind_and_names(&kind, &names)?;
    if names.is_empty() {
        return Err(
            Failure::usage("which one? name it: heddle describe KIND NAME")
                .with_hint(format!("`heddle get {kind}` lists them")),
        );
    }
    let api = context.api().await?;
    let served = kinds::discover(api.client())
        .await
        .map_err(|error| api.failure(error))?;
    let namespace = context.settings.namespace.clone();
    let mut first = true;
    for kind in kinds::resolve(&served, &kind)? {
        for name in &names {
            let object = api
                .get(&kind.path(Some(&namespace), Some(name)), AS_JSON)
                .await?;
            if !first {
                writeln!(context.out, "\n")?;
            }
            first = false;
            let (now, color) = (context.clock.now(), context.color);
            write_object(&mut context.out, &object, now, color)?;
            if kind.kind == "Trigger" {
                write_delivery(&namespace, name, context).await?;
            }
            if kind.kind == "Broker" {
                write_triggers(&api, &served, &namespace, name, context).await?;
            }
        }
    }
    Ok(())
}

fn write_object(
    out: &mut dyn Write,
    object: &Value,
    now: Timestamp,
    color: bool,
) -> Result<(), Failure> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    field(out, "Name", text("/metadata/name").unwrap_or_default())?;
    if let Some(namespace) = text("/metadata/namespace") {
        field(out, "Namespace", namespace)?;
    }
    let kind = text("/kind").unwrap_or_default();
    let version = text("/apiVersion").unwrap_or_default();
    field(out, "Kind", &format!("{kind} ({version})"))?;
    texts(out, "Labels", object.pointer("/metadata/labels"))?;
    texts(out, "Annotations", object.pointer("/metadata/annotations"))?;
    if let Some(created) = text("/metadata/creationTimestamp") {
        let ago = created.parse().map(|created| age(created, now));
        let ago = ago.map(|ago| format!(" ({ago} ago)")).unwrap_or_default();
        field(out, "Created", &format!("{created}{ago}"))?;
    }
    if let Some(deleted) = text("/metadata/deletionTimestamp") {
        field(out, "Being deleted since", deleted)?;
    }
    for (name, pointer) in [
        ("Address", "/status/address/url"),
        ("Subscriber", "/status/subscriberUri"),
        ("Dead letter sink", "/status/deadLetterSinkUri"),
    ] {
        if let Some(value) = text(pointer) {
            field(out, name, value)?;
        }
    }
    for name in ["spec", "data"] {
        if let Some(value) = object.get(name) {
            document(out, name, value)?;
        }
    }
    let generation = object.pointer("/metadata/generation");
    let observed = object.pointer("/status/observedGeneration");
    if observed.is_some() && generation != observed {
        writeln!(
            out,
            "The status is about an older generation; the change is being taken up."
        )?;
    }
    conditions(out, object.pointer("/status/conditions"), now, color)
}

fn field(out: &mut dyn Write, name: &str, value: &str) -> std::io::Result<()> {
    let name = format!("{name}:");
    writeln!(out, "{name:<VALUES_AT$}{value}")
}

/// A mapping of texts, one a line. What `apply` remembers is left out.
fn texts(out: &mut dyn Write, name: &str, map: Option<&Value>) -> std::io::Result<()> {
    let mut name = format!("{name}:");
    for (key, value) in map.and_then(Value::as_object).into_iter().flatten() {
        if key == LAST_APPLIED {
            continue;
        }
        let value = value.as_str().unwrap_or_default();
        writeln!(out, "{name:<VALUES_AT$}{key}: {value}")?;
        name.clear();
    }
    Ok(())
}

/// A part of the object as YAML.
fn document(out: &mut dyn Write, name: &str, value: &Value) -> Result<(), Failure> {
    if value.as_object().is_some_and(Map::is_empty) {
        return Ok(());
    }
    let mut title: String = name.to_owned();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    writeln!(out, "{title}:")?;
    for line in to_yaml(value)?.lines() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn conditions(
    out: &mut dyn Write,
    conditions: Option<&Value>,
    now: Timestamp,
    color: bool,
) -> Result<(), Failure> {
    let Some(conditions) = conditions.and_then(Value::as_array) else {
        return Ok(());
    };
    let heading = |text: &str| text.to_owned();
    let mut table = Table {
        columns: ["  TYPE", "STATUS", "AGE", "REASON"].map(heading).to_vec(),
        rows: Vec::new(),
    };
    let mut messages = Vec::new();
    for condition in conditions {
        let text = |name: &str| {
            condition
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let since = text("lastTransitionTime").parse();
        let since = since.map(|since| age(since, now)).unwrap_or_default();
        let name = format!("  {}", text("type"));
        table.rows.push(vec![
            name,
            text("status").to_owned(),
            since,
            text("reason").to_owned(),
        ]);
        if !text("message").is_empty() {
            messages.push((text("type"), text("status"), text("message")));
        }
    }
    writeln!(out, "Conditions:")?;
    table.print(out, &table.widths(&[]), true, color)?;
    for (name, status, message) in messages {
        let status = if color {
            paint_status(status)
        } else {
            status.to_owned()
        };
        writeln!(out, "  {name} is {status}: {message}")?;
    }
    Ok(())
}

/// What a Trigger is doing, and its newest dead letters.
async fn write_delivery(namespace: &str, name: &str, context: &mut Context) -> Result<(), Failure> {
    let http = Http::admin(&context.settings.admin)?;
    let path = format!("/api/v1/namespaces/{namespace}/triggers/{name}");
    writeln!(context.out, "Delivery:")?;
    let stats = match http.get_text(&format!("{path}/stats")).await {
        Ok(text) => text,
        Err(failure) => {
            writeln!(context.out, "  not known: {failure}")?;
            return Ok(());
        }
    };
    let Ok(stats) = serde_json::from_str::<Map<String, Value>>(&stats) else {
        writeln!(
            context.out,
            "  not known: the admin listener did not answer with JSON"
        )?;
        return Ok(());
    };
    let wide = context.settings.output == Some(Format::Wide);
    write_stats(&mut context.out, &stats, context.clock.now(), wide)?;
    let kept = stats.get("dead_letters_kept").and_then(Value::as_u64);
    match kept {
        None | Some(0) => Ok(()),
        Some(kept) => {
            write_dead_letters(&http, &format!("{path}/dead-letters"), kept, context).await
        }
    }
}

/// The newest dead letters, the newest first. The log that keeps them is read from its oldest on,
/// so that it is asked first where it begins. Its offsets have gaps only after a redrive that was
/// broken off; what is shown then may not be the very newest.
async fn write_dead_letters(
    http: &Http,
    path: &str,
    kept: u64,
    context: &mut Context,
) -> Result<(), Failure> {
    let oldest = read_dead_letters(http, &format!("{path}?limit=1"), 1).await;
    let Some(first) = oldest.first().and_then(|letter| letter.offset) else {
        return Ok(());
    };
    let shown = DEAD_LETTERS_SHOWN as u64;
    let from = first.saturating_add(kept.saturating_sub(shown));
    let path = format!("{path}?from={from}&limit={shown}");
    let letters = read_dead_letters(http, &path, DEAD_LETTERS_SHOWN).await;
    if !letters.is_empty() {
        writeln!(context.out, "Newest dead letters:")?;
    }
    for letter in letters.iter().rev() {
        writeln!(context.out, "  {}", letter.text)?;
    }
    Ok(())
}

/// Some lines of a log of dead letters. What cannot be read is left out: the rest of the
/// description stands without it.
async fn read_dead_letters(http: &Http, path: &str, limit: usize) -> Vec<DeadLetter> {
    let Ok(lines) = http.get_lines(path).await else {
        return Vec::new();
    };
    let letters = lines
        .take(limit)
        .filter_map(async |line| dead_letter(&line.ok()?));
    letters.collect().await
}

/// The statistics in the order in which they are of interest; `wide` adds what is not known here
/// by name.
fn write_stats(
    out: &mut dyn Write,
    stats: &Map<String, Value>,
    now: Timestamp,
    wide: bool,
) -> std::io::Result<()> {
    const KNOWN: [(&str, &str); 17] = [
        ("position", "Position"),
        ("backlog", "Backlog"),
        ("oldest_undelivered", "Oldest undelivered"),
        ("in_flight", "In flight"),
        ("waiting_retry", "Waiting for retry"),
        ("seen", "Events seen"),
        ("matched", "Events matched"),
        ("filter_evaluated", "Filter evaluated"),
        ("filter_errors", "Filter errors"),
        ("last_filter_error", "Last filter error"),
        ("delivered", "Delivered"),
        ("replies", "Replies"),
        ("failed_attempts", "Failed attempts"),
        ("dead_lettered", "Dead-lettered"),
        ("dead_letters_kept", "Dead letters kept"),
        ("missing", "Lost by retention"),
        ("last_error", "Last error"),
    ];
    let known = KNOWN
        .iter()
        .filter_map(|(key, label)| Some((*label, stats.get(*key)?)));
    let others = stats
        .iter()
        .filter(|(key, _)| wide && !KNOWN.iter().any(|(known, _)| known == key))
        .map(|(key, value)| (key.as_str(), value));
    for (label, value) in known.chain(others) {
        let mut text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if label == "Oldest undelivered"
            && let Ok(time) = text.parse()
        {
            text.push_str(&format!(" ({} ago)", age(time, now)));
        }
        let label = format!("{label}:");
        writeln!(out, "  {label:<width$}{text}", width = VALUES_AT - 2)?;
    }
    Ok(())
}

/// An event that was given up.
struct DeadLetter {
    offset: Option<u64>,
    text: String,
}

/// A dead letter in one line: what it is and why it was given up.
fn dead_letter(line: &str) -> Option<DeadLetter> {
    #[derive(serde::Deserialize)]
    struct Letter<'a> {
        offset: Option<u64>,
        #[serde(borrow)]
        event: &'a serde_json::value::RawValue,
    }
    let letter: Letter<'_> = serde_json::from_str(line).ok()?;
    let event = Shown::from_json(letter.event.get())?;
    let of = |name| event.attribute(name).unwrap_or_default();
    let mut text = format!("{}  {}  {}", of("type"), of("source"), of("id"));
    if let Some(code) = event.attribute("knativeerrorcode") {
        text.push_str(&format!("  (status {code})"));
    }
    Some(DeadLetter {
        offset: letter.offset,
        text,
    })
}

/// The Triggers of a Broker.
async fn write_triggers(
    api: &Api,
    served: &[kinds::Kind],
    namespace: &str,
    broker: &str,
    context: &mut Context,
) -> Result<(), Failure> {
    let Some(kind) = served.iter().find(|kind| kind.kind == "Trigger") else {
        return Ok(());
    };
    let list = api.get(&kind.path(Some(namespace), None), AS_JSON).await?;
    let items = list.get("items").and_then(Value::as_array);
    let triggers: Vec<&Value> = items
        .into_iter()
        .flatten()
        .filter(|trigger| trigger.pointer("/spec/broker").and_then(Value::as_str) == Some(broker))
        .collect();
    writeln!(context.out, "Triggers:")?;
    if triggers.is_empty() {
        writeln!(context.out, "  none; nobody gets its events")?;
        return Ok(());
    }
    let mut table = Table {
        columns: ["  NAME", "READY", "SUBSCRIBER"]
            .map(str::to_owned)
            .to_vec(),
        rows: Vec::new(),
    };
    for trigger in triggers {
        let text = |pointer: &str| {
            let found = trigger.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let conditions = trigger
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
        let ready = ready
            .and_then(|ready| ready.get("status"))
            .and_then(Value::as_str);
        table.rows.push(vec![
            format!("  {}", text("/metadata/name")),
            ready.unwrap_or("Unknown").to_owned(),
            text("/status/subscriberUri"),
        ]);
    }
    table.print(&mut context.out, &table.widths(&[]), true, context.color)?;
    Ok(())
}
