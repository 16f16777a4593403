//! Server-side apply: what a writer wants becomes part of an object, and what it no longer wants
//! goes.

use serde_json::{Value, json};

use super::collect::{fields_of, mistakes};
use super::entries::{Entry, Managed, Operation, Writer};
use super::legacy;
use super::merge::merge;
use super::path::Element;
use super::remove::remove;
use super::set::Set;
use super::update::{Scope, Views, unowned, update};
use crate::api::types::Type;

/// The name that owns what an object had before anything was applied to it.
const BEFORE: &str = "before-first-apply";

/// One apply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The kind.
    pub(crate) views: Views<'a>,
    /// Who applies, in which version.
    pub(crate) by: &'a Writer,
    /// What the request can write.
    pub(crate) scope: Scope,
    /// Whether to take over what others own with other values.
    pub(crate) force: bool,
    /// The time.
    pub(crate) now: &'a str,
}

/// Somebody else owns a field with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The owner.
    pub(crate) owner: Writer,
    /// The field.
    pub(crate) path: Vec<Element>,
}

/// Why a configuration is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It cannot be merged: each path, and what is wrong there.
    Mistakes(Vec<(String, String)>),
    /// Others own what it would change.
    Conflicts(Vec<Conflict>),
}

/// Applies `config` to `live` (`None` to make a new object). Gives the object, and who owns what.
pub(crate) fn apply(
    request: &Request<'_>,
    live: Option<&Value>,
    config: &Value,
    mut managed: Managed,
) -> Result<(Value, Managed), Refused> {
    let ty = request.views.requested();
    let mistakes = mistakes(ty, config);
    if !mistakes.is_empty() {
        return Err(Refused::Mistakes(mistakes));
    }
    if let Some(live) = live.filter(|_| managed.0.is_empty()) {
        let before = Writer {
            name: BEFORE.to_owned(),
            operation: Operation::Update,
            ..request.by.clone()
        };
        let Request {
            views, scope, now, ..
        } = *request;
        managed = update(managed, views, None, live, &before, scope, now);
    }
    managed.fit(request.views);
    let nothing = json!({});
    let live = live.unwrap_or(&nothing);
    let by_kubectl = request.by.name == legacy::KUBECTL;
    let mut outcome = attempt(request, ty, live, config, managed.clone());
    if let Err(Refused::Conflicts(conflicts)) = &mut outcome
        && by_kubectl
        && let Some(own) = legacy::applied(ty, live, &request.by.api_version)
    {
        conflicts.retain(|conflict| !own.contains(&conflict.path));
        if conflicts.is_empty() {
            let request = Request {
                force: true,
                ..*request
            };
            outcome = attempt(&request, ty, live, config, managed);
        }
    }
    let (mut object, managed) = outcome?;
    if by_kubectl {
        legacy::renew(&mut object, config);
    }
    Ok((object, managed))
}

fn attempt(
    request: &Request<'_>,
    ty: Type<'_>,
    live: &Value,
    config: &Value,
    mut managed: Managed,
) -> Result<(Value, Managed), Refused> {
    let last = managed.of(request.by).cloned();
    let mut fields = fields_of(ty, config);
    fields.retain_top(|field| request.scope.has(field));
    managed.drop_writer(request.by);
    let merged = merge(ty, live, config);
    let object = match &last {
        Some(last) => prune(request, &merged, last, &fields, &managed).unwrap_or(merged),
        None => merged,
    };
    let mut conflicts = Vec::new();
    managed.0.retain_mut(|entry| {
        let version = &entry.writer.api_version;
        let changes = request.views.changes(version, live, &object, request.scope);
        if let Some(changes) = changes {
            let taken = entry.fields.intersection(&changes.written());
            conflicts.extend(taken.paths().into_iter().map(|path| Conflict {
                owner: entry.writer.clone(),
                path,
            }));
            entry.fields.subtract(&taken);
            entry.fields.subtract(&changes.removed);
        }
        !entry.fields.is_empty()
    });
    if !request.force && !conflicts.is_empty() {
        conflicts.sort_by(|a, b| (&a.owner.name, &a.path).cmp(&(&b.owner.name, &b.path)));
        return Err(Refused::Conflicts(conflicts));
    }
    fields.subtract(&unowned());
    // Who applies what is there already has changed nothing, and has no time of a change.
    let time = if object == *live {
        last.and_then(|last| last.time)
    } else {
        Some(request.now.to_owned())
    };
    managed.set(Entry {
        writer: request.by.clone(),
        time,
        fields,
    });
    Ok((object, managed))
}

/// Takes out what the writer applied before and does not now, unless somebody else owns it.
/// `None` where the version in which it applied before is gone: what belongs to it is unknown.
fn prune(
    request: &Request<'_>,
    merged: &Value,
    last: &Entry,
    fields: &Set,
    others: &Managed,
) -> Option<Value> {
    let views = request.views;
    let then = last.writer.api_version.as_str();
    let ty = views.ty(then)?;
    let merged = views.at(then, merged)?;
    let wanted = last.fields.with_parents(ty);
    let mut left = remove(ty, &merged, &wanted);
    // What went with a field above it and is owned, in whatever version, is to stay.
    for (version, owned) in owned(&request.by.api_version, fields, others, then) {
        let (Some(ty), Some(all), Some(kept)) = (
            views.ty(&version),
            views.at(&version, &merged),
            views.at(&version, &left),
        ) else {
            continue;
        };
        let mut gone = fields_of(ty, &all).with_parents(ty);
        gone.subtract(&fields_of(ty, &kept).with_parents(ty));
        gone.subtract(&owned.with_parents(ty));
        left = views.at(then, &remove(ty, &all, &gone))?;
    }
    // Only what the writer itself had applied may go, not what no one owns.
    let mut gone = fields_of(ty, &merged).with_parents(ty);
    gone.subtract(&fields_of(ty, &left).with_parents(ty));
    let gone = gone.intersection(&wanted);
    views.at(&views.version(), &remove(ty, &merged, &gone))
}

/// What is owned in each version, by the applier now and by all others; the version in which the
/// applier applied before comes first.
fn owned(now: &str, fields: &Set, others: &Managed, then: &str) -> Vec<(String, Set)> {
    let mut owned = vec![(then.to_owned(), Set::default())];
    let entries = others.0.iter();
    let all = entries.map(|entry| (entry.writer.api_version.as_str(), &entry.fields));
    for (version, fields) in all.chain([(now, fields)]) {
        match owned.iter_mut().find(|(found, _)| found == version) {
            Some((_, set)) => set.unite(fields),
            None => owned.push((version.to_owned(), fields.clone())),
        }
    }
    owned
}
