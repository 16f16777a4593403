//! Why an event passes a filter, or does not: the filter as a tree in which every clause is marked.
//!
//! The tree is judged with what the filter is judged with, clause by clause, in the same order and
//! no further: a clause that the matcher does not look at says so. Law, with a test: the verdict of
//! the whole is the filter's.

use serde::Serialize;

use super::cesql::{Blame, Expression};
use super::data::{self, Subject};
use super::spec::Dialect;
use super::{Dialects, Filter, FilterError, Spec};

/// The most characters of a value that are shown.
const SHOWN: usize = 200;

/// What came of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The event passes.
    Pass,
    /// It does not.
    Fail,
    /// It does not, because the clause met an error.
    Error,
    /// The matcher does not get here.
    NotEvaluated,
}

/// One clause of a filter, and those in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// What it asks for, in one line.
    pub clause: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What the event has instead, or what went wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The byte of a CESQL expression because of which it does not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// The clauses in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<Self>,
}

/// Explains `filter.attributes` and `filters` of a Trigger on an event.
///
/// # Errors
///
/// As [`Filter::compile`].
pub fn explain(
    attributes: &[(String, String)],
    filters: &[Spec],
    subject: &Subject<'_>,
) -> Result<Clause, Vec<FilterError>> {
    Filter::compile(attributes, filters)?;
    let explainer = Explainer { subject };
    Ok(if !filters.is_empty() {
        let (verdict, clauses) = explainer.all(filters, true);
        Clause {
            clause: "filters".to_owned(),
            clauses,
            ..Clause::new(verdict)
        }
    } else if attributes.is_empty() {
        Clause {
            clause: "no filter: every event passes".to_owned(),
            ..Clause::new(Verdict::Pass)
        }
    } else {
        // The older form means the same as one element.
        let all = attributes.to_vec();
        explainer.texts("filter.attributes", "=", &all, true, |exact| Spec {
            exact,
            ..Spec::default()
        })
    })
}

impl Clause {
    fn new(verdict: Verdict) -> Self {
        Self {
            clause: String::new(),
            verdict,
            notes: Vec::new(),
            position: None,
            clauses: Vec::new(),
        }
    }
}

struct Explainer<'s, 'a> {
    subject: &'s Subject<'a>,
}

impl Explainer<'_, '_> {
    /// The elements up to the first that does not pass. Recurses as deep as the filter is nested,
    /// which its compilation has bounded.
    fn all(&self, filters: &[Spec], open: bool) -> (Verdict, Vec<Clause>) {
        self.list(filters, open, Verdict::Fail, |verdict| {
            verdict != Verdict::Pass
        })
    }

    fn list(
        &self,
        filters: &[Spec],
        open: bool,
        decided: Verdict,
        decides: impl Fn(Verdict) -> bool,
    ) -> (Verdict, Vec<Clause>) {
        let mut still_open = open;
        let mut clauses = Vec::with_capacity(filters.len());
        for filter in filters {
            let clause = self.element(filter, still_open);
            still_open &= !decides(clause.verdict);
            clauses.push(clause);
        }
        let verdict = match (open, still_open) {
            (false, _) => Verdict::NotEvaluated,
            (true, false) => decided,
            (true, true) if decided == Verdict::Fail => Verdict::Pass,
            (true, true) => Verdict::Fail,
        };
        (verdict, clauses)
    }

    fn element(&self, filter: &Spec, open: bool) -> Clause {
        let nested = |name: &str, (verdict, clauses)| Clause {
            clause: name.to_owned(),
            clauses,
            ..Clause::new(verdict)
        };
        match filter.dialect() {
            None => Clause::new(Verdict::NotEvaluated),
            Some(Dialect::Exact(wanted)) => self.texts("exact", "=", wanted, open, |exact| Spec {
                exact,
                ..Spec::default()
            }),
            Some(Dialect::Prefix(wanted)) => {
                self.texts("prefix", "begins with", wanted, open, |prefix| Spec {
                    prefix,
                    ..Spec::default()
                })
            }
            Some(Dialect::Suffix(wanted)) => {
                self.texts("suffix", "ends with", wanted, open, |suffix| Spec {
                    suffix,
                    ..Spec::default()
                })
            }
            Some(Dialect::All(filters)) => nested("all", self.all(filters, open)),
            Some(Dialect::Any(filters)) => {
                let passes = |verdict| verdict == Verdict::Pass;
                nested("any", self.list(filters, open, Verdict::Pass, passes))
            }
            Some(Dialect::Not(filter)) => {
                let clause = self.element(filter, open);
                let verdict = match clause.verdict {
                    Verdict::NotEvaluated => Verdict::NotEvaluated,
                    Verdict::Pass => Verdict::Fail,
                    Verdict::Fail | Verdict::Error => Verdict::Pass,
                };
                nested("not", (verdict, vec![clause]))
            }
            Some(Dialect::Cesql(text)) => self.cesql(text, open),
            Some(Dialect::Data(element)) => self.data(element, open),
        }
    }

    /// A dialect that compares attributes with texts; `spec` makes an element of one of them.
    fn texts(
        &self,
        name: &str,
        relation: &str,
        wanted: &[(String, String)],
        open: bool,
        spec: impl Fn(Vec<(String, String)>) -> Spec,
    ) -> Clause {
        let mut still_open = open;
        let mut clauses = Vec::with_capacity(wanted.len());
        for (attribute, text) in wanted {
            let asks = if text.is_empty() {
                format!("{attribute} is there and not empty")
            } else {
                format!("{attribute} {relation} {}", shown(text))
            };
            let mut clause = Clause {
                clause: asks,
                ..Clause::new(Verdict::NotEvaluated)
            };
            if still_open {
                let one = [spec(vec![(attribute.clone(), text.clone())])];
                let passes = Dialects::compile(&one, "")
                    .is_ok_and(|dialects| dialects.judge(self.subject).matched);
                if passes {
                    clause.verdict = Verdict::Pass;
                } else {
                    clause.verdict = Verdict::Fail;
                    clause.notes.push(self.actual(attribute));
                }
                still_open = passes;
            }
            clauses.push(clause);
        }
        let verdict = match (open, still_open) {
            (false, _) => Verdict::NotEvaluated,
            (true, true) => Verdict::Pass,
            (true, false) => Verdict::Fail,
        };
        match <[Clause; 1]>::try_from(clauses) {
            Ok([only]) => Clause {
                clause: format!("{name}: {}", only.clause),
                ..only
            },
            Err(clauses) => Clause {
                clause: name.to_owned(),
                clauses,
                ..Clause::new(verdict)
            },
        }
    }

    fn cesql(&self, text: &str, open: bool) -> Clause {
        let mut clause = Clause {
            clause: format!("cesql: {text}"),
            ..Clause::new(Verdict::NotEvaluated)
        };
        let Some(expression) = Expression::parse_filter(text).ok().filter(|_| open) else {
            return clause;
        };
        clause.verdict = Verdict::Pass;
        if let Some(blame) = expression.blame(self.subject.event()) {
            let Blame {
                position,
                error,
                attributes,
            } = blame;
            clause.position = Some(position);
            clause.verdict = Verdict::Fail;
            if let Some(error) = error {
                clause.verdict = Verdict::Error;
                clause.notes.push(error.to_string());
            }
            let actual = attributes.iter().map(|name| self.actual(name));
            clause.notes.extend(actual);
        }
        clause
    }

    fn data(&self, element: &serde_json::Value, open: bool) -> Clause {
        let mut clause = Clause {
            clause: format!("{}: {element}", data::DIALECT),
            ..Clause::new(Verdict::NotEvaluated)
        };
        let Ok(test) = data::compile(element) else {
            return clause;
        };
        clause.clause = format!("{}: {test}", data::DIALECT);
        if !open {
            return clause;
        }
        match test.passes(self.subject) {
            Ok(true) => clause.verdict = Verdict::Pass,
            Ok(false) => {
                clause.verdict = Verdict::Fail;
                clause.notes.push(match test.found(self.subject) {
                    Ok(Some(text)) => format!("{} is {}", test.path(), cut(text)),
                    _ => format!("the data has nothing at {}", test.path()),
                });
            }
            Err(error) => {
                clause.verdict = Verdict::Error;
                clause.notes.push(error.to_string());
            }
        }
        clause
    }

    /// What the event has.
    fn actual(&self, name: &str) -> String {
        match self.subject.event().attribute(name) {
            Some(attribute) => format!("{name} is {}", shown(attribute.text)),
            None => format!("the event has no attribute {name}"),
        }
    }
}

fn shown(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests;
