//! What a write that is not an apply makes of who owns what.

use std::sync::Arc;

use serde_json::{Value, json};

use super::compare::{Changes, compare};
use super::entries::{Entry, Managed, Writer};
use super::set::Set;
use crate::api::registry::api_version;
use crate::api::types::Type;
use crate::api::version::convert;
use crate::resource::ResourceKind;

/// Fields that no one owns: the server writes them, or they never change.
const UNOWNED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Which part of an object a request can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of it.
    Whole,
    /// All but its status, which is a subresource.
    WithoutStatus,
    /// The status alone.
    Status,
}

impl Scope {
    /// Whether a field of the object is in this part.
    pub(crate) fn has(self, field: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::WithoutStatus => field != "status",
            Self::Status => field == "status",
        }
    }
}

/// An object in the versions of its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Views<'a> {
    kind: &'a ResourceKind,
    served: &'a [Arc<ResourceKind>],
}

impl<'a> Views<'a> {
    /// The views of a kind, in the version of the request, which is one of all that are served.
    pub(crate) fn new(kind: &'a ResourceKind, served: &'a [Arc<ResourceKind>]) -> Self {
        Self { kind, served }
    }

    fn kind(self, version: &str) -> Option<&'a ResourceKind> {
        if version == api_version(self.kind) {
            return Some(self.kind);
        }
        let same = |kind: &ResourceKind| {
            kind.plural == self.kind.plural
                && kind.group == self.kind.group
                && api_version(kind) == version
        };
        self.served.iter().map(Arc::as_ref).find(|kind| same(kind))
    }

    /// The version of the request.
    pub(crate) fn version(self) -> String {
        api_version(self.kind)
    }

    /// The type of an object in a version, where that is served.
    pub(crate) fn ty(self, version: &str) -> Option<Type<'a>> {
        Some(Type::Object(&self.kind(version)?.schema))
    }

    /// The type of an object in the version of the request.
    pub(crate) fn requested(self) -> Type<'a> {
        Type::Object(&self.kind.schema)
    }

    /// An object in a version, where that is served and the object has a form in it.
    pub(crate) fn at(self, version: &str, object: &Value) -> Option<Value> {
        let mut object = object.clone();
        // An object that is still empty has no version yet.
        if object.get("apiVersion").is_some() {
            convert(self.kind(version)?, &mut object).ok()?;
        }
        Some(object)
    }

    /// What differs between two states of an object, in a version.
    pub(crate) fn changes(
        self,
        version: &str,
        before: &Value,
        after: &Value,
        scope: Scope,
    ) -> Option<Changes> {
        let ty = self.ty(version)?;
        let mut changes = if version == self.version() {
            compare(ty, before, after)
        } else {
            compare(ty, &self.at(version, before)?, &self.at(version, after)?)
        };
        changes.retain_top(|field| scope.has(field));
        Some(changes)
    }
}

/// Fields that no one owns, as a set.
pub(crate) fn unowned() -> Set {
    let mut set = Set::default();
    for path in UNOWNED {
        let path: Vec<_> = path
            .iter()
            .map(|name| super::path::Element::field(name))
            .collect();
        set.insert(&path);
    }
    set
}

impl Managed {
    /// Fits the entries to the schemas of their versions, and drops those of versions that are
    /// no longer served.
    pub(crate) fn fit(&mut self, views: Views<'_>) {
        self.0.retain_mut(|entry| {
            let ty = views.ty(&entry.writer.api_version);
            if let Some(ty) = ty {
                entry.fields.fit(ty);
            }
            ty.is_some()
        });
    }
}

/// Gives what changed between `before` (`None` for a new object) and `after` to the writer.
///
/// An object whose owners are unknown stays so until something is applied to it, since what it
/// has from before could be anybody's.
pub(crate) fn update(
    mut managed: Managed,
    views: Views<'_>,
    before: Option<&Value>,
    after: &Value,
    by: &Writer,
    scope: Scope,
    now: &str,
) -> Managed {
    if managed.0.is_empty() && before.is_some() {
        return managed;
    }
    let nothing = json!({});
    let before = before.unwrap_or(&nothing);
    managed.fit(views);
    let Some(changes) = views.changes(&by.api_version, before, after, scope) else {
        return managed;
    };
    let mut written = changes.written();
    managed.0.retain_mut(|entry| {
        let version = &entry.writer.api_version;
        let lost = if *version == by.api_version {
            Some(changes.clone())
        } else {
            views.changes(version, before, after, scope)
        };
        if let Some(lost) = lost {
            // The writer's own entry gets back below what it loses here.
            entry.fields.subtract(&lost.written());
            entry.fields.subtract(&lost.removed);
        }
        !entry.fields.is_empty()
    });
    written.subtract(&unowned());
    if !written.is_empty() {
        if let Some(entry) = managed.of(by) {
            written.unite(&entry.fields);
        }
        managed.set(Entry {
            writer: by.clone(),
            time: Some(now.to_owned()),
            fields: written,
        });
    }
    managed.cap();
    managed
}
