//! What is known of an expression before any event: that it can be a filter.
//!
//! An expression may be right by itself and still be no filter: one that calls a function that does
//! not exist fails on every event that gets there, and one whose value is a number never passes. Both
//! are told when the filter is written, not by an event that does not arrive.

use super::ast::{Callee, Expr, Node};
use super::error::{ParseError, Problem};
use super::functions::Function;
use super::value::Type;

/// Whether the expression can be a filter.
pub(super) fn check(root: &Expr) -> Result<(), ParseError> {
    check_calls(root)?;
    match root.static_type() {
        // Whether the value of an attribute is a Boolean is the event's matter.
        None | Some(Type::Boolean) => Ok(()),
        Some(found) => Err(ParseError::new(
            root.position(),
            Problem::NeverBoolean(found),
        )),
    }
}

/// Reports the first call that no function answers. Recurses as deep as the tree, which is bounded.
fn check_calls(expr: &Expr) -> Result<(), ParseError> {
    if let Node::Call(Callee::Unknown(name), arguments) = &expr.node {
        let problem = Problem::UnknownFunction {
            name: name.clone(),
            arguments: arguments.len(),
            known: Function::is_known(name),
        };
        return Err(ParseError::new(expr.position(), problem));
    }
    let mut found = Ok(());
    expr.children(|child| {
        if found.is_ok() {
            found = check_calls(child);
        }
    });
    found
}
