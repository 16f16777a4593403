//! Who owns what after a write: the step of every write that keeps `managedFields`.

use serde_json::Value;

use super::error::ApiError;
use super::managed::{self, Managed, Operation, Scope, Views, Writer};
use super::patch;
use super::registry::api_version;
use super::store::Transaction;
use super::write::{MAX_OBJECT, remove_field};
use crate::resource::ResourceKind;

/// Who writes, and what that makes of who owns what.
#[derive(Clone, Debug)]
pub(crate) enum By<'a> {
    /// A writer of this name, who owns what it changes.
    Update(&'a str),
    /// An applier; it is known who owns what then.
    Apply(Managed),
}

/// The part of an object through which it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The object itself.
    Itself,
    /// Its status.
    Status,
    /// Its number of replicas.
    Scale,
}

impl Part {
    /// The status, or the object itself.
    pub(crate) fn of(status: bool) -> Self {
        if status { Self::Status } else { Self::Itself }
    }

    /// The name of the subresource.
    fn name(self) -> &'static str {
        match self {
            Self::Itself => "",
            Self::Status => "status",
            Self::Scale => "scale",
        }
    }
}

/// Who writes, and through which part of the object.
pub(crate) fn writer(kind: &ResourceKind, name: &str, operation: Operation, part: Part) -> Writer {
    Writer {
        name: name.to_owned(),
        operation,
        api_version: api_version(kind),
        subresource: part.name().to_owned(),
    }
}

/// What a request can write.
pub(crate) fn scope(kind: &ResourceKind, part: Part) -> Scope {
    match part {
        Part::Status => Scope::Status,
        _ if kind.status_subresource => Scope::WithoutStatus,
        Part::Itself | Part::Scale => Scope::Whole,
    }
}

/// Writes down who owns what. That may not fit in; then it is forgotten, or for an apply, which
/// cannot do without, refused.
pub(crate) fn own(
    transaction: &Transaction<'_>,
    kind: &ResourceKind,
    before: Option<&Value>,
    body: &mut Value,
    part: Part,
    (by, managed): (By<'_>, Managed),
) -> Result<(), ApiError> {
    let applied = matches!(by, By::Apply(_));
    let managed = match by {
        By::Apply(managed) => managed,
        By::Update(name) => managed::update(
            managed,
            Views::new(kind, transaction.registry().kinds()),
            before,
            body,
            &writer(kind, name, Operation::Update, part),
            scope(kind, part),
            &transaction.time(),
        ),
    };
    let owners = managed.encode();
    remove_field(&mut body["metadata"], "managedFields");
    if owners.is_null() {
        return Ok(());
    }
    if patch::size(body) + patch::size(&owners) <= MAX_OBJECT {
        body["metadata"]["managedFields"] = owners;
    } else if applied {
        return Err(ApiError::too_large(MAX_OBJECT));
    }
    Ok(())
}
