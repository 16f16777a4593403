//! One condition, small: a process holds those of all objects, and most objects have the same ones.
//!
//! What was found (type, status, reason and so on) is held once for all that say the same; a condition
//! is a pointer to it and a time, to the second, as Kubernetes writes it. [`Written`] is its JSON, whose
//! descriptions users read.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ConditionStatus;
use crate::pool::Pool;
use crate::word::Word;

/// The longest message that is held together with others, in bytes: longer ones name what they are
/// about, and are hardly ever the same.
const LONGEST: usize = 64;
/// Stands for no time. Long before the first [`Timestamp`].
const NEVER: i64 = i64::MIN;

/// Of the whole process.
static FINDINGS: LazyLock<Pool<Finding>> = LazyLock::new(Pool::default);

/// What a condition says, but for since when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Finding {
    /// The kind of observation, like `Ready`.
    pub type_: Word,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// How bad it is when the status is not True: empty for an error, `Warning` or `Info`.
    pub severity: Word,
    /// Why, as one CamelCase word for machines.
    pub reason: Word,
    /// Why, as a sentence for people.
    pub message: Word,
}

/// One observation of an object's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    finding: Arc<Finding>,
    since: i64,
}

impl Condition {
    /// What was found, and since when it has been so. Only whole seconds count.
    #[must_use]
    pub fn new(finding: Finding, since: Option<Timestamp>) -> Self {
        let finding = if finding.message.len() <= LONGEST {
            FINDINGS.share(&finding, || Arc::new(finding.clone()))
        } else {
            Arc::new(finding)
        };
        let since = since.map_or(NEVER, Timestamp::as_second);
        Self { finding, since }
    }

    /// When the status last changed, to the second.
    #[must_use]
    pub fn last_transition_time(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.since).ok()
    }
}

impl Deref for Condition {
    type Target = Finding;

    fn deref(&self) -> &Finding {
        &self.finding
    }
}

/// One observation of an object's state.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Written {
    /// The kind of observation, like `Ready`.
    #[serde(rename = "type")]
    type_: Word,
    /// True, False or Unknown.
    #[schemars(with = "String")]
    status: ConditionStatus,
    /// How bad it is when the status is not True: empty for an error, `Warning` or `Info`.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    severity: Word,
    /// When the status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    last_transition_time: Option<Timestamp>,
    /// Why, as one CamelCase word for machines.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    reason: Word,
    /// Why, as a sentence for people.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    message: Word,
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Finding {
            type_,
            status,
            severity,
            reason,
            message,
        } = (**self).clone();
        Written {
            type_,
            status,
            severity,
            last_transition_time: self.last_transition_time(),
            reason,
            message,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written {
            type_,
            status,
            severity,
            last_transition_time,
            reason,
            message,
        } = Written::deserialize(deserializer)?;
        let finding = Finding {
            type_,
            status,
            severity,
            reason,
            message,
        };
        Ok(Self::new(finding, last_transition_time))
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}
