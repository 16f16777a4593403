//! CloudEvents SQL, version 1.0: expressions over the attributes of an event.
//!
//! [`Expression::parse`] reads an expression once, when its filter is written; then
//! [`Expression::test`] is asked for each event. Laws, each with a test:
//!
//! - reading never panics, and says at which byte a text stops making sense;
//! - evaluation is total: it neither panics nor fails to end, and it has a value in any case;
//! - depth, size and work are bounded ([`error`] and [`eval`] have the numbers);
//! - every case of the specification's compatibility kit holds.
//!
//! Read in this order: [`value`] and [`error`], [`ast`], [`lexer`], [`parser`], [`check`],
//! [`eval`], [`functions`], [`like`].

pub mod ast;
mod blame;
mod check;
pub mod error;
pub mod eval;
pub mod functions;
pub mod lexer;
pub mod like;
mod parser;
pub mod value;

use std::fmt;

pub use ast::Expr;
pub use blame::Blame;
pub use error::{ErrorKind, EvalError, Fault, ParseError, Problem};
pub use eval::Evaluation;
pub use value::{Type, Value};

use crate::event::Event;

/// An expression that has been read. Two are equal if they mean the same word by word: white space,
/// parentheses and the case of keywords do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    root: Expr,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// The first byte at which the text is no expression, and what was expected there.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        Ok(Self {
            root: parser::parse(source)?,
        })
    }

    /// Reads an expression that is to be a filter.
    ///
    /// # Errors
    ///
    /// As [`Expression::parse`]; besides, where a function does not exist, or the value is never a
    /// Boolean.
    pub fn parse_filter(source: &str) -> Result<Self, ParseError> {
        let expression = Self::parse(source)?;
        check::check(&expression.root)?;
        Ok(expression)
    }

    /// The tree.
    #[must_use]
    pub fn root(&self) -> &Expr {
        &self.root
    }

    /// The value of the expression on an event, and the first error.
    #[must_use]
    pub fn evaluate<'a>(&'a self, event: &'a Event) -> Evaluation<'a> {
        eval::evaluate(&self.root, event)
    }

    /// Whether the event passes the expression as a filter.
    ///
    /// # Errors
    ///
    /// The evaluation met an error, or the value is no Boolean; the event does not pass then.
    pub fn test(&self, event: &Event) -> Result<bool, EvalError> {
        let Evaluation { value, error } = self.evaluate(event);
        match (value, error) {
            (_, Some(error)) => Err(error),
            (Value::Boolean(flag), None) => Ok(flag),
            (value, None) => Err(EvalError::new(
                self.root.position(),
                Fault::NotBoolean(value.kind()),
            )),
        }
    }
}

/// The expression with all its parentheses.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

#[cfg(test)]
mod tests;
