//! Label and field selectors: parsed once, matched against every object of a list or watch.

use std::collections::BTreeSet;

use super::error::ApiError;
use super::fields::Field;
use super::object::{Labels, Object};
use crate::resource::ResourceKind;

/// Requirements that one selector may hold.
const MAX_REQUIREMENTS: usize = 1_000;

/// What one requirement demands of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Demand {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Missing,
    Greater(i64),
    Less(i64),
}

/// A parsed `labelSelector` and `fieldSelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<(String, Demand)>,
    /// Fields, their values, and whether they are to have them.
    fields: Vec<(Field, String, bool)>,
}

impl Selector {
    /// Parses both selectors for objects of a kind, in the version in which the request speaks of
    /// it; an empty text selects everything.
    pub(crate) fn parse(kind: &ResourceKind, labels: &str, fields: &str) -> Result<Self, ApiError> {
        let selector = Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(kind, fields)?,
        };
        if selector.labels.len() + selector.fields.len() > MAX_REQUIREMENTS {
            return Err(ApiError::bad_request(format!(
                "a selector may hold at most {MAX_REQUIREMENTS} requirements"
            )));
        }
        Ok(selector)
    }

    /// Whether everything is selected.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the object is selected.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        let mut content = None;
        self.labels
            .iter()
            .all(|(key, demand)| met(demand, key, object.labels()))
            && self
                .fields
                .iter()
                .all(|(field, value, equal)| field.is(value, object, &mut content) == *equal)
    }
}

fn met(demand: &Demand, key: &str, labels: &Labels) -> bool {
    let value = labels.get(key);
    match demand {
        Demand::In(set) => value.is_some_and(|v| set.contains(v)),
        // A missing label is not in any set.
        Demand::NotIn(set) => !value.is_some_and(|v| set.contains(v)),
        Demand::Exists => value.is_some(),
        Demand::Missing => value.is_none(),
        Demand::Greater(n) => value
            .and_then(|v| v.parse::<i64>().ok())
            .is_some_and(|v| v > *n),
        Demand::Less(n) => value
            .and_then(|v| v.parse::<i64>().ok())
            .is_some_and(|v| v < *n),
    }
}

fn parse_fields(kind: &ResourceKind, text: &str) -> Result<Vec<(Field, String, bool)>, ApiError> {
    let mut terms = split_unescaped(text);
    terms.retain(|term| !term.is_empty());
    terms.sort_unstable();
    let parsed = terms.into_iter().map(|term| {
        let (field, equal, value) = split_field(term).ok_or_else(|| {
            ApiError::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{term}'"
            ))
        })?;
        Ok((field, unescape(value)?, equal))
    });
    let parsed: Vec<(&str, String, bool)> = parsed.collect::<Result<_, ApiError>>()?;
    parsed
        .into_iter()
        .map(|(field, value, equal)| Ok((Field::find(kind, field)?, value, equal)))
        .collect()
}

/// The parts between commas. A backslash before one makes it a part of the value.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let ends = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })
    .collect()
}

/// A field, whether it is to have the value, and the value.
fn split_field(term: &str) -> Option<(&str, bool, &str)> {
    let (before, value) = term.split_once('=')?;
    if let Some(field) = before.strip_suffix('!') {
        return Some((field, false, value));
    }
    Some((before, true, value.strip_prefix('=').unwrap_or(value)))
}

fn unescape(value: &str) -> Result<String, ApiError> {
    let invalid = |sequence: String| {
        ApiError::bad_request(format!(
            "invalid field selector: invalid escape sequence: {sequence}"
        ))
    };
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(special @ ('\\' | ',' | '=')) => plain.push(special),
                Some(other) => return Err(invalid(format!("\\{other}"))),
                None => return Err(invalid("\\".to_owned())),
            },
            '=' => {
                // The character is told by its number, as Go prints it.
                return Err(ApiError::bad_request(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                )));
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}

fn parse_labels(text: &str) -> Result<Vec<(String, Demand)>, ApiError> {
    let mut requirements = Vec::new();
    for term in split_outside_parentheses(text) {
        let term = term.trim();
        if term.is_empty() {
            if text.trim().is_empty() {
                continue;
            }
            return Err(unparsable("found '', expected: identifier"));
        }
        requirements.push(requirement(term)?);
    }
    Ok(requirements)
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn requirement(term: &str) -> Result<(String, Demand), ApiError> {
    if let Some(key) = term.strip_prefix('!') {
        return Ok((key_of(key)?, Demand::Missing));
    }
    for (sign, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = term.split_once(sign) {
            let set = BTreeSet::from([value_of(value)?]);
            let demand = if equal {
                Demand::In(set)
            } else {
                Demand::NotIn(set)
            };
            return Ok((key_of(key)?, demand));
        }
    }
    for (sign, greater) in [('>', true), ('<', false)] {
        if let Some((key, value)) = term.split_once(sign) {
            let bound = value.trim().parse().map_err(|_| {
                unparsable("for 'Gt', 'Lt' operators, the value must be an integer")
            })?;
            let demand = if greater {
                Demand::Greater(bound)
            } else {
                Demand::Less(bound)
            };
            return Ok((key_of(key)?, demand));
        }
    }
    if let Some((left, set)) = term.split_once('(') {
        let set = set
            .strip_suffix(')')
            .ok_or_else(|| unparsable("found '', expected: ',' or ')'"))?
            .split(',')
            .map(value_of)
            .collect::<Result<BTreeSet<_>, _>>()?;
        let words: Vec<&str> = left.split_whitespace().collect();
        return match words.as_slice() {
            [key, "in"] => Ok((key_of(key)?, Demand::In(set))),
            [key, "notin"] => Ok((key_of(key)?, Demand::NotIn(set))),
            _ => Err(unparsable(&format!(
                "found '{left}', expected: in, notin, =, ==, !=, gt, lt"
            ))),
        };
    }
    let words: Vec<&str> = term.split_whitespace().collect();
    if let [_, "in" | "notin"] = words.as_slice() {
        return Err(unparsable("found '' expected: '('"));
    }
    Ok((key_of(term)?, Demand::Exists))
}

fn key_of(text: &str) -> Result<String, ApiError> {
    let key = text.trim();
    match super::names::label_key(key) {
        Ok(()) => Ok(key.to_owned()),
        Err(why) => Err(unparsable(&format!("key: Invalid value: {key:?}: {why}"))),
    }
}

fn value_of(text: &str) -> Result<String, ApiError> {
    let value = text.trim();
    match super::names::label_value(value) {
        Ok(()) => Ok(value.to_owned()),
        Err(why) => Err(unparsable(&format!(
            "values: Invalid value: {value:?}: {why}"
        ))),
    }
}

fn unparsable(why: &str) -> ApiError {
    ApiError::bad_request(format!("unable to parse requirement: {why}"))
}

#[cfg(test)]
#[path = "tests/selector.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
