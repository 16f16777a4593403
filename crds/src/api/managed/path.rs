//! One step of the way to a field, and how steps are written.
//!
//! A list whose items can be told apart is entered by what tells them apart, not by position: by
//! the values of its key fields, or by the item itself. So a path stays true when items move.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// A JSON value that can be compared with any other: numbers, texts, booleans, then the rest.
#[derive(Clone, Debug)]
pub(crate) struct Literal(pub(crate) Value);

impl Literal {
    fn rank(&self) -> u8 {
        match self.0 {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
}

impl Ord for Literal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(a), Value::Number(b)) => {
                let float = |n: &serde_json::Number| n.as_f64().unwrap_or_default();
                // Whole numbers that are too large for a float are told apart exactly.
                float(a)
                    .total_cmp(&float(b))
                    .then_with(|| a.is_f64().cmp(&b.is_f64()))
                    .then_with(|| a.as_i128().cmp(&b.as_i128()))
            }
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (a, b) => self
                .rank()
                .cmp(&other.rank())
                .then_with(|| a.to_string().cmp(&b.to_string())),
        }
    }
}

impl PartialOrd for Literal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Literal {}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Element {
    /// The field of a map.
    Field(String),
    /// The item of a list that has these key fields, in the order of their names.
    Key(Vec<(String, Literal)>),
    /// The item of a set.
    Item(Literal),
    /// The item at a position. Only other servers write it.
    Index(i64),
}

impl Element {
    /// A step to a field.
    pub(crate) fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    /// The name in FieldsV1: `f:spec`, `k:{"name":"x"}`, `v:"x"`, `i:0`.
    pub(crate) fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                let map: Map<String, Value> = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.0.clone()))
                    .collect();
                format!("k:{}", Value::Object(map))
            }
            Self::Item(value) => format!("v:{}", value.0),
            Self::Index(at) => format!("i:{at}"),
        }
    }

    /// Reads a name of FieldsV1; `None` within for one of a kind that a later version may know.
    pub(crate) fn decode(name: &str) -> Result<Option<Self>, BadElement> {
        let bad = || BadElement(name.to_owned());
        let (kind, rest) = name.split_once(':').ok_or_else(bad)?;
        let element = match kind {
            "f" => Self::Field(rest.to_owned()),
            "k" => {
                let fields: Map<String, Value> = serde_json::from_str(rest).map_err(|_| bad())?;
                let mut fields: Vec<(String, Literal)> =
                    fields.into_iter().map(|(n, v)| (n, Literal(v))).collect();
                fields.sort();
                Self::Key(fields)
            }
            "v" => Self::Item(Literal(serde_json::from_str(rest).map_err(|_| bad())?)),
            "i" => Self::Index(rest.parse().map_err(|_| bad())?),
            _ => return Ok(None),
        };
        Ok(Some(element))
    }
}

/// A name that is not one of FieldsV1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a step of a path in FieldsV1")]
pub(crate) struct BadElement(String);

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.0))
                    .collect();
                write!(f, "[{}]", fields.join(","))
            }
            Self::Item(value) => write!(f, "[={}]", value.0),
            Self::Index(at) => write!(f, "[{at}]"),
        }
    }
}

/// A path as people read it: `.spec.ports[port=80,protocol="TCP"].name`.
pub(crate) fn text(path: &[Element]) -> String {
    path.iter().map(ToString::to_string).collect()
}
