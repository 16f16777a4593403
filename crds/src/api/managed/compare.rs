//! What differs between two states of an object, as sets of fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::path::Element;
use super::set::Set;
use crate::api::types::Type;

/// What differs; no field is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Fields that only the later state has.
    pub(crate) added: Set,
    /// Fields that both have, with other values.
    pub(crate) modified: Set,
    /// Fields that only the earlier state has.
    pub(crate) removed: Set,
}

impl Changes {
    /// The fields that the later state has got a value for.
    pub(crate) fn written(&self) -> Set {
        let mut written = self.added.clone();
        written.unite(&self.modified);
        written
    }

    /// Keeps what is in the chosen fields of the object.
    pub(crate) fn retain_top(&mut self, keep: impl Fn(&str) -> bool + Copy) {
        self.added.retain_top(keep);
        self.modified.retain_top(keep);
        self.removed.retain_top(keep);
    }
}

/// Compares two states of an object. An item that a list has more than once has no fields of its
/// own: it is one value, and differs as a whole.
pub(crate) fn compare(ty: Type<'_>, before: &Value, after: &Value) -> Changes {
    let mut walk = Walk::default();
    walk.compare(ty, Some(before), Some(after));
    walk.changes
}

#[derive(Default)]
struct Walk {
    at: Vec<Element>,
    changes: Changes,
}

/// How a value is walked. Null takes the form of what it is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Null,
    Scalar,
    List,
    Map,
}

fn form(value: Option<&Value>) -> Form {
    match value {
        None | Some(Value::Null) => Form::Null,
        Some(Value::Array(_)) => Form::List,
        Some(Value::Object(_)) => Form::Map,
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => Form::Scalar,
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    }
}

fn names(value: Option<&Value>) -> BTreeSet<&str> {
    let map = value.and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect()
}

fn field<'v>(value: Option<&'v Value>, name: &str) -> Option<&'v Value> {
    value.and_then(|value| value.get(name))
}

fn items(value: Option<&Value>) -> &[Value] {
    value
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The items of a list by their steps; `None` where the list is one value.
fn by_element<'v>(
    ty: Type<'_>,
    value: Option<&'v Value>,
) -> Option<BTreeMap<Element, Vec<&'v Value>>> {
    let items = items(value);
    let elements = ty.elements(items).ok()??;
    let mut by: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for (element, item) in elements.into_iter().zip(items) {
        by.entry(element).or_default().push(item);
    }
    Some(by)
}

impl Walk {
    fn compare(&mut self, ty: Type<'_>, before: Option<&Value>, after: Option<&Value>) {
        let whole = match (form(before), form(after)) {
            (Form::Map, Form::Map | Form::Null) | (Form::Null, Form::Map) => {
                !self.maps(ty, before, after)
            }
            (Form::List, Form::List | Form::Null) | (Form::Null, Form::List) => {
                !self.lists(ty, before, after)
            }
            (a, b) if a != b && a != Form::Null && b != Form::Null => {
                // A value of another kind: all that was in the one goes, all in the other comes.
                self.inside(ty, before, None);
                self.inside(ty, None, after);
                true
            }
            _ => true,
        };
        match (before, after) {
            (None, _) => self.changes.added.insert(&self.at),
            (_, None) => self.changes.removed.insert(&self.at),
            (Some(before), Some(after)) if whole && before != after => {
                self.changes.modified.insert(&self.at);
            }
            _ => {}
        }
    }

    /// Compares what is inside maps or lists, if these are some.
    fn inside(&mut self, ty: Type<'_>, before: Option<&Value>, after: Option<&Value>) {
        match form(before.or(after)) {
            Form::Map => {
                self.maps(ty, before, after);
            }
            Form::List => {
                self.lists(ty, before, after);
            }
            Form::Null | Form::Scalar => {}
        }
    }

    /// Compares the fields of maps; false where these are owned as a whole.
    fn maps(&mut self, ty: Type<'_>, before: Option<&Value>, after: Option<&Value>) -> bool {
        if ty.is_atomic_map() || is_empty(before) && is_empty(after) {
            return false;
        }
        for name in names(before).union(&names(after)) {
            let element = Element::field(name);
            let (child, _) = ty.child(&element);
            self.at.push(element);
            let (before, after) = (field(before, name), field(after, name));
            if before != after {
                self.compare(child, before, after);
            }
            self.at.pop();
        }
        true
    }

    /// Compares the items of lists; false where these are owned as a whole.
    fn lists(&mut self, ty: Type<'_>, before: Option<&Value>, after: Option<&Value>) -> bool {
        if is_empty(before) && is_empty(after) {
            return false;
        }
        let (Some(mut before), Some(after)) = (by_element(ty, before), by_element(ty, after))
        else {
            return false;
        };
        for (element, new) in after {
            let old = before.remove(&element).unwrap_or_default();
            self.items(ty, element, &old, &new);
        }
        for (element, old) in before {
            self.items(ty, element, &old, &[]);
        }
        true
    }

    /// Compares the items of one step, of which there may be several.
    fn items(&mut self, ty: Type<'_>, element: Element, old: &[&Value], new: &[&Value]) {
        self.at.push(element);
        match (old, new) {
            ([] | [_], [] | [_]) => {
                self.compare(ty.item(), old.first().copied(), new.first().copied());
            }
            ([_, _, ..], [_, _, ..]) => {
                if old != new {
                    self.changes.modified.insert(&self.at);
                }
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    self.compare(ty.item(), None, Some(new));
                    // The step itself is there before and after.
                    self.changes.added.subtract(&only(&self.at));
                    self.changes.modified.insert(&self.at);
                } else {
                    self.changes.removed.insert(&self.at);
                }
            }
            (_, [_, _, ..]) => {
                if let Some(old) = old.first() {
                    self.compare(ty.item(), Some(old), None);
                    self.changes.removed.subtract(&only(&self.at));
                    self.changes.modified.insert(&self.at);
                } else {
                    self.changes.added.insert(&self.at);
                }
            }
        }
        self.at.pop();
    }
}

fn only(path: &[Element]) -> Set {
    let mut set = Set::default();
    set.insert(path);
    set
}
