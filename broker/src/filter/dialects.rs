//! The elements of `filters`: exact, prefix, suffix, all, any, not, cesql and heddle.dev/data, nested
//! as one likes.
//!
//! Laws, each with a test:
//!
//! - Values are compared by the canonical text of the event's attribute, whatever its type.
//! - An attribute that the event does not have matches nothing.
//! - A CESQL element that meets an error, or whose value is no Boolean, does not pass, nor does one
//!   about data that cannot be looked at. Elements around it see just that, as in Knative: `not`
//!   around it passes. [`Outcome::error`] tells.
//! - What cannot be built is refused as a whole, with the path of the element. Nothing is left out,
//!   because a filter with a part left out lets more through than was asked for.

use std::fmt;

use super::AttributesFilter;
use super::cesql::{EvalError, Expression, ParseError};
use super::data::{self, DataError, DataFault, DataTest, Subject};
use super::spec::{Dialect, Spec, Texts};
use crate::event::Event;
use crate::event::attributes::check_name;

/// The deepest nesting of `all`, `any` and `not`.
pub const MAX_DEPTH: usize = 32;
/// The most elements of one filter, nested ones included.
pub const MAX_ELEMENTS: usize = 4096;
/// The most errors that are reported of one filter.
const MAX_ERRORS: usize = 100;

/// A filter cannot be built. The fault of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct FilterError {
    /// Where, like `spec.filters[1].all[0].cesql`.
    pub path: String,
    /// What is wrong there.
    pub fault: FilterFault,
}

/// What is wrong with an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterFault {
    /// No dialect is set.
    Empty,
    /// No event has an attribute of that name.
    Name,
    /// Every text begins and ends with an empty one.
    EmptyText,
    /// The expression cannot be used.
    Expression(ParseError),
    /// The element about data cannot be used.
    Data(DataFault),
    /// Nested deeper than [`MAX_DEPTH`].
    Depth,
    /// More than [`MAX_ELEMENTS`] elements.
    Elements,
}

impl fmt::Display for FilterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "expected one of the dialects exact, prefix, suffix, all, any, not, cesql, \
                 heddle.dev/data",
            ),
            Self::Name => f.write_str(
                "no event has an attribute of that name; names are lower case letters and digits",
            ),
            Self::EmptyText => f.write_str(
                "the text must not be empty; to ask only that the attribute be there, write \
                 exact with an empty text",
            ),
            Self::Expression(error) => error.fmt(f),
            Self::Data(fault) => fault.fmt(f),
            Self::Depth => write!(f, "filters are nested deeper than {MAX_DEPTH} levels"),
            Self::Elements => write!(f, "there are more than {MAX_ELEMENTS} elements"),
        }
    }
}

/// What an element met that it could not be evaluated with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JudgeError {
    /// An expression met an error.
    #[error(transparent)]
    Expression(#[from] EvalError),
    /// Data cannot be looked at.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Whether an event passes, and what went wrong on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it passes.
    pub matched: bool,
    /// The first error that an element met. That element did not pass; others may have decided.
    pub error: Option<JudgeError>,
}

/// The compiled elements of `filters`, all of which must pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialects {
    elements: Box<[Element]>,
}

/// One compiled element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// Each attribute has the text.
    Exact(AttributesFilter),
    /// Each attribute begins with the text.
    Prefix(Box<[(Box<str>, Box<str>)]>),
    /// Each attribute ends with the text.
    Suffix(Box<[(Box<str>, Box<str>)]>),
    /// Every element passes.
    All(Box<[Self]>),
    /// At least one element passes.
    Any(Box<[Self]>),
    /// The element does not pass.
    Not(Box<Self>),
    /// The expression is true.
    Cesql(Box<Expression>),
    /// The data fits.
    Data(Box<DataTest>),
}

impl Dialects {
    /// Compiles elements, whose list stands at `path`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at most 100 things. Never empty.
    pub fn compile(elements: &[Spec], path: &str) -> Result<Self, Vec<FilterError>> {
        let mut compiler = Compiler::default();
        let elements = compiler.list(elements, path, 0);
        if compiler.errors.is_empty() {
            Ok(Self { elements })
        } else {
            Err(compiler.errors)
        }
    }

    /// The elements, all of which must pass.
    #[must_use]
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// Whether the event passes.
    #[must_use]
    pub fn judge(&self, subject: &Subject<'_>) -> Outcome {
        let mut error = None;
        let matched = self
            .elements
            .iter()
            .all(|element| element.passes(subject, &mut error));
        Outcome { matched, error }
    }
}

impl Element {
    /// Whether the event passes; `error` keeps the first error. Recurses as deep as the filter is
    /// nested, which is bounded.
    fn passes(&self, subject: &Subject<'_>, error: &mut Option<JudgeError>) -> bool {
        let event = subject.event();
        let result = match self {
            Self::Exact(filter) => return filter.matches(event),
            Self::Prefix(wanted) => {
                return each(wanted, event, |text, head| text.starts_with(head));
            }
            Self::Suffix(wanted) => return each(wanted, event, |text, tail| text.ends_with(tail)),
            Self::All(elements) => return elements.iter().all(|e| e.passes(subject, error)),
            Self::Any(elements) => return elements.iter().any(|e| e.passes(subject, error)),
            Self::Not(element) => return !element.passes(subject, error),
            Self::Cesql(expression) => expression.test(event).map_err(JudgeError::from),
            Self::Data(test) => test.passes(subject).map_err(JudgeError::from),
        };
        result.unwrap_or_else(|met| {
            error.get_or_insert(met);
            false
        })
    }
}

fn each(
    wanted: &[(Box<str>, Box<str>)],
    event: &Event,
    compare: impl Fn(&str, &str) -> bool,
) -> bool {
    wanted.iter().all(|(name, wanted)| {
        event
            .attribute(name)
            .is_some_and(|attribute| compare(attribute.text, wanted))
    })
}

/// Compiles, and collects what is wrong. What it returns counts only if nothing is.
#[derive(Default)]
struct Compiler {
    errors: Vec<FilterError>,
    elements: usize,
}

impl Compiler {
    fn fail(&mut self, path: &str, fault: FilterFault) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FilterError {
                path: path.to_owned(),
                fault,
            });
        }
    }

    fn list(&mut self, specs: &[Spec], path: &str, depth: usize) -> Box<[Element]> {
        let mut elements = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            if self.elements == MAX_ELEMENTS {
                // One report is enough, however many lists are left.
                self.elements += 1;
                self.fail(&format!("{path}[{index}]"), FilterFault::Elements);
            }
            if self.elements > MAX_ELEMENTS {
                break;
            }
            elements.extend(self.element(spec, &format!("{path}[{index}]"), depth));
        }
        elements.into()
    }

    fn element(&mut self, spec: &Spec, path: &str, depth: usize) -> Option<Element> {
        if depth == MAX_DEPTH {
            self.fail(path, FilterFault::Depth);
            return None;
        }
        self.elements += 1;
        let at = |field: &str| format!("{path}.{field}");
        Some(match spec.dialect() {
            Some(Dialect::Exact(wanted)) => {
                let wanted = self.texts(wanted, &at("exact"), true);
                Element::Exact(AttributesFilter::new(wanted))
            }
            Some(Dialect::Prefix(wanted)) => {
                Element::Prefix(self.texts(wanted, &at("prefix"), false))
            }
            Some(Dialect::Suffix(wanted)) => {
                Element::Suffix(self.texts(wanted, &at("suffix"), false))
            }
            Some(Dialect::All(all)) => Element::All(self.list(all, &at("all"), depth + 1)),
            Some(Dialect::Any(any)) => Element::Any(self.list(any, &at("any"), depth + 1)),
            Some(Dialect::Not(not)) => {
                Element::Not(Box::new(self.element(not, &at("not"), depth + 1)?))
            }
            Some(Dialect::Cesql(text)) => match Expression::parse_filter(text) {
                Ok(expression) => Element::Cesql(Box::new(expression)),
                Err(error) => {
                    self.fail(&at("cesql"), FilterFault::Expression(error));
                    return None;
                }
            },
            Some(Dialect::Data(element)) => match data::compile(element) {
                Ok(test) => Element::Data(Box::new(test)),
                Err((below, fault)) => {
                    let at = format!("{path}[{}]{below}", data::DIALECT);
                    self.fail(&at, FilterFault::Data(fault));
                    return None;
                }
            },
            None => {
                self.fail(path, FilterFault::Empty);
                return None;
            }
        })
    }

    fn texts(
        &mut self,
        wanted: &Texts,
        path: &str,
        may_be_empty: bool,
    ) -> Box<[(Box<str>, Box<str>)]> {
        for (name, text) in wanted {
            let at = format!("{path}.{name}");
            if check_name(name).is_err() {
                self.fail(&at, FilterFault::Name);
            } else if text.is_empty() && !may_be_empty {
                self.fail(&at, FilterFault::EmptyText);
            }
        }
        wanted
            .iter()
            .map(|(name, text)| (name.as_str().into(), text.as_str().into()))
            .collect()
    }
}

#[cfg(test)]
mod tests;
