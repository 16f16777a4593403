//! Conditions: what a controller has found out about an object, and whether that adds up to Ready.
//!
//! A [`ConditionSet`] names the condition that sums an object up (`Ready` for what lives on,
//! `Succeeded` for what ends) and the conditions that it depends on. [`ConditionSet::manage`]
//! edits a status's list of conditions. Its invariants, which are Knative's:
//!
//! - the summary is False as soon as one dependent is False, with that dependent's reason and
//!   message; Unknown while none is False but one is Unknown or missing; else True;
//! - conditions stand sorted by type, each type once;
//! - `lastTransitionTime` moves only when `status` does, so that writing what is already known
//!   changes nothing and costs no update;
//! - a condition that the summary does not depend on is informational (`severity: Info`), the
//!   others carry no severity, which means an error.
//!
//! Time is a parameter, kept to the second as Kubernetes does.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::word::Word;

mod condition;

pub use condition::{Condition, Finding};

/// The summary condition of an object that lives on.
pub const READY: &str = "Ready";
/// The summary condition of an object that ends.
pub const SUCCEEDED: &str = "Succeeded";
/// The severity of a condition that the summary does not depend on.
pub const SEVERITY_INFO: &str = "Info";

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold, and will not without a change somewhere.
    False,
    /// It is not known yet.
    #[default]
    Unknown,
}

impl ConditionStatus {
    /// The word that stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl std::fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Finds a condition by its type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of this type is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// The conditions that a kind reports, and the one that sums them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionSet {
    happy: &'static str,
    dependents: &'static [&'static str],
}

impl ConditionSet {
    /// A set that [`READY`] sums up.
    pub const fn living(dependents: &'static [&'static str]) -> Self {
        Self {
            happy: READY,
            dependents,
        }
    }

    /// A set that [`SUCCEEDED`] sums up.
    pub const fn batch(dependents: &'static [&'static str]) -> Self {
        Self {
            happy: SUCCEEDED,
            dependents,
        }
    }

    /// The type of the summary condition.
    pub const fn happy(&self) -> &'static str {
        self.happy
    }

    /// The types that the summary depends on.
    pub const fn dependents(&self) -> &'static [&'static str] {
        self.dependents
    }

    /// Edits `conditions` by this set's rules; changes are stamped with `now`.
    pub fn manage<'a>(
        &self,
        conditions: &'a mut Vec<Condition>,
        now: Timestamp,
    ) -> ConditionManager<'a> {
        // A timestamp always has a second that is itself a timestamp.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        ConditionManager {
            set: *self,
            conditions,
            now,
        }
    }
}

/// Marks conditions and keeps their summary right. Made by [`ConditionSet::manage`].
#[derive(Debug)]
pub struct ConditionManager<'a> {
    set: ConditionSet,
    conditions: &'a mut Vec<Condition>,
    now: Timestamp,
}

impl ConditionManager<'_> {
    /// Adds what is missing as Unknown, or as True where the summary already says True (a new
    /// condition type must not make running objects unready).
    pub fn initialize(&mut self) {
        if self.get(self.set.happy).is_none() {
            self.set(self.set.happy, ConditionStatus::Unknown, "", "");
        }
        let status = if self.is_happy() {
            ConditionStatus::True
        } else {
            ConditionStatus::Unknown
        };
        for type_ in self.set.dependents {
            if self.get(type_).is_none() {
                self.set(type_, status, "", "");
            }
        }
    }

    /// The condition of this type.
    pub fn get(&self, type_: &str) -> Option<&Condition> {
        find(self.conditions, type_)
    }

    /// Whether the summary is True.
    pub fn is_happy(&self) -> bool {
        is_true(self.conditions, self.set.happy)
    }

    /// It holds.
    pub fn mark_true(&mut self, type_: &str) {
        self.mark_true_with_reason(type_, "", "");
    }

    /// It holds, and there is something to say about it.
    pub fn mark_true_with_reason(&mut self, type_: &str, reason: &str, message: &str) {
        self.set(type_, ConditionStatus::True, reason, message);
        match self.unhappy_dependent() {
            Some((status, reason, message)) => self.set(self.set.happy, status, &reason, &message),
            None if type_ != self.set.happy => {
                self.set(self.set.happy, ConditionStatus::True, "", "");
            }
            None => {}
        }
    }

    /// It does not hold. Where the summary depends on it, that is False for the same reason.
    pub fn mark_false(&mut self, type_: &str, reason: &str, message: &str) {
        self.set(type_, ConditionStatus::False, reason, message);
        if self.depends_on(type_) {
            self.set(self.set.happy, ConditionStatus::False, reason, message);
        }
    }

    /// It is not known. A dependent that is False outweighs one that is unknown.
    pub fn mark_unknown(&mut self, type_: &str, reason: &str, message: &str) {
        self.set(type_, ConditionStatus::Unknown, reason, message);
        if !self.depends_on(type_) {
            return;
        }
        match self.unhappy_dependent() {
            Some((ConditionStatus::False, reason, message)) => {
                self.set(self.set.happy, ConditionStatus::False, &reason, &message);
            }
            _ => self.set(self.set.happy, ConditionStatus::Unknown, reason, message),
        }
    }

    /// Removes an informational condition. One that the summary depends on cannot be removed; the
    /// answer says whether this type could.
    pub fn clear(&mut self, type_: &str) -> bool {
        if type_ == self.set.happy || self.depends_on(type_) {
            return false;
        }
        self.conditions.retain(|condition| condition.type_ != type_);
        true
    }

    fn depends_on(&self, type_: &str) -> bool {
        self.set.dependents.contains(&type_)
    }

    /// The worst dependent: False before Unknown before missing, the latest change first.
    fn unhappy_dependent(&self) -> Option<(ConditionStatus, Word, Word)> {
        let latest = |status: ConditionStatus| {
            self.conditions
                .iter()
                .filter(|condition| self.depends_on(&condition.type_) && condition.status == status)
                // The first of equals, as conditions are sorted by type.
                .reduce(|best, next| {
                    if next.last_transition_time() > best.last_transition_time() {
                        next
                    } else {
                        best
                    }
                })
        };
        if let Some(condition) =
            latest(ConditionStatus::False).or_else(|| latest(ConditionStatus::Unknown))
        {
            return Some((
                condition.status,
                condition.reason.clone(),
                condition.message.clone(),
            ));
        }
        let missing = self
            .set
            .dependents
            .iter()
            .any(|type_| self.get(type_).is_none());
        missing.then(|| (ConditionStatus::Unknown, Word::default(), Word::default()))
    }

    fn set(&mut self, type_: &str, status: ConditionStatus, reason: &str, message: &str) {
        let terminal = type_ == self.set.happy || self.depends_on(type_);
        let since = self
            .get(type_)
            .filter(|condition| condition.status == status)
            .and_then(Condition::last_transition_time);
        self.conditions.retain(|condition| condition.type_ != type_);
        let finding = Finding {
            type_: type_.into(),
            status,
            severity: if terminal {
                Word::default()
            } else {
                SEVERITY_INFO.into()
            },
            reason: reason.into(),
            message: message.into(),
        };
        let since = since.unwrap_or(self.now);
        self.conditions.push(Condition::new(finding, Some(since)));
        self.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    }
}

#[cfg(test)]
mod tests;
