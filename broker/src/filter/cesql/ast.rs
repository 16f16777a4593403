//! The syntax tree of an expression, and its text.
//!
//! Trees come from the parser, which bounds their depth and size. Positions are kept for messages
//! only: two trees that differ in nothing else are equal.

use std::fmt::{self, Write};

use super::functions::Function;
use super::lexer;
use super::like::Pattern;
use super::value::{Type, Value};

/// The byte of the source at which a node's operator, name or literal begins. All are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct At(pub u32);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=` and `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// An operator between whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

/// An operator between truth values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logic {
    /// `AND`
    And,
    /// `OR`
    Or,
    /// `XOR`
    Xor,
}

/// What a call names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// A built-in function that takes this many arguments.
    Known(Function),
    /// A name, in capitals, that no function of this many arguments has.
    Unknown(Box<str>),
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A value that stands in the expression.
    Literal(Value<'static>),
    /// The value of an attribute. The name is in small letters.
    Attribute(Box<str>),
    /// `EXISTS name`
    Exists(Box<str>),
    /// `NOT x`
    Not(Box<Expr>),
    /// `-x`
    Negate(Box<Expr>),
    /// `x + y` and the like.
    Arithmetic(Arithmetic, Box<[Expr; 2]>),
    /// `x < y` and the like.
    Compare(Comparison, Box<[Expr; 2]>),
    /// `x AND y OR z ...`: one level of precedence, from left to right, each operator applied to
    /// what stands left of it.
    Logic(Box<Expr>, Box<[(Logic, Expr)]>),
    /// `x LIKE pattern`
    Like {
        /// What is looked at.
        operand: Box<Expr>,
        /// The pattern.
        pattern: Box<Pattern>,
        /// `NOT LIKE`
        negated: bool,
    },
    /// `x IN (a, b)`
    In {
        /// What is looked for.
        operand: Box<Expr>,
        /// Where; at least one.
        set: Box<[Expr]>,
        /// `NOT IN`
        negated: bool,
    },
    /// `NAME(a, b)`
    Call(Callee, Box<[Expr]>),
}

/// A node at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Where it stands.
    pub at: At,
}

impl Expr {
    /// The position, as errors give it.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at.0 as usize
    }

    /// The type of the value, where it does not depend on the event.
    #[must_use]
    pub fn static_type(&self) -> Option<Type> {
        match &self.node {
            Node::Literal(value) => Some(value.kind()),
            Node::Attribute(_) => None,
            Node::Negate(_) | Node::Arithmetic(..) => Some(Type::Integer),
            Node::Call(Callee::Known(function), _) => Some(function.result()),
            // A call that nothing answers has the value `false`.
            Node::Call(Callee::Unknown(_), _)
            | Node::Exists(_)
            | Node::Not(_)
            | Node::Compare(..)
            | Node::Logic(..)
            | Node::Like { .. }
            | Node::In { .. } => Some(Type::Boolean),
        }
    }

    /// Calls `look` with each node below this one.
    pub fn children<'e>(&'e self, mut look: impl FnMut(&'e Self)) {
        match &self.node {
            Node::Literal(_) | Node::Attribute(_) | Node::Exists(_) => {}
            Node::Not(operand) | Node::Negate(operand) | Node::Like { operand, .. } => {
                look(operand);
            }
            Node::Arithmetic(_, sides) | Node::Compare(_, sides) => sides.iter().for_each(look),
            Node::Logic(first, rest) => {
                look(first);
                rest.iter().for_each(|(_, operand)| look(operand));
            }
            Node::In { operand, set, .. } => {
                look(operand);
                set.iter().for_each(look);
            }
            Node::Call(_, arguments) => arguments.iter().for_each(look),
        }
    }
}

impl fmt::Display for Expr {
    /// Writes the expression so that it reads back as the same tree. Everything that has operators
    /// gets parentheses, with which a very deep tree may be deeper than the parser takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Literal(Value::String(text)) => write_string(f, text),
            Node::Literal(Value::Integer(number)) => write!(f, "{number}"),
            Node::Literal(Value::Boolean(flag)) => write!(f, "{flag}"),
            Node::Attribute(name) => f.write_str(name),
            Node::Exists(name) => write!(f, "(EXISTS {name})"),
            Node::Not(operand) => write!(f, "(NOT {operand})"),
            // Without parentheses, `-` and a number would read as a negative literal.
            Node::Negate(operand) => write!(f, "(-({operand}))"),
            Node::Arithmetic(op, sides) => {
                let [left, right] = &**sides;
                write!(f, "({left} {op} {right})")
            }
            Node::Compare(op, sides) => {
                let [left, right] = &**sides;
                write!(f, "({left} {op} {right})")
            }
            Node::Logic(first, rest) => {
                write!(f, "({first}")?;
                for (op, operand) in rest {
                    write!(f, " {op} {operand}")?;
                }
                f.write_char(')')
            }
            Node::Like {
                operand,
                pattern,
                negated,
            } => {
                let not = if *negated { "NOT " } else { "" };
                write!(f, "({operand} {not}LIKE ")?;
                write_string(f, pattern.as_str())?;
                f.write_char(')')
            }
            Node::In {
                operand,
                set,
                negated,
            } => {
                let not = if *negated { "NOT " } else { "" };
                write!(f, "({operand} {not}IN ")?;
                write_list(f, set)?;
                f.write_char(')')
            }
            Node::Call(callee, arguments) => {
                match callee {
                    Callee::Known(function) => f.write_str(function.name())?,
                    Callee::Unknown(name) => f.write_str(name)?,
                }
                write_list(f, arguments)
            }
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, list: &[Expr]) -> fmt::Result {
    f.write_char('(')?;
    for (index, element) in list.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{element}")?;
    }
    f.write_char(')')
}

/// Writes a string between those quotes with which it reads back as it is. What the parser read
/// does so with the quotes that it had.
fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let single = format!("'{}'", text.replace('\'', "\\'"));
    let same =
        lexer::string(&single, '\'').is_some_and(|(read, len)| read == text && len == single.len());
    if same {
        f.write_str(&single)
    } else {
        write!(f, "\"{}\"", text.replace('"', "\\\""))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        })
    }
}

impl fmt::Display for Logic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::And => "AND",
            Self::Or => "OR",
            Self::Xor => "XOR",
        })
    }
}
