//! `metadata.managedFields`: one entry for each writer and way of writing.

use serde_json::{Map, Value, json};

use super::set::Set;

/// Entries of updates that an object has at most; older ones are put together.
const MAX_UPDATERS: usize = 10;
/// The name under which the oldest updates are put together.
const ANCIENT: &str = "ancient-changes";

/// How a writer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// Server-side apply.
    Apply,
    /// Anything else.
    Update,
}

/// Who wrote, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    /// The name that the client gives itself.
    pub(crate) name: String,
    /// How it wrote.
    pub(crate) operation: Operation,
    /// The version of the API in which it wrote.
    pub(crate) api_version: String,
    /// The subresource through which it wrote; empty for the object itself.
    pub(crate) subresource: String,
}

impl Writer {
    /// Whether both are the same: an applier is one over all versions, an updater is not.
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }
}

impl std::fmt::Display for Writer {
    /// As conflicts name it: `"kubectl" with subresource "status" using v1`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        if self.operation == Operation::Update {
            write!(f, " using {}", self.api_version)?;
        }
        Ok(())
    }
}

/// What one writer owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The writer.
    pub(crate) writer: Writer,
    /// When it last changed something, as RFC 3339 in whole seconds.
    pub(crate) time: Option<String>,
    /// The fields.
    pub(crate) fields: Set,
}

/// Who owns what of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Managed(pub(crate) Vec<Entry>);

impl Managed {
    /// Reads `managedFields`; `None` where they are malformed.
    pub(crate) fn decode(list: &Value) -> Option<Self> {
        let entries = match list {
            Value::Null => return Some(Self::default()),
            Value::Array(entries) => entries,
            _ => return None,
        };
        let mut managed = Self::default();
        for entry in entries {
            let entry = decode(entry)?;
            managed.drop_writer(&entry.writer);
            managed.0.push(entry);
        }
        Some(managed)
    }

    /// Who owns what after a client sent `sent` and `stored` was there: what is sent counts, if
    /// it is well formed and not nothing; an empty list, or one empty entry, forgets all owners.
    pub(crate) fn of_update(sent: &Value, stored: &Value) -> Self {
        let forgets = sent.as_array().is_some_and(|list| {
            let empty = |entry: &Value| entry.as_object().is_some_and(Map::is_empty);
            list.is_empty() || list.len() == 1 && empty(&list[0])
        });
        if forgets {
            return Self::default();
        }
        Self::decode(sent)
            .filter(|managed| !managed.0.is_empty())
            .or_else(|| Self::decode(stored))
            .unwrap_or_default()
    }

    /// The entries as `managedFields`, in the order of Kubernetes: by operation, time, name,
    /// version and subresource. Null where there are none.
    pub(crate) fn encode(mut self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        self.0.sort_by(|a, b| order(a).cmp(&order(b)));
        Value::Array(self.0.iter().map(encode).collect())
    }

    /// The entry of a writer.
    pub(crate) fn of(&self, writer: &Writer) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.writer.is(writer))
    }

    /// Whether an entry is one of the writer.
    pub(crate) fn drop_writer(&mut self, writer: &Writer) {
        self.0.retain(|entry| !entry.writer.is(writer));
    }

    /// Replaces what a writer owns.
    pub(crate) fn set(&mut self, entry: Entry) {
        self.drop_writer(&entry.writer);
        if !entry.fields.is_empty() {
            self.0.push(entry);
        }
    }

    /// Puts the oldest updates together where there are too many, one entry for each version.
    pub(crate) fn cap(&mut self) {
        let mut updaters: Vec<Entry> = Vec::new();
        self.0.retain(|entry| {
            let update = entry.writer.operation == Operation::Update;
            if update {
                updaters.push(entry.clone());
            }
            !update
        });
        updaters.sort_by(|a, b| order(a).cmp(&order(b)));
        while updaters.len() > MAX_UPDATERS {
            // The oldest of a version goes into the next oldest of that version, which becomes
            // the bucket.
            let pair = (0..updaters.len()).find_map(|first| {
                let version = &updaters[first].writer.api_version;
                let second = updaters[first + 1..]
                    .iter()
                    .position(|entry| entry.writer.api_version == *version)?;
                Some((first, first + 1 + second))
            });
            let Some((first, second)) = pair else { break };
            let mut bucket = updaters.remove(first);
            let newer = updaters.remove(second - 1);
            bucket.fields.unite(&newer.fields);
            bucket.time = newer.time;
            bucket.writer.name = ANCIENT.to_owned();
            bucket.writer.subresource = String::new();
            updaters.insert(first, bucket);
        }
        self.0.extend(updaters);
    }
}

fn order(entry: &Entry) -> (Operation, &Option<String>, &str, &str, &str) {
    let writer = &entry.writer;
    (
        writer.operation,
        &entry.time,
        &writer.name,
        &writer.api_version,
        &writer.subresource,
    )
}

fn decode(entry: &Value) -> Option<Entry> {
    let text = |field: &str| match &entry[field] {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let operation = match entry["operation"].as_str()? {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let api_version = text("apiVersion")?;
    if api_version.is_empty() || entry["fieldsType"] != "FieldsV1" {
        return None;
    }
    let fields = match &entry["fieldsV1"] {
        Value::Null => Set::default(),
        fields => Set::decode(fields).ok()?,
    };
    Some(Entry {
        writer: Writer {
            name: text("manager")?,
            operation,
            api_version,
            subresource: text("subresource")?,
        },
        time: Some(text("time")?).filter(|time| !time.is_empty()),
        fields,
    })
}

fn encode(entry: &Entry) -> Value {
    let writer = &entry.writer;
    let mut value = json!({
        "operation": match writer.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        },
        "apiVersion": writer.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields.encode(),
    });
    let texts = [
        ("manager", Some(&writer.name)),
        ("subresource", Some(&writer.subresource)),
        ("time", entry.time.as_ref()),
    ];
    for (field, text) in texts {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            value[field] = json!(text);
        }
    }
    value
}
