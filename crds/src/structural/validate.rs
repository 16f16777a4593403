//! Holding an object against its schema: everything that is wrong, at once.
//!
//! The order of checks and their words are those of API servers, which name the place of most
//! faults twice: `spec.size: Invalid value: 0: spec.size in body should be greater than or equal
//! to 1`. Faults of combined schemas have no place there, which is written `<nil>`.

use std::fmt::Display;

use serde_json::{Map, Number, Value};

use super::prune::ENVELOPE;
use super::words::{Faults, Path};
use super::{Additional, Limits, Logic, Range, Schema, Type};

/// The place of faults that have none.
const NOWHERE: &str = "<nil>";
/// Items among which duplicates are looked for.
const MAX_UNIQUE: usize = 1_000;

impl Schema {
    /// Reports everything that is wrong with a whole object.
    pub(crate) fn validate(&self, object: &Value, faults: &mut Faults) {
        self.validate_but_lists(object, faults);
        self.check_lists(object, &Path::Root, faults);
        self.check_embedded(object, &Path::Root, faults);
    }

    /// [`Schema::validate`] for what may hold an item twice in lists of all types.
    pub(crate) fn validate_but_lists(&self, object: &Value, faults: &mut Faults) {
        validate(self, object, &Path::Root, faults);
    }

    /// Reports everything that is wrong with the value of one field of an object.
    pub(crate) fn validate_at(&self, value: &Value, field: &str, faults: &mut Faults) {
        let path = Path::Field(&Path::Root, field);
        validate(self, value, &path, faults);
        self.check_lists(value, &path, faults);
        self.check_embedded(value, &path, faults);
    }

    /// Reports embedded resources that do not say what they are.
    fn check_embedded(&self, value: &Value, path: &Path<'_>, faults: &mut Faults) {
        match value {
            Value::Object(fields) => {
                if self.embedded {
                    for name in ENVELOPE.into_iter().take(2) {
                        let text = fields.get(name).and_then(Value::as_str);
                        if text.unwrap_or_default().is_empty() {
                            faults.required(Path::Field(path, name), "must not be empty");
                        }
                    }
                }
                for (name, value) in fields {
                    if let Some(schema) = self.properties.get(name) {
                        schema.check_embedded(value, &Path::Field(path, name), faults);
                    } else if let Additional::Of(schema) = &self.additional {
                        schema.check_embedded(value, &Path::Key(path, name), faults);
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                for (at, item) in items.iter().enumerate() {
                    schema.check_embedded(item, &Path::Index(path, at), faults);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether a number is whole. JSON does not tell 1 from 1.0.
fn whole(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn has_type(value: &Value, wanted: Type) -> bool {
    match (wanted, value) {
        (Type::Object, Value::Object(_))
        | (Type::Array, Value::Array(_))
        | (Type::String, Value::String(_))
        | (Type::Boolean, Value::Bool(_))
        | (Type::Number, Value::Number(_)) => true,
        (Type::Integer, Value::Number(number)) => whole(number),
        _ => false,
    }
}

fn validate(schema: &Schema, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    if value.is_null() && schema.nullable {
        return;
    }
    let typed = if schema.int_or_string {
        let good = has_type(value, Type::Integer) || value.is_string();
        (!good).then_some("integer,string")
    } else {
        schema
            .kind
            .filter(|wanted| !has_type(value, *wanted))
            .map(Type::name)
    };
    if let Some(wanted) = typed {
        let found = type_of(value);
        let detail = format!("{path} in body must be of type {wanted}: {:?}", found);
        faults.wrong_type(path, found, detail);
        if let Some(limits) = schema.limits.as_ref().filter(|_| !value.is_null()) {
            choose(limits, value, path, faults);
        }
        return;
    }
    if let Some(logic) = &schema.logic {
        combine(logic, value, path, faults);
    }
    if let Some(limits) = &schema.limits {
        limit(limits, value, path, faults);
    }
    match value {
        Value::Object(fields) => object(schema, fields, path, faults),
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    validate(schema, item, &Path::Index(path, at), faults);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn object(schema: &Schema, fields: &Map<String, Value>, path: &Path<'_>, faults: &mut Faults) {
    for (name, value) in fields {
        if let Some(schema) = schema.properties.get(name) {
            validate(schema, value, &Path::Field(path, name), faults);
        } else if let Additional::Of(schema) = &schema.additional {
            validate(schema, value, &Path::Key(path, name), faults);
        }
    }
    for name in &schema.required {
        if !fields.contains_key(&**name) {
            faults.required(Path::Field(path, name), "");
        }
    }
}

/// The faults of a value under one schema of several.
fn alone(schema: &Schema, value: &Value, path: &Path<'_>) -> Faults {
    let mut faults = Faults::default();
    validate(schema, value, path, &mut faults);
    faults
}

fn combine(logic: &Logic, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut say = |text: String| faults.invalid(NOWHERE, &"".into(), text);
    let quoted = Value::from(path.to_string()).to_string();
    let mut best: Vec<Faults> = Vec::new();
    let nearest = |tried: Vec<Faults>| tried.into_iter().min_by_key(Faults::len);
    if !logic.any.is_empty() {
        let tried: Vec<_> = logic.any.iter().map(|s| alone(s, value, path)).collect();
        if tried.iter().all(|faults| !faults.is_empty()) {
            say(format!(
                "{quoted} must validate at least one schema (anyOf)"
            ));
            best.extend(nearest(tried));
        }
    }
    if !logic.one.is_empty() {
        let tried: Vec<_> = logic.one.iter().map(|s| alone(s, value, path)).collect();
        let fits = tried.iter().filter(|faults| faults.is_empty()).count();
        let found = match fits {
            1 => None,
            0 => Some("Found none valid".to_owned()),
            many => Some(format!("Found {many} valid alternatives")),
        };
        if let Some(found) = found {
            say(format!(
                "{quoted} must validate one and only one schema (oneOf). {found}"
            ));
            if fits == 0 {
                best.extend(nearest(tried));
            }
        }
    }
    if !logic.all.is_empty() {
        let tried: Vec<_> = logic.all.iter().map(|s| alone(s, value, path)).collect();
        let fits = tried.iter().filter(|faults| faults.is_empty()).count();
        if fits < tried.len() {
            let none = if fits == 0 { ". None validated" } else { "" };
            say(format!(
                "{quoted} must validate all the schemas (allOf){none}"
            ));
            best.extend(tried);
        }
    }
    if let Some(not) = &logic.not
        && alone(not, value, path).is_empty()
    {
        say(format!("{quoted} must not validate the schema (not)"));
    }
    for more in best {
        faults.append(more.into_vec());
    }
}

fn limit(limits: &Limits, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let should = |rest: &dyn Display| format!("{path} in body should {rest}");
    match value {
        Value::String(text) => {
            let length = text.chars().count() as u64;
            // Of these the first that does not hold is told.
            if limits.max_length.is_some_and(|most| length > most) {
                faults.too_long(path, limits.max_length.unwrap_or_default());
            } else if let Some(least) = limits.min_length.filter(|least| length < *least) {
                let rest = format_args!("be at least {least} chars long");
                faults.invalid(path, value, should(&rest));
            } else if let Some((pattern, regex)) = &limits.pattern
                && !regex.is_match(text)
            {
                let rest = format_args!("match '{pattern}'");
                faults.invalid(path, value, should(&rest));
            }
            if let Some(format) = limits.format
                && !format.fits(text)
            {
                let detail = format!("{path} in body must be of type {format}: {value}");
                faults.wrong_type(path, text, detail);
            }
        }
        Value::Number(number) => bounds(limits, value, number, path, faults),
        Value::Array(items) => count_items(limits, items, path, faults),
        Value::Object(fields) => {
            let count = fields.len() as u64;
            if let Some(least) = limits.min_properties.filter(|least| count < *least) {
                let rest = format_args!("have at least {least} properties");
                faults.invalid(path, &count.into(), should(&rest));
            }
            if let Some(most) = limits.max_properties.filter(|most| count > *most) {
                faults.too_many(path, fields.len(), most);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    choose(limits, value, path, faults);
}

/// Whether a value is one of those that there are, where they are told.
fn choose(limits: &Limits, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    if !limits.choices.is_empty() && !limits.choices.iter().any(|choice| same(choice, value)) {
        faults.unsupported(path, value, &limits.choices);
    }
}

/// Whether two values are equal, numbers by their value.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == std::cmp::Ordering::Equal,
        _ => a == b,
    }
}

fn compare(a: &Number, b: &Number) -> std::cmp::Ordering {
    let exact = |n: &Number| n.as_i128();
    match (exact(a), exact(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => {
            let real = |n: &Number| n.as_f64().unwrap_or_default();
            real(a).total_cmp(&real(b))
        }
    }
}

fn bounds(limits: &Limits, value: &Value, number: &Number, path: &Path<'_>, faults: &mut Faults) {
    use std::cmp::Ordering::{Equal, Greater, Less};
    if let Some(range) = limits.range.filter(|range| !range.has(number)) {
        let detail = format!("Checked value must be of type {range} in {path}");
        faults.invalid(NOWHERE, &"".into(), detail);
    }
    let mut say = |rest: String| faults.invalid(path, value, format!("{path} in body {rest}"));
    if let Some(most) = &limits.maximum {
        match (compare(number, most), limits.exclusive_maximum) {
            (Greater, false) => say(format!("should be less than or equal to {most}")),
            (Greater | Equal, true) => say(format!("should be less than {most}")),
            _ => {}
        }
    }
    if let Some(least) = &limits.minimum {
        match (compare(number, least), limits.exclusive_minimum) {
            (Less, false) => say(format!("should be greater than or equal to {least}")),
            (Less | Equal, true) => say(format!("should be greater than {least}")),
            _ => {}
        }
    }
    if let Some(factor) = limits.multiple_of
        && let Some(number) = number.as_f64()
        && factor > 0.0
    {
        let times = if factor < 1.0 {
            1.0 / factor * number
        } else {
            number / factor
        };
        if (times - times.round()).abs() > 1e-9 * times.abs().max(1.0) {
            say(format!("should be a multiple of {factor}"));
        }
    }
}

impl Range {
    fn has(self, number: &Number) -> bool {
        let real = number.as_f64().unwrap_or_default();
        match self {
            Self::Int32 => real >= f64::from(i32::MIN) && real <= f64::from(i32::MAX),
            // Beyond 2^53 a fraction cannot tell; a whole number that is written as one can.
            Self::Int64 => number.is_i64() || number.is_f64() && real.abs() < 2f64.powi(63),
            Self::Float => real.abs() <= f64::from(f32::MAX),
        }
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Int32 => "integer with format int32",
            Self::Int64 => "integer with format int64",
            Self::Float => "number with format float",
        })
    }
}

fn count_items(limits: &Limits, items: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let count = items.len() as u64;
    if let Some(least) = limits.min_items.filter(|least| count < *least) {
        let detail = format!("{path} in body should have at least {least} items");
        faults.invalid(path, &count.into(), detail);
    }
    if let Some(most) = limits.max_items.filter(|most| count > *most) {
        faults.too_many(path, items.len(), most);
    }
    let mut seen = items.iter().take(MAX_UNIQUE).enumerate();
    if limits.unique && seen.any(|(at, item)| items.iter().take(at).any(|other| other == item)) {
        let detail = format!("{path} in body shouldn't contain duplicates");
        faults.invalid(path, &"".into(), detail);
    }
}
