//! What can be wrong with an expression, before and while it is evaluated.
//!
//! A [`ParseError`] is the author's fault and is told at admission; it names the byte at which the
//! expression stops making sense. An [`EvalError`] comes of an expression and an event together; it
//! is two words wide and owns nothing, because filters meet events without some attribute all the time.

use std::fmt;

use super::value::Type;

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;
/// The deepest nesting of operators, calls and parentheses. Nothing that walks an expression
/// recurses deeper. A chain of AND, OR and XOR counts once, however long it is.
pub const MAX_DEPTH: usize = 96;
/// The most operators, calls, literals and attributes in one expression.
pub const MAX_TERMS: usize = 4096;
/// The longest pattern of LIKE, in characters.
pub const MAX_PATTERN: usize = 1024;

/// The kinds of errors that the specification (section 3.3) names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The expression cannot be read.
    Parse,
    /// Arithmetic without a result in 32 bits.
    Math,
    /// A value cannot be read as the type that is needed.
    Cast,
    /// The event has no such attribute.
    MissingAttribute,
    /// There is no function of that name with that many arguments.
    MissingFunction,
    /// A function does not take these arguments.
    FunctionEvaluation,
    /// Anything else.
    Generic,
}

/// An expression cannot be used, and where in it the reason is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (at byte {position})")]
pub struct ParseError {
    /// The byte at which the fault begins, from 0; the length of the expression for its end.
    pub position: usize,
    /// What is wrong there.
    pub problem: Problem,
}

impl ParseError {
    pub(super) fn new(position: usize, problem: Problem) -> Self {
        Self { position, problem }
    }
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Something else should stand there.
    Expected {
        /// What should.
        what: &'static str,
        /// What stands there; cut to a length that fits a message.
        found: Box<str>,
    },
    /// A character that begins nothing.
    UnknownCharacter(char),
    /// A string without its closing quote.
    UnclosedString(char),
    /// A whole number outside of 32 bits.
    IntegerRange,
    /// An attribute name of more bytes than any event's.
    NameLength,
    /// More than [`MAX_LENGTH`] bytes.
    Length,
    /// Deeper than [`MAX_DEPTH`].
    Depth,
    /// More than [`MAX_TERMS`] terms.
    Terms,
    /// A pattern of more than [`MAX_PATTERN`] characters.
    PatternLength,
    /// A call that no function answers.
    UnknownFunction {
        /// The name, in capitals.
        name: Box<str>,
        /// How many arguments were given.
        arguments: usize,
        /// Whether there is a function of that name with other numbers of arguments.
        known: bool,
    },
    /// The value is never a Boolean, which a filter's must be.
    NeverBoolean(Type),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected { what, found } => write!(f, "expected {what}, found {found}"),
            Self::UnknownCharacter(c) => {
                write!(f, "the character {c:?} has no meaning outside of a string")
            }
            Self::UnclosedString(quote) => write!(f, "the string has no closing {quote}"),
            Self::IntegerRange => {
                f.write_str("the integer is not between -2147483648 and 2147483647")
            }
            Self::NameLength => f.write_str("no attribute has a name of more than 255 bytes"),
            Self::Length => write!(f, "the expression has more than {MAX_LENGTH} bytes"),
            Self::Depth => write!(f, "the expression is nested deeper than {MAX_DEPTH} levels"),
            Self::Terms => write!(f, "the expression has more than {MAX_TERMS} terms"),
            Self::PatternLength => write!(f, "the pattern has more than {MAX_PATTERN} characters"),
            Self::UnknownFunction {
                name,
                arguments,
                known: true,
            } => write!(f, "the function {name} does not take {arguments} arguments"),
            Self::UnknownFunction { name, .. } => write!(f, "there is no function {name}"),
            Self::NeverBoolean(found) => write!(
                f,
                "the value is always of type {found}; a filter needs a Boolean"
            ),
        }
    }
}

/// Why the evaluation went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `/` or `%` by 0.
    DivisionByZero,
    /// The result does not fit into 32 bits.
    Overflow,
    /// The value of type `from` cannot be read as `to`.
    Cast {
        /// The type of the value.
        from: Type,
        /// The type that is needed.
        to: Type,
    },
    /// The event does not have the attribute.
    MissingAttribute,
    /// No function answers the call.
    MissingFunction,
    /// A number of characters is negative.
    NegativeLength,
    /// A position lies outside of the text.
    Position,
    /// A text would be longer than [`super::eval::MAX_TEXT`].
    TextLength,
    /// More than [`super::eval::MAX_WORK`] bytes would have to be looked at.
    Work,
    /// The value of the whole expression is no Boolean.
    NotBoolean(Type),
}

/// The evaluation of an expression met an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// The byte of the expression at which the operator, call or attribute stands.
    pub position: usize,
    /// What happened.
    pub fault: Fault,
}

impl EvalError {
    pub(super) fn new(position: usize, fault: Fault) -> Self {
        Self { position, fault }
    }

    /// The kind, as the specification names it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.fault {
            Fault::DivisionByZero | Fault::Overflow => ErrorKind::Math,
            Fault::Cast { .. } => ErrorKind::Cast,
            Fault::MissingAttribute => ErrorKind::MissingAttribute,
            Fault::MissingFunction => ErrorKind::MissingFunction,
            Fault::NegativeLength | Fault::Position | Fault::TextLength => {
                ErrorKind::FunctionEvaluation
            }
            Fault::Work | Fault::NotBoolean(_) => ErrorKind::Generic,
        }
    }
}

impl std::error::Error for EvalError {}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::DivisionByZero => f.write_str("division by zero"),
            Fault::Overflow => f.write_str("the result does not fit into 32 bits"),
            Fault::Cast { from, to } => {
                write!(f, "the value of type {from} cannot be read as {to}")
            }
            Fault::MissingAttribute => f.write_str("the event does not have the attribute"),
            Fault::MissingFunction => f.write_str("there is no such function"),
            Fault::NegativeLength => f.write_str("the number of characters is negative"),
            Fault::Position => f.write_str("the position lies outside of the text"),
            Fault::TextLength => f.write_str("the text would be too long"),
            Fault::Work => f.write_str("the evaluation takes too long on this event"),
            Fault::NotBoolean(found) => {
                write!(f, "the value is of type {found}; a filter needs a Boolean")
            }
        }?;
        write!(f, " (at byte {})", self.position)
    }
}
