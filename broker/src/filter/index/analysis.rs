//! From a filter to the condition that is necessary for it.
//!
//! # Dialects
//!
//! An element passes or does not pass; there is no third way, because an error counts as not
//! passing. `passes` and `fails` give the necessary condition of either. What is known of a failed
//! comparison is nothing: the attribute may be absent. So only an even number of `not`s around it
//! lets a predicate through, and `not` turns `all` and `any` into each other.
//!
//! # CloudEvents SQL
//!
//! An expression has a value or meets an error, and an error goes up through every operator and
//! function: nothing recovers from one, and [`Expression::test`](crate::filter::cesql::Expression)
//! is then no pass. So three conditions are enough for each node, all of them necessary for *no
//! error having been met in it*:
//!
//! - `yes`: and the value, cast to a Boolean, is true;
//! - `no`: and the value, cast to a Boolean, is false;
//! - `value`: it has a value at all, whatever it is.
//!
//! The root passes only where its `yes` holds. By induction over the tree:
//!
//! - An operator that looks at all its operands has a value only if each has one: its `value` is
//!   the conjunction of theirs, and serves as `yes` and `no` where nothing better is known.
//! - AND, OR and XOR go from left to right, with `x` the value so far. `x AND y` is true only if
//!   both are; it is false if `x` is false, in which case `y` was never looked at and nothing may
//!   be asked of it, or if `x` is true and `y` false. OR is the mirror image. XOR always looks at
//!   both.
//! - NOT exchanges `yes` and `no`. (It refuses Integers, which makes its conditions stronger.)
//! - `x = literal` casts `x` to the literal's type: the texts are equal, or `x` is castable to that
//!   Integer or Boolean. `literal = x` casts the literal to the type that `x` has in the event, so
//!   that `x` is that text, or that Integer, or that Boolean, as far as the literal can be cast; and
//!   its text is that of one of them. IN compares each element in this second way. Where the texts, numbers or truth values differ, the
//!   comparison still has a value, so that its `no` asks for no more than that `x` is there, and
//!   castable if the literal's type needs it.
//! - `<` and the like cast both sides to Integers. A literal that cannot be cast is an error on
//!   every event.
//! - LIKE looks at the text of a value. With a literal head or tail, the text begins or ends so.
//! - EXISTS never fails; where it is false nothing is known.
//!
//! An evaluation may also stop because it looked at too many bytes. That is an error like any
//! other, never a pass.

use super::super::Filter;
use super::super::cesql::ast::{Callee, Comparison, Expr, Logic, Node};
use super::super::cesql::functions::Function;
use super::super::cesql::{Value, like::Pattern};
use super::super::dialects::Element;
use super::condition::{Condition, Test, Wanted};

impl<'f> Condition<'f> {
    /// What is necessary for the filter to want an event.
    pub(super) fn of(filter: &'f Filter) -> Self {
        let condition = match filter {
            Filter::All => Self::always(),
            Filter::Attributes(filter) => exact(filter.wanted()),
            Filter::Dialects(dialects) => all(dialects.elements().iter().map(passes)),
        };
        condition.bounded()
    }
}

fn all<'f>(conditions: impl Iterator<Item = Condition<'f>>) -> Condition<'f> {
    conditions.fold(Condition::always(), Condition::and)
}

fn any<'f>(conditions: impl Iterator<Item = Condition<'f>>) -> Condition<'f> {
    conditions.fold(Condition::never(), Condition::or)
}

fn text(text: &str) -> Test<'_> {
    Test::OneOf(vec![Wanted::Text(text.into())])
}

fn exact<'f>(wanted: impl Iterator<Item = (&'f str, &'f str)>) -> Condition<'f> {
    all(wanted.map(|(name, value)| {
        let test = if value.is_empty() {
            Test::Present
        } else {
            text(value)
        };
        Condition::test(name, test)
    }))
}

/// What is necessary for an element to pass. Recurses as deep as the filter is nested.
fn passes(element: &Element) -> Condition<'_> {
    match element {
        Element::Exact(filter) => exact(filter.wanted()),
        Element::Prefix(wanted) => all(wanted
            .iter()
            .map(|(name, text)| Condition::test(name, Test::Prefix((&**text).into())))),
        Element::Suffix(wanted) => all(wanted
            .iter()
            .map(|(name, text)| Condition::test(name, Test::Suffix((&**text).into())))),
        Element::All(elements) => all(elements.iter().map(passes)),
        Element::Any(elements) => any(elements.iter().map(passes)),
        Element::Not(element) => fails(element),
        Element::Cesql(expression) => Knowledge::of(expression.root()).yes,
        // Nothing is known of data before it is read.
        Element::Data(_) => Condition::always(),
    }
}

/// What is necessary for an element not to pass.
fn fails(element: &Element) -> Condition<'_> {
    match element {
        Element::All(elements) => any(elements.iter().map(fails)),
        Element::Any(elements) => all(elements.iter().map(fails)),
        Element::Not(element) => passes(element),
        Element::Exact(_)
        | Element::Prefix(_)
        | Element::Suffix(_)
        | Element::Cesql(_)
        | Element::Data(_) => Condition::always(),
    }
}

/// The three conditions of a node.
#[derive(Clone)]
struct Knowledge<'f> {
    yes: Condition<'f>,
    no: Condition<'f>,
    value: Condition<'f>,
}

impl<'f> Knowledge<'f> {
    /// No more than that there is a value.
    fn value(value: Condition<'f>) -> Self {
        Self {
            yes: value.clone(),
            no: value.clone(),
            value,
        }
    }

    /// There never is a value.
    fn error() -> Self {
        Self::value(Condition::never())
    }

    /// Of an operator that looks at all of these.
    fn operands(operands: impl Iterator<Item = &'f Expr>) -> Self {
        Self::value(all(operands.map(|operand| Self::of(operand).value)))
    }

    fn negated(self, negated: bool) -> Self {
        if !negated {
            return self;
        }
        Self {
            yes: self.no,
            no: self.yes,
            value: self.value,
        }
    }

    /// Recurses as deep as the tree, which is bounded.
    fn of(expr: &'f Expr) -> Self {
        match &expr.node {
            Node::Literal(value) => Self::literal(value),
            Node::Attribute(name) => Self::truth(name),
            Node::Exists(name) => Self {
                yes: Condition::test(name, Test::Present),
                no: Condition::always(),
                value: Condition::always(),
            },
            Node::Not(operand) => Self::of(operand).negated(true),
            Node::Negate(operand) => Self::value(Self::of(operand).value),
            Node::Arithmetic(_, sides) => Self::operands(sides.iter()),
            Node::Compare(op, sides) => Self::comparison(*op, sides),
            Node::Logic(first, rest) => Self::logic(first, rest),
            Node::Like {
                operand,
                pattern,
                negated,
            } => Self::like(operand, pattern).negated(*negated),
            Node::In {
                operand,
                set,
                negated,
            } => Self::is_in(operand, set).negated(*negated),
            Node::Call(Callee::Known(function), arguments) => Self::call(*function, arguments),
            Node::Call(Callee::Unknown(_), _) => Self::error(),
        }
    }

    fn literal(value: &Value<'_>) -> Self {
        let when = |holds| {
            if holds {
                Condition::always()
            } else {
                Condition::never()
            }
        };
        Self {
            yes: when(value.to_boolean() == Some(true)),
            no: when(value.to_boolean() == Some(false)),
            value: Condition::always(),
        }
    }

    fn truth(name: &'f str) -> Self {
        let is = |flag| Condition::test(name, Test::OneOf(vec![Wanted::Truth(flag)]));
        Self {
            yes: is(true),
            no: is(false),
            value: Condition::test(name, Test::Present),
        }
    }

    fn logic(first: &'f Expr, rest: &'f [(Logic, Expr)]) -> Self {
        let mut left = Self::of(first);
        for (op, operand) in rest {
            let right = Self::of(operand);
            let (yes, no) = match op {
                Logic::And => (
                    left.yes.clone().and(right.yes),
                    left.no.or(left.yes.and(right.no)),
                ),
                Logic::Or => (
                    left.yes.or(left.no.clone().and(right.yes)),
                    left.no.and(right.no),
                ),
                Logic::Xor => (
                    (left.yes.clone().and(right.no.clone()))
                        .or(left.no.clone().and(right.yes.clone())),
                    (left.yes.and(right.yes)).or(left.no.and(right.no)),
                ),
            };
            left = Self {
                yes,
                no,
                // The first operand is the one that is looked at in any case.
                value: left.value,
            };
        }
        left
    }

    fn comparison(op: Comparison, sides: &'f [Expr; 2]) -> Self {
        match op {
            Comparison::Equal => Self::equal(sides),
            Comparison::NotEqual => Self::equal(sides).negated(true),
            Comparison::Less => Self::less(sides, false),
            Comparison::LessOrEqual => Self::less(sides, true),
            Comparison::Greater => Self::less(sides, true).negated(true),
            Comparison::GreaterOrEqual => Self::less(sides, false).negated(true),
        }
    }

    fn equal(sides: &'f [Expr; 2]) -> Self {
        let [left, right] = sides;
        match (&left.node, &right.node) {
            (_, Node::Literal(Value::Boolean(flag))) => Self::of(left).negated(!flag),
            (Node::Attribute(name), Node::Literal(Value::Integer(number))) => {
                let castable = Condition::test(name, Test::Range(i32::MIN, i32::MAX));
                Self {
                    yes: Condition::test(name, Test::OneOf(vec![Wanted::Number(*number)])),
                    no: castable.clone(),
                    value: castable,
                }
            }
            (Node::Attribute(name), Node::Literal(Value::String(wanted))) => Self {
                yes: Condition::test(name, text(wanted)),
                ..Self::value(Condition::test(name, Test::Present))
            },
            (Node::Literal(value), Node::Attribute(name)) => Self {
                yes: Condition::test(name, Test::OneOf(cast(value).collect())),
                ..Self::value(Condition::test(name, Test::Present))
            },
            _ => Self::operands(sides.iter()),
        }
    }

    /// `left < right`, or `left <= right`.
    fn less(sides: &'f [Expr; 2], or_equal: bool) -> Self {
        let [left, right] = sides;
        // Where the literal stands on the left, the attribute is what is greater.
        let (name, literal, flipped) = match (&left.node, &right.node) {
            (Node::Attribute(name), Node::Literal(value)) => (name, value, false),
            (Node::Literal(value), Node::Attribute(name)) => (name, value, true),
            _ => return Self::operands(sides.iter()),
        };
        let Some(number) = literal.to_integer() else {
            return Self::error();
        };
        // The attribute is below the boundary, or not; either may be impossible in 32 bits.
        let boundary = i64::from(number) + i64::from(or_equal != flipped);
        let below = i32::try_from(boundary - 1).map_or_else(
            |_| Condition::never(),
            |last| Condition::test(name, Test::Range(i32::MIN, last)),
        );
        let above = i32::try_from(boundary).map_or_else(
            |_| Condition::never(),
            |first| Condition::test(name, Test::Range(first, i32::MAX)),
        );
        let castable = Condition::test(name, Test::Range(i32::MIN, i32::MAX));
        let of_attribute = Self {
            yes: below,
            no: above,
            value: castable,
        };
        of_attribute.negated(flipped)
    }

    fn like(operand: &'f Expr, pattern: &'f Pattern) -> Self {
        let Node::Attribute(name) = &operand.node else {
            return Self::operands(std::iter::once(operand));
        };
        let present = Condition::test(name, Test::Present);
        let yes = match pattern.literal() {
            Some(literal) => Condition::test(name, text(literal)),
            None => {
                let (head, tail) = (pattern.head(), pattern.tail());
                let mut yes = present.clone();
                if !head.is_empty() {
                    yes = yes.and(Condition::test(name, Test::Prefix(head)));
                }
                if !tail.is_empty() {
                    yes = yes.and(Condition::test(name, Test::Suffix(tail)));
                }
                yes
            }
        };
        Self {
            yes,
            ..Self::value(present)
        }
    }

    fn is_in(operand: &'f Expr, set: &'f [Expr]) -> Self {
        let literals = set.iter().map(|element| match &element.node {
            Node::Literal(value) => Some(value),
            _ => None,
        });
        match (&operand.node, literals.collect::<Option<Vec<_>>>()) {
            (Node::Attribute(name), Some(values)) => Self {
                yes: Condition::test(
                    name,
                    Test::OneOf(values.into_iter().flat_map(cast).collect()),
                ),
                ..Self::value(Condition::test(name, Test::Present))
            },
            // Elements behind the first match are not looked at.
            _ => Self::operands(std::iter::once(operand).chain(set.first())),
        }
    }

    fn call(function: Function, arguments: &'f [Expr]) -> Self {
        match (function, arguments) {
            (Function::Bool, [argument]) => Self::of(argument),
            (Function::IsInt, [argument]) => match &argument.node {
                Node::Attribute(name) => Self {
                    yes: Condition::test(name, Test::Range(i32::MIN, i32::MAX)),
                    ..Self::value(Condition::test(name, Test::Present))
                },
                _ => Self::operands(arguments.iter()),
            },
            _ => Self::operands(arguments.iter()),
        }
    }
}

/// The texts that an attribute's value has, one of them, where a literal that is cast to the type of
/// the value equals it. Integers and Booleans are written in one way only.
fn cast<'f>(literal: &'f Value<'static>) -> impl Iterator<Item = Wanted<'f>> {
    let own = match literal {
        Value::String(text) => (&**text).into(),
        other => other.clone().into_text(),
    };
    let number = literal.to_integer().map(Value::Integer);
    let truth = literal.to_boolean().map(Value::Boolean);
    let others = number.into_iter().chain(truth).map(Value::into_text);
    let others: Vec<_> = others.filter(|text| *text != own).collect();
    std::iter::once(own).chain(others).map(Wanted::Text)
}
