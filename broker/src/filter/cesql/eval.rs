//! Evaluation (specification, sections 3.2 to 3.7), in the mode that stops at the first error.
//!
//! Every expression has a value, whatever happens. An operator or function whose operand met an
//! error has the zero value of its own type, and passes the error on. One that meets an error itself
//! has the value that the specification names, or that zero value. AND and OR do not look at their
//! right side where the left one decides.
//!
//! Bounds: recursion is as deep as the tree. Texts that functions make have at most [`MAX_TEXT`]
//! bytes, and one evaluation looks at no more than [`MAX_WORK`] bytes of attributes and texts; both
//! are far above what events and filters of ordinary sizes need. Comparing attributes, LIKE and IN
//! allocate nothing.

use std::borrow::Cow;
use std::cell::Cell;

use super::ast::{Arithmetic, Callee, Comparison, Expr, Logic, Node};
use super::error::{EvalError, Fault};
use super::value::{Type, Value};
use crate::event::{Attribute, Event};

/// The longest text that a function makes, in bytes.
pub const MAX_TEXT: usize = 256 * 1024;
/// The most bytes that one evaluation looks at.
pub const MAX_WORK: usize = 16 * 1024 * 1024;

/// The value of an expression, and what went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation<'a> {
    /// The value, which is there in any case.
    pub value: Value<'a>,
    /// The first error.
    pub error: Option<EvalError>,
}

/// An error, and the value where it is not the zero value.
pub(super) struct Failure<'a> {
    error: EvalError,
    value: Option<Value<'a>>,
}

impl<'a> Failure<'a> {
    pub(super) fn with(error: EvalError, value: Value<'a>) -> Self {
        Self {
            error,
            value: Some(value),
        }
    }
}

impl From<EvalError> for Failure<'_> {
    fn from(error: EvalError) -> Self {
        Self { error, value: None }
    }
}

/// Evaluates an expression on an event.
pub(super) fn evaluate<'a>(expr: &'a Expr, event: &'a Event) -> Evaluation<'a> {
    let run = Evaluator {
        event,
        work: Cell::new(MAX_WORK),
    };
    match run.value(expr) {
        Ok(value) => Evaluation { value, error: None },
        Err(Failure { error, value }) => Evaluation {
            // What a missing attribute alone would have been is not known; the specification says
            // that it is a Boolean then.
            value: value.unwrap_or_else(|| expr.static_type().unwrap_or(Type::Boolean).zero()),
            error: Some(error),
        },
    }
}

/// One evaluation.
pub(super) struct Evaluator<'a> {
    event: &'a Event,
    /// How many bytes may still be looked at.
    work: Cell<usize>,
}

impl<'a> Evaluator<'a> {
    fn value(&self, expr: &'a Expr) -> Result<Value<'a>, Failure<'a>> {
        let at = expr.position();
        Ok(match &expr.node {
            Node::Literal(Value::String(text)) => Value::String(Cow::Borrowed(text)),
            Node::Literal(value) => value.clone(),
            Node::Attribute(name) => match self.attribute(name, at)? {
                Some(attribute) => Value::of(&attribute),
                None => return Err(EvalError::new(at, Fault::MissingAttribute).into()),
            },
            Node::Exists(name) => Value::Boolean(self.attribute(name, at)?.is_some()),
            Node::Not(operand) => return self.not(operand),
            Node::Negate(operand) => match self.integer(operand)?.checked_neg() {
                Some(number) => Value::Integer(number),
                None => return Err(EvalError::new(at, Fault::Overflow).into()),
            },
            Node::Arithmetic(op, sides) => {
                let number = self.arithmetic(*op, sides)?;
                Value::Integer(number.map_err(|fault| EvalError::new(at, fault))?)
            }
            Node::Compare(op, sides) => Value::Boolean(self.compare(*op, sides)?),
            Node::Logic(first, rest) => {
                let mut value = self.boolean(first)?;
                for (op, operand) in rest {
                    value = match op {
                        Logic::And => value && self.boolean(operand)?,
                        Logic::Or => value || self.boolean(operand)?,
                        Logic::Xor => value ^ self.boolean(operand)?,
                    };
                }
                Value::Boolean(value)
            }
            Node::Like {
                operand,
                pattern,
                negated,
            } => {
                let value = self.operand(operand)?;
                if let Value::String(text) = &value {
                    self.spend(text.len(), at)?;
                }
                Value::Boolean(value.with_text(|text| pattern.matches(text)) != *negated)
            }
            Node::In {
                operand,
                set,
                negated,
            } => Value::Boolean(self.is_in(operand, set)? != *negated),
            Node::Call(Callee::Known(function), arguments) => {
                return function.call(self, arguments, at);
            }
            Node::Call(Callee::Unknown(_), _) => {
                return Err(EvalError::new(at, Fault::MissingFunction).into());
            }
        })
    }

    /// The value of an operand. Where it failed, the operator fails with it.
    pub(super) fn operand(&self, expr: &'a Expr) -> Result<Value<'a>, EvalError> {
        self.value(expr).map_err(|failure| failure.error)
    }

    pub(super) fn boolean(&self, expr: &'a Expr) -> Result<bool, EvalError> {
        let value = self.operand(expr)?;
        value
            .to_boolean()
            .ok_or_else(|| cast(expr, &value, Type::Boolean))
    }

    pub(super) fn integer(&self, expr: &'a Expr) -> Result<i32, EvalError> {
        let value = self.operand(expr)?;
        value
            .to_integer()
            .ok_or_else(|| cast(expr, &value, Type::Integer))
    }

    /// The text of an operand of a function, which will look at all of it.
    pub(super) fn text(&self, expr: &'a Expr) -> Result<Cow<'a, str>, EvalError> {
        let text = self.operand(expr)?.into_text();
        self.spend(text.len(), expr.position())?;
        Ok(text)
    }

    /// NOT takes no Integer, although BOOL does, and the value of a failed cast is `false` also in
    /// front of it: the compatibility kit wants `NOT 10` to be `true` with a cast error.
    fn not(&self, operand: &'a Expr) -> Result<Value<'a>, Failure<'a>> {
        let value = self.operand(operand)?;
        match (&value, value.to_boolean()) {
            (Value::String(_) | Value::Boolean(_), Some(flag)) => Ok(Value::Boolean(!flag)),
            _ => Err(Failure::with(
                cast(operand, &value, Type::Boolean),
                Value::Boolean(true),
            )),
        }
    }

    fn arithmetic(
        &self,
        op: Arithmetic,
        sides: &'a [Expr; 2],
    ) -> Result<Result<i32, Fault>, EvalError> {
        let (x, y) = self.integers(sides)?;
        let divided = |result: i32| {
            if y == 0 {
                Err(Fault::DivisionByZero)
            } else {
                Ok(result)
            }
        };
        Ok(match op {
            Arithmetic::Add => x.checked_add(y).ok_or(Fault::Overflow),
            Arithmetic::Subtract => x.checked_sub(y).ok_or(Fault::Overflow),
            Arithmetic::Multiply => x.checked_mul(y).ok_or(Fault::Overflow),
            Arithmetic::Divide => match x.checked_div(y) {
                Some(result) => Ok(result),
                None => divided(0).and(Err(Fault::Overflow)),
            },
            // The one remainder that the processor cannot tell, that of the smallest number and -1,
            // is 0.
            Arithmetic::Remainder => divided(x.checked_rem(y).unwrap_or(0)),
        })
    }

    /// Both sides as Integers. Both are evaluated before either is cast.
    fn integers(&self, [left, right]: &'a [Expr; 2]) -> Result<(i32, i32), EvalError> {
        let (x, y) = (self.operand(left)?, self.operand(right)?);
        let x = x
            .to_integer()
            .ok_or_else(|| cast(left, &x, Type::Integer))?;
        let y = y
            .to_integer()
            .ok_or_else(|| cast(right, &y, Type::Integer))?;
        Ok((x, y))
    }

    fn compare(&self, op: Comparison, sides: &'a [Expr; 2]) -> Result<bool, EvalError> {
        let order: fn(&i32, &i32) -> bool = match op {
            Comparison::Equal => return self.equal(sides),
            Comparison::NotEqual => return Ok(!self.equal(sides)?),
            Comparison::Less => i32::lt,
            Comparison::LessOrEqual => i32::le,
            Comparison::Greater => i32::gt,
            Comparison::GreaterOrEqual => i32::ge,
        };
        let (x, y) = self.integers(sides)?;
        Ok(order(&x, &y))
    }

    /// The left side is cast to the type of the right one.
    fn equal(&self, [left, right]: &'a [Expr; 2]) -> Result<bool, EvalError> {
        let (x, y) = (self.operand(left)?, self.operand(right)?);
        self.equal_values(&x, &y, left)
    }

    /// The elements are cast to the type of the operand. Those behind the first match are not
    /// looked at.
    fn is_in(&self, operand: &'a Expr, set: &'a [Expr]) -> Result<bool, EvalError> {
        let wanted = self.operand(operand)?;
        for element in set {
            let value = self.operand(element)?;
            if self.equal_values(&value, &wanted, element)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether `x`, which is the value of `expr`, equals `y` when cast to its type.
    fn equal_values(
        &self,
        x: &Value<'a>,
        y: &Value<'a>,
        expr: &'a Expr,
    ) -> Result<bool, EvalError> {
        if let (Value::String(x), Value::String(y)) = (x, y)
            && x.len() == y.len()
        {
            // Texts of different lengths differ without a look at them.
            self.spend(x.len(), expr.position())?;
        }
        x.equals(y).ok_or_else(|| cast(expr, x, y.kind()))
    }

    fn attribute(&self, name: &str, at: usize) -> Result<Option<Attribute<'a>>, EvalError> {
        if name == "specversion" {
            return Ok(self.event.attribute(name));
        }
        let mut looked_at = 0;
        let found = self.event.attributes().find(|attribute| {
            looked_at += attribute.name.len() + attribute.text.len();
            attribute.name == name
        });
        self.spend(looked_at, at)?;
        Ok(found)
    }

    fn spend(&self, bytes: usize, at: usize) -> Result<(), EvalError> {
        let left = self.work.get().checked_sub(bytes);
        self.work
            .set(left.ok_or_else(|| EvalError::new(at, Fault::Work))?);
        Ok(())
    }
}

fn cast(expr: &Expr, value: &Value<'_>, to: Type) -> EvalError {
    let from = value.kind();
    EvalError::new(expr.position(), Fault::Cast { from, to })
}
