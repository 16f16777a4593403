//! What the index makes of a filter, for people.

use std::fmt;

use super::super::Filter;
use super::condition::Condition;

/// How many alternatives a message names.
const SHOWN: usize = 4;

/// When an index looks at a filter. Displays as the end of a sentence that begins with "The filter
/// is evaluated".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pruning {
    /// For every event.
    Never,
    /// Only for events that pass one of the alternatives, each a text like CESQL.
    By(Vec<String>),
    /// For no event: nothing can ever pass it.
    Always,
}

impl Filter {
    /// When an index looks at the filter: what it can tell of an event without evaluating it.
    #[must_use]
    pub fn pruning(&self) -> Pruning {
        let condition = Condition::of(self);
        let branches = condition.branches();
        if branches.is_empty() {
            return Pruning::Always;
        }
        if branches.iter().any(Vec::is_empty) {
            return Pruning::Never;
        }
        let text = |branch: &Vec<_>| {
            let all: Vec<_> = branch.iter().map(ToString::to_string).collect();
            all.join(" AND ")
        };
        Pruning::By(branches.iter().map(text).collect())
    }
}

impl fmt::Display for Pruning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("for every event"),
            Self::Always => f.write_str("for no event: nothing can pass it"),
            Self::By(branches) => {
                f.write_str("for events with ")?;
                for (n, branch) in branches.iter().take(SHOWN).enumerate() {
                    let or = if n > 0 { " OR " } else { "" };
                    write!(f, "{or}{branch}")?;
                }
                match branches.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, " OR {more} more"),
                }
            }
        }
    }
}
