//! JSON merge patch (RFC 7396) and JSON patch (RFC 6902), with bounds.
//!
//! Laws: a patch either applies as a whole or leaves the target alone (the caller patches a
//! copy); no patch can make an object grow past [`MAX_COPIED`] bytes by copying, nor nest it past
//! [`MAX_DEPTH`] even in between, so that no recursion here runs out of stack; and the work of one
//! patch is bounded by [`MAX_WORK`], since it is done while other writes wait.

use serde_json::{Map, Value};

/// Operations in one JSON patch, as many as Kubernetes accepts.
pub(crate) const MAX_OPERATIONS: usize = 10_000;
/// Bytes that the `copy` operations of one patch may add.
pub(crate) const MAX_COPIED: usize = 3 * 1024 * 1024;
/// What one patch may move: bytes of moved values, and elements of arrays that make room.
pub(crate) const MAX_WORK: usize = 64 * 1024 * 1024;
/// How deep an object may nest. Below the limit of the JSON reader, so that what is stored can
/// always be read again, also inside of a list.
pub(crate) const MAX_DEPTH: usize = 100;

/// Why a JSON patch was not applied.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PatchError {
    /// The patch itself is not a JSON patch.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object, or asks for what no patch can do.
    #[error("{0}")]
    Inapplicable(String),
    /// The patch exceeds a bound.
    #[error("{0}")]
    TooMuch(String),
}

/// Applies a JSON merge patch.
pub(crate) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(&key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Applies a JSON patch to `target`, which is in an unspecified state after an error.
pub(crate) fn apply(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Value::Array(operations) = patch else {
        return Err(PatchError::Malformed(
            "a JSON patch is an array of operations".to_owned(),
        ));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooMuch(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    for operation in operations {
        readable(operation)?;
    }
    let mut spent = Spent::default();
    for operation in operations {
        step(target, operation, &mut spent)?;
    }
    Ok(())
}

/// What a patch has cost so far.
#[derive(Debug, Default)]
struct Spent {
    copied: usize,
    work: usize,
}

impl Spent {
    fn work(&mut self, units: usize) -> Result<(), PatchError> {
        self.work += units;
        if self.work > MAX_WORK {
            return Err(PatchError::TooMuch(format!(
                "the patch moves more than {MAX_WORK} bytes of the object; split it"
            )));
        }
        Ok(())
    }
}

fn step(target: &mut Value, operation: &Value, spent: &mut Spent) -> Result<(), PatchError> {
    let op = text(operation, "op")?;
    let path = text(operation, "path")?;
    match op {
        "add" => add(target, path, value_of(operation).clone(), spent),
        "remove" => remove(target, path, spent).map(drop),
        "replace" => replace(target, path, value_of(operation)),
        "test" => {
            if same(tested(target, path)?, value_of(operation)) {
                Ok(())
            } else {
                Err(PatchError::Inapplicable(format!(
                    "testing value {path} failed: test failed"
                )))
            }
        }
        "move" => {
            let from = text(operation, "from")?;
            if path != from && path.starts_with(&format!("{from}/")) {
                return Err(PatchError::Inapplicable(format!(
                    "unable to move {from} into its own child {path}"
                )));
            }
            let value = remove(target, from, spent)?;
            spent.work(size(&value))?;
            add(target, path, value, spent)
        }
        "copy" => {
            let value = find(target, text(operation, "from")?)?.clone();
            spent.copied += size(&value);
            if spent.copied > MAX_COPIED {
                return Err(PatchError::TooMuch(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is \
                     {}, exceeding the limit {MAX_COPIED}",
                    spent.copied
                )));
            }
            add(target, path, value, spent)
        }
        other => Err(PatchError::Inapplicable(format!(
            "unknown operation {other:?} in a JSON patch"
        ))),
    }
}

/// Whether this is a patch at all. One that is may still not apply: an operation that lacks
/// something or is not known counts as that.
fn readable(operation: &Value) -> Result<(), PatchError> {
    if !operation.is_object() && !operation.is_null() {
        let why = "an operation of a JSON patch is an object";
        return Err(PatchError::Malformed(why.to_owned()));
    }
    for field in ["op", "path", "from"] {
        let value = operation.get(field).unwrap_or(&Value::Null);
        if !value.is_string() && !value.is_null() {
            return Err(PatchError::Malformed(format!(
                "{field:?} of an operation is a string"
            )));
        }
    }
    Ok(())
}

fn text<'a>(operation: &'a Value, field: &str) -> Result<&'a str, PatchError> {
    operation
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| PatchError::Inapplicable(format!("an operation lacks the string {field:?}")))
}

/// The value of an operation. One that is left out is null, as with Kubernetes.
fn value_of(operation: &Value) -> &Value {
    operation.get("value").unwrap_or(&Value::Null)
}

/// Numbers compare by value, so that `1` and `1.0` pass a test of each other.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

fn whole() -> PatchError {
    PatchError::Inapplicable("the whole object cannot be added or removed".to_owned())
}

fn missing(path: &str) -> PatchError {
    PatchError::Inapplicable(format!("the path {path:?} does not exist in the object"))
}

/// The parts of a JSON pointer. The empty pointer is the whole document.
fn pointer(path: &str) -> Result<Vec<String>, PatchError> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(PatchError::Inapplicable(format!(
            "the path {path:?} does not start with '/'"
        )));
    };
    Ok(rest
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect())
}

/// A place among so many. As with Kubernetes, and beyond RFC 6901, it may have leading zeros, and a
/// negative one counts from the end.
fn index(part: &str, count: usize, path: &str) -> Result<usize, PatchError> {
    let at: i64 = part.parse().map_err(|_| missing(path))?;
    let back = usize::try_from(at.unsigned_abs()).map_err(|_| missing(path))?;
    let at = if at < 0 {
        count.checked_sub(back)
    } else {
        Some(back)
    };
    at.filter(|at| *at < count).ok_or_else(|| missing(path))
}

fn find<'a>(target: &'a Value, path: &str) -> Result<&'a Value, PatchError> {
    let mut at = target;
    for part in pointer(path)? {
        at = match at {
            Value::Object(map) => map.get(&part),
            Value::Array(items) => items.get(index(&part, items.len(), path)?),
            _ => None,
        }
        .ok_or_else(|| missing(path))?;
    }
    Ok(at)
}

/// What a test looks at. A field that an object does not have is null, as with Kubernetes: clients
/// test so that nobody else has made a field in the meantime.
fn tested<'a>(target: &'a Value, path: &str) -> Result<&'a Value, PatchError> {
    match path.rsplit_once('/') {
        Some((parent, _)) if find(target, parent)?.is_object() => {
            Ok(find(target, path).unwrap_or(&Value::Null))
        }
        _ => find(target, path),
    }
}

fn descend<'a>(
    target: &'a mut Value,
    parts: &[String],
    path: &str,
) -> Result<&'a mut Value, PatchError> {
    let mut at = target;
    for part in parts {
        at = match at {
            Value::Object(map) => map.get_mut(part),
            Value::Array(items) => {
                let at = index(part, items.len(), path)?;
                items.get_mut(at)
            }
            _ => None,
        }
        .ok_or_else(|| missing(path))?;
    }
    Ok(at)
}

/// Whether a value at this place stays within the bound of nesting.
fn fits(parts: &[String], value: &Value) -> Result<(), PatchError> {
    match MAX_DEPTH.checked_sub(parts.len()) {
        Some(left) if !deeper_than(value, left) => Ok(()),
        _ => Err(PatchError::Inapplicable(format!(
            "the patched object would nest deeper than {MAX_DEPTH} levels"
        ))),
    }
}

fn add(target: &mut Value, path: &str, value: Value, spent: &mut Spent) -> Result<(), PatchError> {
    let parts = pointer(path)?;
    fits(&parts, &value)?;
    let (last, parents) = parts.split_last().ok_or_else(whole)?;
    match descend(target, parents, path)? {
        Value::Object(map) => {
            map.insert(last.clone(), value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            // There is one more place than there are items.
            let at = index(last, items.len() + 1, path)?;
            spent.work(items.len() - at)?;
            items.insert(at, value);
        }
        _ => return Err(missing(path)),
    }
    Ok(())
}

/// Puts a value where another is. A field need not be there, as with Kubernetes.
fn replace(target: &mut Value, path: &str, value: &Value) -> Result<(), PatchError> {
    let parts = pointer(path)?;
    fits(&parts, value)?;
    if let Some((last, parents)) = parts.split_last()
        && let Value::Object(map) = descend(target, parents, path)?
    {
        map.insert(last.clone(), value.clone());
    } else {
        *descend(target, &parts, path)? = value.clone();
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str, spent: &mut Spent) -> Result<Value, PatchError> {
    let parts = pointer(path)?;
    let (last, parents) = parts.split_last().ok_or_else(whole)?;
    match descend(target, parents, path)? {
        Value::Object(map) => map.remove(last).ok_or_else(|| missing(path)),
        Value::Array(items) => {
            let at = index(last, items.len(), path)?;
            spent.work(items.len() - at)?;
            Ok(items.remove(at))
        }
        _ => Err(missing(path)),
    }
}

/// About as many bytes as the value takes in JSON.
pub(crate) fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|v| size(v) + 1).sum::<usize>(),
        Value::Object(map) => {
            2 + map
                .iter()
                .map(|(k, v)| k.len() + 4 + size(v))
                .sum::<usize>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 5,
    }
}

/// Whether the value nests deeper than `limit`.
pub(crate) fn deeper_than(value: &Value, limit: usize) -> bool {
    match value {
        Value::Array(items) => limit == 0 || items.iter().any(|v| deeper_than(v, limit - 1)),
        Value::Object(map) => limit == 0 || map.values().any(|v| deeper_than(v, limit - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
#[path = "../tests/patch.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
