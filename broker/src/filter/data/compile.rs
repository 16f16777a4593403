//! From what was written to a [`DataTest`].

use std::fmt;

use serde_json::{Map, Value};

use super::path::{Path, PathError};
use super::{Bound, Condition, DataTest, Scalar, number};

/// The most values of `exact` and `anythingBut`.
const MAX_VALUES: usize = 256;
const CONDITIONS: [&str; 6] = [
    "exact",
    "anythingBut",
    "prefix",
    "suffix",
    "numeric",
    "exists",
];
const BOUNDS: [&str; 4] = ["gt", "gte", "lt", "lte"];

/// What is wrong with an element of this dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataFault {
    /// Something else should stand there.
    Expected(&'static str),
    /// There is no such field.
    Unknown,
    /// Not one condition but none or several.
    Conditions,
    /// The path cannot be read.
    Path(PathError),
}

impl fmt::Display for DataFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::Unknown => write!(f, "there are the fields path, {}", CONDITIONS.join(", ")),
            Self::Conditions => {
                write!(f, "expected exactly one of {}", CONDITIONS.join(", "))
            }
            Self::Path(error) => error.fmt(f),
        }
    }
}

/// A fault and the field that it is in, below the element.
type At = (String, DataFault);

/// Compiles an element.
///
/// # Errors
///
/// The first thing that is wrong with it: where below the element, and what. Only one, because most
/// mistakes are a misspelt field, which is then missing as well.
pub fn compile(element: &Value) -> Result<DataTest, (String, DataFault)> {
    let Value::Object(fields) = element else {
        let what = "an object with a path and a condition";
        return Err((String::new(), DataFault::Expected(what)));
    };
    let known = |name: &str| name == "path" || CONDITIONS.contains(&name);
    if let Some(name) = fields.keys().find(|name| !known(name)) {
        return Err((format!(".{name}"), DataFault::Unknown));
    }
    let path = path(fields)?;
    let mut given = CONDITIONS
        .iter()
        .filter_map(|name| Some((*name, fields.get(*name)?)));
    let (Some((name, value)), None) = (given.next(), given.next()) else {
        return Err((String::new(), DataFault::Conditions));
    };
    let condition = condition(name, value)?;
    Ok(DataTest { path, condition })
}

fn path(fields: &Map<String, Value>) -> Result<Path, At> {
    let fail = |fault| (".path".to_owned(), fault);
    let text = fields.get("path").and_then(Value::as_str);
    let text = text.ok_or_else(|| fail(DataFault::Expected("a path, like $.order.total")))?;
    Path::parse(text).map_err(|error| fail(DataFault::Path(error)))
}

fn condition(name: &str, value: &Value) -> Result<Condition, At> {
    let fail = |what| (format!(".{name}"), DataFault::Expected(what));
    let text = || {
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(Box::from)
            .ok_or_else(|| fail("a text that is not empty"))
    };
    Ok(match name {
        "exact" => Condition::Exact(scalars(name, value)?),
        "anythingBut" => Condition::AnythingBut(scalars(name, value)?),
        "prefix" => Condition::Prefix(text()?),
        "suffix" => Condition::Suffix(text()?),
        "numeric" => numeric(value)?,
        _ => Condition::Exists(value.as_bool().ok_or_else(|| fail("true or false"))?),
    })
}

/// One value, or a list of them.
fn scalars(name: &str, value: &Value) -> Result<Box<[Scalar]>, At> {
    let (values, listed) = match value {
        Value::Array(values) => (values.as_slice(), true),
        value => (std::slice::from_ref(value), false),
    };
    let fail = |at, what| Err((format!(".{name}{at}"), DataFault::Expected(what)));
    if values.is_empty() || values.len() > MAX_VALUES {
        return fail(String::new(), "1 to 256 values");
    }
    let mut scalars = Vec::with_capacity(values.len());
    for (place, value) in values.iter().enumerate() {
        scalars.push(match value {
            Value::String(text) => Scalar::Text(text.as_str().into()),
            Value::Number(number) => Scalar::Number(number.to_string().into()),
            Value::Bool(flag) => Scalar::Boolean(*flag),
            Value::Null => Scalar::Null,
            Value::Array(_) | Value::Object(_) => {
                let at = if listed {
                    format!("[{place}]")
                } else {
                    String::new()
                };
                return fail(at, "a text, a number, true, false or null");
            }
        });
    }
    Ok(scalars.into())
}

fn numeric(value: &Value) -> Result<Condition, At> {
    let expected = "one or both ends of a range: gt or gte, lt or lte";
    let fail = |at: String, what| (format!(".numeric{at}"), DataFault::Expected(what));
    let bounds = value.as_object().filter(|bounds| !bounds.is_empty());
    let bounds = bounds.ok_or_else(|| fail(String::new(), expected))?;
    if let Some(name) = bounds.keys().find(|name| !BOUNDS.contains(&name.as_str())) {
        return Err(fail(format!(".{name}"), expected));
    }
    let bound = |name: &str, inclusive| match bounds.get(name) {
        None => Ok(None),
        Some(value) => {
            let number = match value {
                Value::Number(number) => Some(number.to_string()),
                // More digits than a number of YAML or JSON keeps on its way here.
                Value::String(text) if number::is_number(text) => Some(text.clone()),
                _ => None,
            };
            let number = number.map(Into::into);
            number
                .map(|number| Some(Bound { number, inclusive }))
                .ok_or_else(|| fail(format!(".{name}"), "a number, or one in quotes"))
        }
    };
    let end = |open: &str, closed: &str| match (bound(open, false)?, bound(closed, true)?) {
        (Some(_), Some(_)) => Err(fail(String::new(), expected)),
        (open, closed) => Ok(open.or(closed)),
    };
    Ok(Condition::Numeric {
        low: end("gt", "gte")?,
        high: end("lt", "lte")?,
    })
}
