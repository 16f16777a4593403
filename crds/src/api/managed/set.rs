//! A set of fields: what a manager owns.
//!
//! It is a tree. A field can be in the set, have fields below it that are, or both; a node that
//! is neither does not exist, so that equal sets are equal trees.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::path::{BadElement, Element};
use crate::api::types::Type;

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(BTreeMap<Element, Node>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: Set,
}

impl Node {
    fn is_nothing(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl Set {
    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one field. The object itself, at the empty path, is owned by nobody.
    pub(crate) fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => self.0.entry(last.clone()).or_default().member = true,
            [first, rest @ ..] => self.0.entry(first.clone()).or_default().below.insert(rest),
        }
    }

    /// Whether exactly this field is in it.
    pub(crate) fn contains(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.has(last),
            [first, rest @ ..] => self.below(first).is_some_and(|below| below.contains(rest)),
        }
    }

    /// Whether this step alone leads to a field in it.
    pub(crate) fn has(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|node| node.member)
    }

    /// What is in it below a step, if anything is.
    pub(crate) fn below(&self, element: &Element) -> Option<&Self> {
        self.0
            .get(element)
            .map(|node| &node.below)
            .filter(|below| !below.is_empty())
    }

    /// Adds all of another.
    pub(crate) fn unite(&mut self, other: &Self) {
        for (element, theirs) in &other.0 {
            let node = self.0.entry(element.clone()).or_default();
            node.member |= theirs.member;
            node.below.unite(&theirs.below);
        }
    }

    /// Takes out what is in another; what is below those fields stays.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.0.retain(|element, node| {
            if let Some(theirs) = other.0.get(element) {
                node.member &= !theirs.member;
                node.below.subtract(&theirs.below);
            }
            !node.is_nothing()
        });
    }

    /// What is in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let both = self.0.iter().filter_map(|(element, mine)| {
            let theirs = other.0.get(element)?;
            let node = Node {
                member: mine.member && theirs.member,
                below: mine.below.intersection(&theirs.below),
            };
            (!node.is_nothing()).then(|| (element.clone(), node))
        });
        Self(both.collect())
    }

    /// Keeps what stands in the chosen fields of the object.
    pub(crate) fn retain_top(&mut self, keep: impl Fn(&str) -> bool) {
        self.0
            .retain(|element, _| matches!(element, Element::Field(name) if keep(name)));
    }

    /// All its fields, each after those above it.
    pub(crate) fn paths(&self) -> Vec<Vec<Element>> {
        let mut paths = Vec::new();
        self.walk(&mut Vec::new(), &mut paths);
        paths
    }

    fn walk(&self, at: &mut Vec<Element>, paths: &mut Vec<Vec<Element>>) {
        for (element, node) in &self.0 {
            at.push(element.clone());
            if node.member {
                paths.push(at.clone());
            }
            node.below.walk(at, paths);
            at.pop();
        }
    }

    /// The set with the declared fields that it has something below. Appliers do not own
    /// these, but where all below goes, they go too.
    pub(crate) fn with_parents(&self, ty: Type<'_>) -> Self {
        let nodes = self.0.iter().map(|(element, node)| {
            let (child, declared) = ty.child(element);
            let node = Node {
                member: node.member || declared,
                below: node.below.with_parents(child),
            };
            (element.clone(), node)
        });
        Self(nodes.collect())
    }

    /// Fits the set to a schema in which fields became atomic: whoever owned something within
    /// owns the whole.
    pub(crate) fn fit(&mut self, ty: Type<'_>) {
        for (element, node) in &mut self.0 {
            if node.below.is_empty() {
                continue;
            }
            let (child, _) = ty.child(element);
            if child.is_atomic() {
                *node = Node {
                    member: true,
                    below: Self::default(),
                };
            } else {
                node.below.fit(child);
            }
        }
    }

    /// The set as FieldsV1.
    pub(crate) fn encode(&self) -> Value {
        let fields: Map<String, Value> = self
            .0
            .iter()
            .map(|(element, node)| {
                let mut below = node.below.encode();
                if node.member && !node.below.is_empty() {
                    below["."] = json!({});
                }
                (element.encode(), below)
            })
            .collect();
        Value::Object(fields)
    }

    /// Reads FieldsV1.
    pub(crate) fn decode(fields: &Value) -> Result<Self, BadFields> {
        let fields = fields.as_object().ok_or(BadFields::NotAnObject)?;
        let mut set = Self::default();
        for (name, below) in fields.iter().filter(|(name, _)| *name != ".") {
            let Some(element) = Element::decode(name)? else {
                continue;
            };
            let node = Node {
                // What has nothing below it is in the set itself.
                member: below
                    .as_object()
                    .is_some_and(|m| m.is_empty() || m.contains_key(".")),
                below: Self::decode(below)?,
            };
            if !node.is_nothing() {
                set.0.insert(element, node);
            }
        }
        Ok(set)
    }
}

/// Why a value is not FieldsV1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadFields {
    /// It is not an object, or holds something that is not.
    #[error("FieldsV1 consists of nested objects")]
    NotAnObject,
    /// A name in it is none.
    #[error(transparent)]
    Element(#[from] BadElement),
}
