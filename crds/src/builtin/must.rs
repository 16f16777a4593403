//! What fields of Kubernetes' own kinds must be, beyond their types, as tables of places.
//!
//! A place is the path of a field below some value, like `spec.ports[].port`. Where the field is not
//! there, all is well but for what [`Must::BeThere`].

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::api::names;
use crate::structural::words::Faults;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Must {
    /// There, and not empty.
    BeThere,
    /// One of these texts.
    BeOneOf(&'static [&'static str]),
    /// This number or a larger one.
    BeAtLeast(i64),
    /// More than 0.
    BePositive,
    /// A number from one to another.
    BeBetween(i64, i64),
    /// A text that this function takes.
    Be(fn(&str) -> Result<(), String>),
    /// Names and values of labels.
    BeLabels,
    /// Another text than the items before it have there.
    BeUnique,
}

/// A place, and what is to be there.
pub(super) type Rule = (&'static str, Must);

/// The numbers of ports.
pub(super) const PORT: Must = Must::BeBetween(1, 65_535);
/// The transports of ports.
pub(super) const PROTOCOL: Must = Must::BeOneOf(&["SCTP", "TCP", "UDP"]);

/// Holds what is below a value against a table. `path` is that of the value, empty for an object.
pub(super) fn hold(value: &Value, path: &str, rules: &[Rule], faults: &mut Faults) {
    for (place, must) in rules {
        let mut seen: Vec<&str> = Vec::new();
        each(value, place, path, &mut |path, value| {
            if let (Must::BeUnique, Some(text)) = (must, value.as_str()) {
                if seen.contains(&text) {
                    faults.duplicate(path, value);
                }
                seen.push(text);
            } else {
                must.judge(path, value, faults);
            }
        });
    }
}

/// Calls `look` with the path and the value of every field at a place.
fn each<'a>(value: &'a Value, place: &str, path: &str, look: &mut dyn FnMut(&str, &'a Value)) {
    let (step, rest) = place.split_once('.').unwrap_or((place, ""));
    let (name, items) = match step.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (step, false),
    };
    let dot = if path.is_empty() { "" } else { "." };
    let path = format!("{path}{dot}{name}");
    let found = &value[name];
    let mut go = |path: &str, found: &'a Value| {
        if rest.is_empty() {
            look(path, found);
        } else if !found.is_null() {
            each(found, rest, path, look);
        }
    };
    if items {
        for (at, item) in found.as_array().into_iter().flatten().enumerate() {
            go(&format!("{path}[{at}]"), item);
        }
    } else {
        go(&path, found);
    }
}

impl Must {
    fn judge(self, path: &str, value: &Value, faults: &mut Faults) {
        let empty = value.is_null() || value == "";
        match self {
            Self::BeThere if empty => faults.required(path, ""),
            Self::BeOneOf(known) if !value.is_null() => one_of(path, value, known, faults),
            Self::Be(fits) if !empty => {
                // What may be a number as well is held against other rules then.
                if let Some(Err(why)) = value.as_str().map(fits) {
                    faults.invalid(path, value, why);
                }
            }
            Self::BeLabels => labels(path, value, faults),
            _ => {
                if let Some(number) = value.as_i64() {
                    self.count(path, number, faults);
                }
            }
        }
    }

    fn count(self, path: &str, number: i64, faults: &mut Faults) {
        let why = match self {
            Self::BeAtLeast(least) if number < least => {
                format!("must be greater than or equal to {least}")
            }
            Self::BePositive if number <= 0 => "must be greater than 0".to_owned(),
            Self::BeBetween(least, most) if number < least || number > most => {
                format!("must be between {least} and {most}, inclusive")
            }
            _ => return,
        };
        faults.invalid(path, &json!(number), why);
    }
}

/// Reports a value that is none of these.
pub(super) fn one_of(path: &str, value: &Value, known: &[&str], faults: &mut Faults) {
    if !value.as_str().is_some_and(|text| known.contains(&text)) {
        let known: Vec<Value> = known.iter().map(|known| json!(known)).collect();
        faults.unsupported(path, value, &known);
    }
}

fn labels(path: &str, value: &Value, faults: &mut Faults) {
    for (name, value) in value.as_object().into_iter().flatten() {
        if let Err(why) = names::label_key(name) {
            faults.invalid(path, &json!(name), why);
        }
        if let Err(why) = names::label_value(value.as_str().unwrap_or_default()) {
            faults.invalid(path, value, why);
        }
    }
}

/// An address of IP.
pub(super) fn address(text: &str) -> Result<(), String> {
    let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    text.parse::<IpAddr>().map(drop).map_err(|_| why.to_owned())
}

/// The name of a port of a container, by which Services may know it.
pub(super) fn port_name(text: &str) -> Result<(), String> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let why = if text.len() > 15 {
        "must be no more than 15 characters"
    } else if !text.bytes().all(known) {
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    } else if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        "must contain at least one letter (a-z)"
    } else if text.contains("--") {
        "must not contain consecutive hyphens"
    } else if text.starts_with('-') || text.ends_with('-') {
        "must not begin or end with a hyphen"
    } else {
        return Ok(());
    };
    Err(why.to_owned())
}
