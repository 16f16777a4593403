//! The built-in functions (specification, section 3.5, and the casts of section 3.7 as functions).
//!
//! A function is found by its name, in any case, and the number of its arguments. Characters are
//! Unicode scalar values; parts of a text are borrowed from it.

use std::borrow::Cow;

use super::ast::Expr;
use super::error::{EvalError, Fault};
use super::eval::{Evaluator, Failure, MAX_TEXT};
use super::value::{Type, Value};

/// A built-in function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `LENGTH(x)`: the number of characters.
    Length,
    /// `CONCAT(x, ...)`: all arguments, one behind the other.
    Concat,
    /// `CONCAT_WS(delimiter, x, ...)`: the same, with a delimiter between them.
    ConcatWs,
    /// `LOWER(x)`: in small letters.
    Lower,
    /// `UPPER(x)`: in capitals.
    Upper,
    /// `TRIM(x)`: without white space at both ends.
    Trim,
    /// `LEFT(x, n)`: the first n characters.
    Left,
    /// `RIGHT(x, n)`: the last n characters.
    Right,
    /// `SUBSTRING(x, position)` and `SUBSTRING(x, position, length)`; positions count from 1, and
    /// from the end where they are negative.
    Substring,
    /// `ABS(x)`: without the sign.
    Abs,
    /// `INT(x)`: as an Integer.
    Int,
    /// `BOOL(x)`: as a Boolean.
    Bool,
    /// `STRING(x)`: as a String.
    String,
    /// `IS_INT(x)`: whether `INT(x)` would succeed.
    IsInt,
    /// `IS_BOOL(x)`: whether `BOOL(x)` would succeed.
    IsBool,
}

/// Every function, with the fewest and the most arguments.
const FUNCTIONS: [(&str, Function, usize, usize); 15] = [
    ("LENGTH", Function::Length, 1, 1),
    ("CONCAT", Function::Concat, 0, usize::MAX),
    ("CONCAT_WS", Function::ConcatWs, 1, usize::MAX),
    ("LOWER", Function::Lower, 1, 1),
    ("UPPER", Function::Upper, 1, 1),
    ("TRIM", Function::Trim, 1, 1),
    ("LEFT", Function::Left, 2, 2),
    ("RIGHT", Function::Right, 2, 2),
    ("SUBSTRING", Function::Substring, 2, 3),
    ("ABS", Function::Abs, 1, 1),
    ("INT", Function::Int, 1, 1),
    ("BOOL", Function::Bool, 1, 1),
    ("STRING", Function::String, 1, 1),
    ("IS_INT", Function::IsInt, 1, 1),
    ("IS_BOOL", Function::IsBool, 1, 1),
];

impl Function {
    /// The function that answers a call.
    #[must_use]
    pub fn find(name: &str, arguments: usize) -> Option<Self> {
        FUNCTIONS
            .iter()
            .find(|(known, _, fewest, most)| {
                known.eq_ignore_ascii_case(name) && (*fewest..=*most).contains(&arguments)
            })
            .map(|(_, function, _, _)| *function)
    }

    /// Whether there is a function of that name, whatever its arguments.
    #[must_use]
    pub fn is_known(name: &str) -> bool {
        FUNCTIONS
            .iter()
            .any(|(known, _, _, _)| known.eq_ignore_ascii_case(name))
    }

    /// The name, in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        FUNCTIONS
            .iter()
            .find(|(_, function, _, _)| *function == self)
            .map_or("", |(name, _, _, _)| name)
    }

    /// The type of the value.
    #[must_use]
    pub fn result(self) -> Type {
        match self {
            Self::Length | Self::Abs | Self::Int => Type::Integer,
            Self::Bool | Self::IsInt | Self::IsBool => Type::Boolean,
            Self::Concat
            | Self::ConcatWs
            | Self::Lower
            | Self::Upper
            | Self::Trim
            | Self::Left
            | Self::Right
            | Self::Substring
            | Self::String => Type::String,
        }
    }

    /// Calls the function, which stands at `at`. The parser has counted the arguments.
    pub(super) fn call<'a>(
        self,
        run: &Evaluator<'a>,
        arguments: &'a [Expr],
        at: usize,
    ) -> Result<Value<'a>, Failure<'a>> {
        let fault = |fault| EvalError::new(at, fault);
        // The parser looks functions up by the number of arguments, so that this is never met.
        let argument = |n: usize| {
            arguments
                .get(n)
                .ok_or_else(|| fault(Fault::MissingFunction))
        };
        let text = |n| run.text(argument(n)?);
        let integer = |n| run.integer(argument(n)?);
        Ok(match self {
            Self::Length => Value::Integer(length(&text(0)?)),
            Self::Concat => return Ok(concat(run, "", arguments, at)?),
            Self::ConcatWs => {
                let rest = arguments.get(1..).unwrap_or_default();
                return Ok(concat(run, &text(0)?, rest, at)?);
            }
            Self::Lower => Value::String(lower(text(0)?)),
            Self::Upper => Value::String(upper(text(0)?)),
            Self::Trim => Value::String(part(text(0)?, |text| text.trim())),
            Self::Left | Self::Right => {
                let (text, count) = (text(0)?, integer(1)?);
                let Ok(count) = usize::try_from(count) else {
                    let error = fault(Fault::NegativeLength);
                    return Err(Failure::with(error, Value::String(text)));
                };
                Value::String(if self == Self::Left {
                    part(text, |text| split(text, count).0)
                } else {
                    part(text, |text| {
                        let skipped = text.chars().count().saturating_sub(count);
                        split(text, skipped).1
                    })
                })
            }
            Self::Substring => {
                let (text, position) = (text(0)?, integer(1)?);
                let count = match arguments.get(2) {
                    Some(expr) => Some(run.integer(expr)?),
                    None => None,
                };
                Value::String(substring(text, position, count).map_err(fault)?)
            }
            Self::Abs => match integer(0)?.checked_abs() {
                Some(number) => Value::Integer(number),
                None => {
                    let error = fault(Fault::Overflow);
                    return Err(Failure::with(error, Value::Integer(i32::MAX)));
                }
            },
            Self::Int => Value::Integer(integer(0)?),
            Self::Bool => Value::Boolean(run.boolean(argument(0)?)?),
            Self::String => Value::String(text(0)?),
            Self::IsInt => Value::Boolean(run.operand(argument(0)?)?.to_integer().is_some()),
            Self::IsBool => Value::Boolean(run.operand(argument(0)?)?.to_boolean().is_some()),
        })
    }
}

/// The number of characters. Texts are shorter than [`MAX_TEXT`] bytes, so that it fits.
fn length(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX)
}

/// The first `count` characters, and the rest.
fn split(text: &str, count: usize) -> (&str, &str) {
    let at = text
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| at);
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// A part of a text that is not copied where the text is borrowed.
fn part<'a>(text: Cow<'a, str>, choose: impl Fn(&str) -> &str) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(choose(text)),
        Cow::Owned(text) => Cow::Owned(choose(&text).to_owned()),
    }
}

fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    if text
        .bytes()
        .all(|b| b.is_ascii() && !b.is_ascii_uppercase())
    {
        return text;
    }
    Cow::Owned(text.to_lowercase())
}

fn upper(text: Cow<'_, str>) -> Cow<'_, str> {
    if text
        .bytes()
        .all(|b| b.is_ascii() && !b.is_ascii_lowercase())
    {
        return text;
    }
    Cow::Owned(text.to_uppercase())
}

fn concat<'a>(
    run: &Evaluator<'a>,
    delimiter: &str,
    arguments: &'a [Expr],
    at: usize,
) -> Result<Value<'a>, EvalError> {
    let mut all = Cow::Borrowed("");
    for (index, argument) in arguments.iter().enumerate() {
        let text = run.text(argument)?;
        if index == 0 {
            all = text;
            continue;
        }
        if all.len() + delimiter.len() + text.len() > MAX_TEXT {
            return Err(EvalError::new(at, Fault::TextLength));
        }
        let all = all.to_mut();
        all.push_str(delimiter);
        all.push_str(&text);
    }
    Ok(Value::String(all))
}

fn substring(text: Cow<'_, str>, position: i32, count: Option<i32>) -> Result<Cow<'_, str>, Fault> {
    let count = match count.map(usize::try_from) {
        None => usize::MAX,
        Some(Ok(count)) => count,
        Some(Err(_)) => return Err(Fault::NegativeLength),
    };
    if position == 0 {
        return Ok(Cow::Borrowed(""));
    }
    let length = text.chars().count();
    let from = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    if from > length {
        return Err(Fault::Position);
    }
    let skipped = if position > 0 {
        from - 1
    } else {
        length - from
    };
    Ok(part(text, |text| split(split(text, skipped).1, count).0))
}
