//! Why an expression is not true of an event: the part of it that decides, for people.

use super::ast::{Expr, Logic, Node};
use super::eval::evaluate;
use super::value::Value;
use super::{EvalError, Expression};
use crate::event::Event;

/// The part of an expression because of which an event does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame<'a> {
    /// The byte of the expression at which its operator, name or literal begins.
    pub position: usize,
    /// What it met, where it is not just false.
    pub error: Option<EvalError>,
    /// The attributes that it looks at, each once, in their order.
    pub attributes: Vec<&'a str>,
}

impl Expression {
    /// What keeps the event from passing; `None` where it passes.
    #[must_use]
    pub fn blame(&self, event: &Event) -> Option<Blame<'_>> {
        let (part, error) = match self.test(event) {
            Ok(true) => return None,
            Ok(false) => (decisive(&self.root, event), None),
            Err(error) => (at(&self.root, error.position), Some(error)),
        };
        let mut attributes = Vec::new();
        names(part, &mut attributes);
        Some(Blame {
            position: error.map_or_else(|| part.position(), |error| error.position),
            error,
            attributes,
        })
    }
}

/// The smallest part that makes a false expression false: an operand of AND, or of OR where all
/// are false the first. Recurses as deep as the tree, which is bounded.
fn decisive<'a>(expr: &'a Expr, event: &Event) -> &'a Expr {
    let Node::Logic(first, rest) = &expr.node else {
        return expr;
    };
    let is_true = |operand: &Expr| matches!(evaluate(operand, event).value, Value::Boolean(true));
    let mut value = is_true(first);
    let mut culprit = (!value).then_some(&**first);
    for (op, operand) in rest {
        match op {
            Logic::And if value => {
                value = is_true(operand);
                culprit = (!value).then_some(operand);
            }
            Logic::Or if !value => {
                value = is_true(operand);
                culprit = culprit.filter(|_| !value);
            }
            Logic::And | Logic::Or => {}
            Logic::Xor => {
                value ^= is_true(operand);
                // Neither side alone decides.
                culprit = (!value).then_some(expr);
            }
        }
    }
    match culprit {
        Some(culprit) if !std::ptr::eq(culprit, expr) => decisive(culprit, event),
        _ => expr,
    }
}

/// The outermost part that stands at a position; the whole where none does.
fn at(root: &Expr, position: usize) -> &Expr {
    let mut found = None;
    let mut open = vec![root];
    while let Some(expr) = open.pop() {
        if expr.position() == position {
            found = Some(expr);
            break;
        }
        expr.children(|child| open.push(child));
    }
    found.unwrap_or(root)
}

/// Recurses as deep as the tree, which is bounded.
fn names<'a>(expr: &'a Expr, found: &mut Vec<&'a str>) {
    if let Node::Attribute(name) | Node::Exists(name) = &expr.node
        && !found.contains(&&**name)
    {
        found.push(name);
    }
    expr.children(|child| names(child, found));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::event::EventBuilder;

    #[test]
    fn the_part_that_decides() {
        let event = EventBuilder::new("1", "/s", "t")
            .attribute("n", 5)
            .build()
            .unwrap();
        for (text, part, attributes) in [
            ("type = 'x'", "= 'x'", "type"),
            ("type = 't' AND n > 7 AND source = '/s'", "> 7", "n"),
            ("type = 'x' OR n = 1", "= 'x'", "type"),
            (
                "(type = 'x' OR n = 5) AND NOT (source LIKE '/%')",
                "NOT",
                "source",
            ),
            ("type = 't' AND (n = 1 OR n = 2)", "= 1", "n"),
            ("type = 't' XOR n = 5", "XOR", "type n"),
            ("type = 't' AND missing = 1", "missing", "missing"),
            ("n / 0 = 1", "/ 0", "n"),
            ("EXISTS missing", "EXISTS", "missing"),
        ] {
            let expression = Expression::parse_filter(text).unwrap();
            let blame = expression.blame(&event).unwrap();
            let found = &text[blame.position..];
            assert!(
                found.starts_with(part) || text.contains("XOR"),
                "{text}: {found}"
            );
            assert_eq!(blame.attributes.join(" "), attributes, "{text}");
            assert_eq!(
                blame.error.is_some(),
                text.contains(['/']) && text.contains("/ 0") || text.contains("missing ="),
                "{text}"
            );
        }
        let passes = Expression::parse_filter("type = 't' OR missing = 1").unwrap();
        assert_eq!(passes.blame(&event), None);
    }
}
