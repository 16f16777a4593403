//! Who owns which field of an object: `metadata.managedFields`, and server-side apply.
//!
//! Each writer has a name, and owns the fields that it has set. An update gives the fields that
//! it changes to its writer. An apply states all that its writer wants: what it no longer states
//! goes, unless somebody else owns it too; what somebody else owns with another value is a
//! conflict, unless the writer forces it.
//!
//! Laws:
//! - What is stored by no one's wish (names, versions, times of the server) is owned by no one.
//! - A field of which no one but the applier knows goes with the applier's wish for it.
//! - A write that changes neither the object nor who owns what is no new version.
//! - Nothing here fails on what is stored: a list whose items cannot be told apart is one value.
//!
//! The rules and the format are those of Kubernetes (structured-merge-diff, FieldsV1), so that
//! its clients can read and write both.

mod apply;
mod collect;
mod compare;
mod entries;
mod legacy;
mod merge;
mod path;
mod remove;
mod set;
mod update;

pub(crate) use self::apply::{Conflict, Refused, Request, apply};
pub(crate) use self::entries::{Managed, Operation, Writer};
pub(crate) use self::path::{Element, Literal, text};
pub(crate) use self::update::{Scope, Views, update};

#[cfg(test)]
#[path = "../tests/managed.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
