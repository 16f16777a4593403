//! The dialect `heddle.dev/data`: what stands at a place in an event's data.
//!
//! A [`DataTest`] has a path and one condition. Data is read only where a filter asks for it, once
//! for each event that is judged, however many filters ask ([`Subject`]); it is never changed.
//!
//! # What holds
//!
//! * Data has to be JSON by its media type (`*/json`, `*+json`; in the JSON event format also where
//!   none is given), of at most [`MAX_SIZE`] bytes and [`MAX_DEPTH`] levels. Otherwise the element
//!   does not pass, and [`DataError`] says why.
//! * Where nothing stands at the path, only `exists: false` passes. `null` is something.
//! * A condition on an array is one on its elements: `exact`, `prefix`, `suffix` and `numeric` ask
//!   for one element that fits, `anythingBut` that none is of those. At most [`MAX_ELEMENTS`]
//!   elements are looked at.
//! * Numbers are compared by their value and with all of their digits. A number is never equal to
//!   a text.
//! * Of several members of the same name the last one counts.

mod compile;
mod document;
mod number;
pub mod path;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::fmt;

use document::{Node, View};
use path::Path;

pub use compile::{DataFault, compile};

use crate::event::Event;

/// The name of the dialect.
pub const DIALECT: &str = "heddle.dev/data";
/// The most bytes of data that are read.
pub const MAX_SIZE: usize = 1 << 20;
/// The deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 64;
/// The most elements of an array that one condition looks at.
pub const MAX_ELEMENTS: usize = 4096;

/// Why data could not be looked at. The element did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DataError {
    /// The event has none.
    #[error("the event has no data")]
    NoData,
    /// Its media type is another.
    #[error("the data is not JSON by its datacontenttype")]
    NotJson,
    /// It says that it is JSON, and is not.
    #[error("the data is not valid JSON, although its datacontenttype says so")]
    Syntax,
    /// More than [`MAX_SIZE`].
    #[error("the data has more than {} bytes, and is not looked at", MAX_SIZE)]
    Size,
    /// More than [`MAX_DEPTH`].
    #[error(
        "the data is nested deeper than {} levels, and is not looked at",
        MAX_DEPTH
    )]
    Depth,
    /// More than [`MAX_ELEMENTS`].
    #[error(
        "the array has more than {} elements, and is not looked at",
        MAX_ELEMENTS
    )]
    Elements,
}

/// An event that filters judge, with its data once one of them has asked for it.
#[derive(Debug)]
pub struct Subject<'a> {
    event: &'a Event,
    data: OnceCell<Result<Node<'a>, DataError>>,
}

impl<'a> Subject<'a> {
    /// The event, with nothing read.
    #[must_use]
    pub fn new(event: &'a Event) -> Self {
        Self {
            event,
            data: OnceCell::new(),
        }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &'a Event {
        self.event
    }

    fn data(&self) -> Result<&Node<'a>, DataError> {
        let data = self.data.get_or_init(|| document::read(self.event));
        data.as_ref().map_err(|error| *error)
    }
}

/// A value without parts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scalar {
    Text(Box<str>),
    /// As JSON writes it.
    Number(Box<str>),
    Boolean(bool),
    Null,
}

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    number: Box<str>,
    inclusive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Exact(Box<[Scalar]>),
    AnythingBut(Box<[Scalar]>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Numeric {
        low: Option<Bound>,
        high: Option<Bound>,
    },
    Exists(bool),
}

/// One compiled element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataTest {
    path: Path,
    condition: Condition,
}

impl DataTest {
    /// Whether the event's data fits.
    ///
    /// # Errors
    ///
    /// When the data cannot be looked at.
    pub fn passes(&self, subject: &Subject<'_>) -> Result<bool, DataError> {
        let Some(node) = subject.data()?.at(&self.path)? else {
            return Ok(self.condition == Condition::Exists(false));
        };
        let view = node.view();
        match &self.condition {
            Condition::Exists(wanted) => Ok(*wanted),
            Condition::AnythingBut(others) => Ok(!some(&view, |view| is_one_of(view, others))?),
            Condition::Exact(wanted) => some(&view, |view| is_one_of(view, wanted)),
            Condition::Prefix(head) => some(&view, |view| text(view, |t| t.starts_with(&**head))),
            Condition::Suffix(tail) => some(&view, |view| text(view, |t| t.ends_with(&**tail))),
            Condition::Numeric { low, high } => some(&view, |view| match view {
                View::Number(number) => {
                    fits(number, low.as_ref(), Ordering::Greater)
                        && fits(number, high.as_ref(), Ordering::Less)
                }
                _ => false,
            }),
        }
    }

    /// Where it looks.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of what stands there, as it came; `None` where there is nothing.
    ///
    /// # Errors
    ///
    /// When the data cannot be looked at.
    pub fn found<'a>(&self, subject: &Subject<'a>) -> Result<Option<&'a str>, DataError> {
        let node = subject.data()?.at(&self.path)?;
        Ok(node.map(Node::text))
    }
}

/// Whether the value, or one element of the array that it is, is as `test` says.
fn some(view: &View<'_, '_>, test: impl Fn(&View<'_, '_>) -> bool) -> Result<bool, DataError> {
    let View::Array(elements) = view else {
        return Ok(test(view));
    };
    if elements.len() > MAX_ELEMENTS {
        return Err(DataError::Elements);
    }
    Ok(elements.iter().any(|element| test(&element.view())))
}

fn text(view: &View<'_, '_>, test: impl Fn(&str) -> bool) -> bool {
    matches!(view, View::Text(text) if test(text))
}

fn is_one_of(view: &View<'_, '_>, scalars: &[Scalar]) -> bool {
    scalars.iter().any(|scalar| match (scalar, view) {
        (Scalar::Text(wanted), View::Text(text)) => **wanted == **text,
        (Scalar::Number(wanted), View::Number(number)) => {
            number::compare(wanted, number) == Ordering::Equal
        }
        (Scalar::Boolean(wanted), View::Boolean(flag)) => wanted == flag,
        (Scalar::Null, View::Null) => true,
        _ => false,
    })
}

/// Whether the number lies on the side of the bound that `side` says.
fn fits(number: &str, bound: Option<&Bound>, side: Ordering) -> bool {
    bound.is_none_or(|bound| match number::compare(number, &bound.number) {
        Ordering::Equal => bound.inclusive,
        order => order == side,
    })
}

/// The element as a user writes it, in one line.
impl fmt::Display for DataTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.path)?;
        match &self.condition {
            Condition::Exact(wanted) => write!(f, "exact {}", List(wanted)),
            Condition::AnythingBut(others) => write!(f, "anythingBut {}", List(others)),
            Condition::Prefix(head) => write!(f, "prefix {head:?}"),
            Condition::Suffix(tail) => write!(f, "suffix {tail:?}"),
            Condition::Exists(wanted) => write!(f, "exists {wanted}"),
            Condition::Numeric { low, high } => {
                f.write_str("numeric")?;
                for (bound, sign) in [(low, '>'), (high, '<')] {
                    if let Some(bound) = bound {
                        let or_equal = if bound.inclusive { "=" } else { "" };
                        write!(f, " {sign}{or_equal} {}", bound.number)?;
                    }
                }
                Ok(())
            }
        }
    }
}

struct List<'a>(&'a [Scalar]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scalar) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" or ")?;
            }
            match scalar {
                Scalar::Text(text) => write!(f, "{text:?}")?,
                Scalar::Number(number) => f.write_str(number)?,
                Scalar::Boolean(flag) => write!(f, "{flag}")?,
                Scalar::Null => f.write_str("null")?,
            }
        }
        Ok(())
    }
}
