//! `x-kubernetes-validations`: rules in the Common Expression Language.
//!
//! The language, its Kubernetes functions and the conversion of values are the library's
//! (`kube-cel`). What is ours: rules are evaluated only where a schema has some, an item of a list
//! that is a map is compared with the old item of the same key, and everything is bounded. The
//! library has no budget, so one is kept for it: a rule's work is at most its size times, for each
//! level of nested loops, the longest list that it can meet. A rule whose work would exceed
//! [`MAX_WORK`] is not run and counts as broken, as in Kubernetes a rule over its cost.
//!
//! What the library misses is refused when a definition is installed ([`check`]), never ignored:
//! functions that it does not know (`cel.bind`, `sortBy`, two-variable loops, the authorizer), and
//! `lists.range`, which makes lists that no bound holds. It does not check types: a rule that names
//! a field the schema lacks is found out when it is evaluated, and the object is refused.

use std::collections::BTreeMap;

use kube_cel::cel::Program;
use kube_cel::cel::common::ast::{EntryExpr, Expr};
use kube_cel::{CompiledSchema, ErrorKind, compile_schema, validate_compiled};
use serde_json::{Map, Value};

use super::MAX_DEPTH;
use super::compile::texts;
use super::lists::key_of;
use super::words::{Faults, Path};

/// The keyword.
pub(crate) const KEYWORD: &str = "x-kubernetes-validations";
/// Steps that one rule may take on one value.
const MAX_WORK: u64 = 1_000_000;
/// Bytes of one expression.
const MAX_EXPRESSION: usize = 10 * 1024;
/// Functions that exist, without the name before their last dot.
const FUNCTIONS: &str = " add all asApproximateFloat asInteger decode encode bool bytes charAt cidr \
    compareTo contains containsCIDR containsIP distinct double duration dyn endsWith exists \
    exists_one family filter find findAll first flatten format byte date datetime dns1035Label \
    dns1035LabelPrefix dns1123Label dns1123LabelPrefix dns1123Subdomain dns1123SubdomainPrefix \
    labelValue named qualifiedName uri uuid getDate getDayOfMonth getDayOfWeek getDayOfYear \
    getEscapedPath getFullYear getHost getHostname getHours getMilliseconds getMinutes getMonth \
    getPort getQuery getScheme getSeconds has hasValue indexOf int ip isCanonical isCIDR isCIDRv4 \
    isCIDRv6 isGlobalUnicast isGreaterThan isIP isIPv4 isIPv6 isInteger isLessThan \
    isLinkLocalMulticast isLinkLocalUnicast isLoopback isQuantity isSemver isSorted isURL \
    isUnspecified join escapeKey last lastIndexOf lowerAscii major map masked matches abs bitAnd \
    bitNot bitOr bitShiftLeft bitShiftRight bitXor ceil floor greatest isFinite isInf isNaN least \
    round sign sqrt trunc max min minor none of or orValue patch prefixLength quantity replace \
    reverse semver equivalent intersects size slice sort split startsWith string quote sub \
    substring sum timestamp trim type uint upperAscii url validate value ";
/// Names before the dot of a function, and names of types.
const NAMES: &str = " self oldSelf sets math base64 lists optional format ip cidr strings jsonpatch \
    int uint double bool string bytes list map null_type type google timestamp duration quantity ";

fn listed(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == name)
}

/// The rules of a schema, at the places where it has some.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    here: Option<Here>,
    properties: BTreeMap<String, Self>,
    values: Option<Box<Self>>,
    items: Option<Box<Self>>,
    /// The fields that name an item, where the list is a map.
    keys: Box<[Box<str>]>,
}

/// The rules of one place.
#[derive(Debug)]
struct Here {
    schema: CompiledSchema,
    work: Vec<Work>,
}

/// How much a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    /// Nodes of its expressions.
    size: u64,
    /// Levels of loops in each other.
    loops: u32,
    /// Whether it can make a list of a text.
    splits: bool,
}

impl Rules {
    /// Compiles the rules of a schema; nothing where it has none.
    pub(crate) fn compile(schema: &Value) -> Option<Self> {
        compile(schema, 0)
    }

    /// Reports the rules that an object breaks. `old` is the stored object on an update.
    pub(crate) fn evaluate(&self, object: &Value, old: Option<&Value>, faults: &mut Faults) {
        evaluate(self, object, old, &Path::Root, faults);
    }
}

fn compile(schema: &Value, depth: usize) -> Option<Rules> {
    let fields = schema.as_object().filter(|_| depth <= MAX_DEPTH)?;
    let inner = |name: &str| {
        let schema = fields.get(name)?;
        compile(schema, depth + 1).map(Box::new)
    };
    let properties = fields.get("properties").and_then(Value::as_object);
    let rules = Rules {
        here: here(fields),
        properties: properties
            .into_iter()
            .flatten()
            .filter_map(|(name, schema)| Some((name.clone(), compile(schema, depth + 1)?)))
            .collect(),
        values: inner("additionalProperties"),
        items: inner("items"),
        keys: texts(fields, "x-kubernetes-list-map-keys"),
    };
    let some = rules.here.is_some()
        || !rules.properties.is_empty()
        || rules.values.is_some()
        || rules.items.is_some();
    some.then_some(rules)
}

fn here(fields: &Map<String, Value>) -> Option<Here> {
    let rules = fields.get(KEYWORD)?.as_array()?;
    let mut schema = shape(&Value::Object(fields.clone()), 0);
    schema[KEYWORD] = Value::Array(rules.clone());
    let work = rules.iter().map(|rule| {
        let texts = ["rule", "messageExpression"].map(|name| rule[name].as_str());
        let mut work = Work::default();
        for text in texts.into_iter().flatten() {
            if let Ok(program) = Program::compile(text) {
                measure(&program.expression().expr, 0, &mut work);
            }
        }
        work
    });
    Some(Here {
        work: work.collect(),
        schema: compile_schema(&schema),
    })
}

/// What the library needs of a schema to convert values: types, formats, and names.
fn shape(schema: &Value, depth: usize) -> Value {
    let mut kept = Map::new();
    for name in [
        "type",
        "format",
        "nullable",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
    ] {
        if let Some(value) = schema.get(name) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    if depth <= MAX_DEPTH {
        for name in ["items", "additionalProperties"] {
            match schema.get(name) {
                Some(inner @ Value::Object(_)) => {
                    kept.insert(name.to_owned(), shape(inner, depth + 1));
                }
                Some(flag @ Value::Bool(_)) => {
                    kept.insert(name.to_owned(), flag.clone());
                }
                _ => {}
            }
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let properties: Map<_, _> = properties
                .iter()
                .map(|(name, schema)| (name.clone(), shape(schema, depth + 1)))
                .collect();
            kept.insert("properties".to_owned(), Value::Object(properties));
        }
    }
    Value::Object(kept)
}

fn evaluate(
    rules: &Rules,
    value: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    faults: &mut Faults,
) {
    if let Some(here) = &rules.here
        && !value.is_null()
    {
        run(here, value, old, path, faults);
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let old = old.and_then(|old| old.get(name));
                if let Some(rules) = rules.properties.get(name) {
                    evaluate(rules, value, old, &Path::Field(path, name), faults);
                } else if let Some(rules) = &rules.values {
                    evaluate(rules, value, old, &Path::Key(path, name), faults);
                }
            }
        }
        Value::Array(items) => {
            let Some(inner) = &rules.items else { return };
            let before = old
                .and_then(Value::as_array)
                .filter(|_| !rules.keys.is_empty());
            let by_key: BTreeMap<String, &Value> = before
                .into_iter()
                .flatten()
                .map(|item| (key_of(item, &rules.keys).to_string(), item))
                .collect();
            for (at, item) in items.iter().enumerate() {
                let old = by_key.get(&key_of(item, &rules.keys).to_string()).copied();
                evaluate(inner, item, old, &Path::Index(path, at), faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn run(here: &Here, value: &Value, old: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    let mut extent = Extent::default();
    extent.measure(value);
    if let Some(old) = old {
        extent.measure(old);
    }
    if here.work.iter().any(|work| extent.work(*work) > MAX_WORK) {
        let detail = "validation rules would take more steps than are allowed for one value; \
                      make its lists and texts shorter";
        faults.other("FieldValueInvalid", path, detail);
        return;
    }
    let Err(broken) = validate_compiled(&here.schema, value, old) else {
        return;
    };
    for error in broken.into_vec() {
        let field = match (path, error.field_path.trim_start_matches('.')) {
            (_, "") => path.to_string(),
            (Path::Root, inner) => inner.to_owned(),
            (_, inner) => format!("{path}.{inner}"),
        };
        let reason = error
            .reason
            .as_deref()
            .filter(|_| error.kind == ErrorKind::ValidationFailure);
        // What is put together is not shown.
        let plain = !value.is_object() && !value.is_array();
        match reason {
            Some("FieldValueRequired") => faults.required(field, &error.message),
            Some("FieldValueForbidden") => faults.forbidden(field, error.message),
            Some("FieldValueDuplicate") if plain => faults.duplicate(field, value),
            Some("FieldValueDuplicate") => faults.other("FieldValueDuplicate", field, ""),
            _ if plain => faults.invalid(field, value, error.message),
            _ => faults.other("FieldValueInvalid", field, error.message),
        }
    }
}

/// The longest list and the longest text of a value.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    list: u64,
    text: u64,
}

impl Extent {
    fn measure(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                self.list = self.list.max(fields.len() as u64);
                fields.values().for_each(|value| self.measure(value));
            }
            Value::Array(items) => {
                self.list = self.list.max(items.len() as u64);
                items.iter().for_each(|value| self.measure(value));
            }
            Value::String(text) => self.text = self.text.max(text.len() as u64),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn work(self, work: Work) -> u64 {
        let longest = if work.splits {
            self.list.max(self.text)
        } else {
            self.list
        };
        // A literal list in the rule may be longer than those of the value.
        let longest = longest.max(work.size.min(64)).max(1);
        let rounds = longest.checked_pow(work.loops).unwrap_or(u64::MAX);
        rounds.saturating_mul(work.size)
    }
}

fn measure(expr: &Expr, loops: u32, work: &mut Work) {
    work.size += 1;
    work.loops = work.loops.max(loops);
    if let Expr::Call(call) = expr {
        work.splits |= ["split", "findAll"].contains(&call.func_name.as_str());
    }
    each(expr, &mut |inner, looped| {
        measure(inner, loops + u32::from(looped), work)
    });
}

/// Calls `visit` for every part of an expression, and says whether it is inside a loop of it.
fn each(expr: &Expr, visit: &mut dyn FnMut(&Expr, bool)) {
    match expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => {
            for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                visit(&part.expr, false);
            }
        }
        Expr::Comprehension(all) => {
            for part in [&all.iter_range, &all.accu_init, &all.result] {
                visit(&part.expr, false);
            }
            for part in [&all.loop_cond, &all.loop_step] {
                visit(&part.expr, true);
            }
        }
        Expr::List(list) => list
            .elements
            .iter()
            .for_each(|part| visit(&part.expr, false)),
        Expr::Map(map) => map
            .entries
            .iter()
            .for_each(|entry| pair(&entry.expr, visit)),
        Expr::Struct(fields) => fields
            .entries
            .iter()
            .for_each(|entry| pair(&entry.expr, visit)),
        Expr::Select(select) => visit(&select.operand.expr, false),
    }
}

fn pair(entry: &EntryExpr, visit: &mut dyn FnMut(&Expr, bool)) {
    match entry {
        EntryExpr::StructField(field) => visit(&field.value.expr, false),
        EntryExpr::MapEntry(entry) => {
            visit(&entry.key.expr, false);
            visit(&entry.value.expr, false);
        }
    }
}

/// Whether an expression can be evaluated here. Says whether it speaks of `oldSelf`.
pub(crate) fn check(text: &str) -> Result<bool, String> {
    if text.len() > MAX_EXPRESSION {
        return Err(format!(
            "an expression may have at most {MAX_EXPRESSION} bytes"
        ));
    }
    let program = Program::compile(text).map_err(|error| {
        let error = error.to_string();
        format!("compilation failed: {}", error.trim())
    })?;
    let expression = &program.expression().expr;
    let mut old = false;
    names(expression, &mut Vec::new(), &mut old)?;
    let mut work = Work::default();
    measure(expression, 0, &mut work);
    let least = Extent { list: 2, text: 2 };
    if least.work(work) > MAX_WORK {
        return Err("the rule takes more steps than are allowed for one value".to_owned());
    }
    Ok(old)
}

fn names(expr: &Expr, bound: &mut Vec<String>, old: &mut bool) -> Result<(), String> {
    match expr {
        Expr::Ident(name) => {
            *old |= name == "oldSelf";
            if !bound.contains(name) && !listed(NAMES, name) {
                return Err(format!(
                    "compilation failed: undeclared reference to '{name}' (in container '')"
                ));
            }
        }
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            let operator = name.starts_with(['_', '@', '!', '-']);
            let last = name.rsplit('.').next().unwrap_or_default();
            if !operator && (last == "range" || !listed(FUNCTIONS, last)) {
                return Err(format!(
                    "compilation failed: undeclared reference to '{name}' (in container ''): this \
                     API server does not have the function"
                ));
            }
        }
        _ => {}
    }
    let before = bound.len();
    if let Expr::Comprehension(all) = expr {
        bound.push(all.iter_var.clone());
        bound.push(all.accu_var.clone());
        bound.extend(all.iter_var2.clone());
    }
    let mut outcome = Ok(());
    each(expr, &mut |inner, _| {
        if outcome.is_ok() {
            outcome = names(inner, bound, old);
        }
    });
    bound.truncate(before);
    outcome
}
