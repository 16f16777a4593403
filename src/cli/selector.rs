//! Label selectors (`-l app=web,tier!=db,env in (a,b),!old`), checked before they are sent.
//!
//! The grammar is that of Kubernetes: equality and set requirements, separated by commas.

use std::str::FromStr;

use super::manifest::{is_label_value, is_name};

/// A selector whose grammar has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is not a label requirement: {expected}")]
pub struct SelectorError {
    part: String,
    expected: &'static str,
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        split(text)
            .into_iter()
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, requirement) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::Missing(key) => write!(f, "!{key}")?,
                Requirement::In(key, values) => match values.as_slice() {
                    [value] => write!(f, "{key}={value}")?,
                    _ => write!(f, "{key} in ({})", values.join(","))?,
                },
                Requirement::NotIn(key, values) => match values.as_slice() {
                    [value] => write!(f, "{key}!={value}")?,
                    _ => write!(f, "{key} notin ({})", values.join(","))?,
                },
            }
        }
        Ok(())
    }
}

/// Splits at the commas that are not in parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .collect()
}

fn requirement(part: &str) -> Result<Requirement, SelectorError> {
    let wrong = |expected| SelectorError {
        part: part.to_owned(),
        expected,
    };
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Missing(checked_key(part, key)?));
    }
    let sets = [
        (" notin ", false),
        (" notin(", false),
        (" in ", true),
        (" in(", true),
    ];
    for (word, positive) in sets {
        let Some((key, values)) = part.split_once(word) else {
            continue;
        };
        let values = values.trim().trim_start_matches('(');
        let values = values
            .strip_suffix(')')
            .ok_or_else(|| wrong("expected values in parentheses, like env in (a,b)"))?;
        let values = values
            .split(',')
            .map(|value| checked_value(part, value))
            .collect::<Result<_, _>>()?;
        let key = checked_key(part, key)?;
        return Ok(if positive {
            Requirement::In(key, values)
        } else {
            Requirement::NotIn(key, values)
        });
    }
    for (sign, positive) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = part.split_once(sign) {
            let key = checked_key(part, key)?;
            let values = vec![checked_value(part, value)?];
            return Ok(if positive {
                Requirement::In(key, values)
            } else {
                Requirement::NotIn(key, values)
            });
        }
    }
    Ok(Requirement::Exists(checked_key(part, part)?))
}

/// A label key: an optional DNS prefix and a name.
fn checked_key(part: &str, key: &str) -> Result<String, SelectorError> {
    let key = key.trim();
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_name) {
        Ok(key.to_owned())
    } else {
        Err(SelectorError {
            part: part.to_owned(),
            expected: "expected key, !key, key=value, key!=value, key in (a,b) or key notin (a,b)",
        })
    }
}

fn checked_value(part: &str, value: &str) -> Result<String, SelectorError> {
    let value = value.trim();
    if is_label_value(value) {
        Ok(value.to_owned())
    } else {
        Err(SelectorError {
            part: part.to_owned(),
            expected: "values have at most 63 letters, digits, '-', '_' and '.', \
                       with a letter or digit at both ends",
        })
    }
}
