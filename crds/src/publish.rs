//! Makes of a derived schema the one that is installed and served.

use serde_json::{Value, json};

/// Makes a derived schema one that API servers and other clients of Knative's kinds expect.
///
/// What Rust says with `Option` is said by a field not being required, so `nullable` goes; default
/// values are those of Rust's types and not the API's, so they go as well. Descriptions lose the
/// line breaks of the sources, as whoever shows them breaks lines itself. `spec` gets the default
/// `{}`: it may be left out, and objects read from any API server have it, as typed clients need.
pub(crate) fn publish(schema: &mut Value) {
    strip(schema);
    if let Some(root) = schema.as_object_mut() {
        root.remove("required");
        root.remove("title");
    }
    if let Some(spec) = schema
        .pointer_mut("/properties/spec")
        .and_then(Value::as_object_mut)
    {
        spec.insert("default".to_owned(), json!({}));
    }
}

fn strip(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    fields.remove("nullable");
    fields.remove("default");
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = flowing(text);
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(strip);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(nested) {
            strip(schema);
        }
    }
}

/// The text with each paragraph on one line. Items of lists keep their own.
fn flowing(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines().map(str::trim) {
        let apart = line.is_empty() || line.starts_with("- ") || line.starts_with("* ");
        if !out.is_empty() {
            out.push(if apart || out.ends_with('\n') {
                '\n'
            } else {
                ' '
            });
        }
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_a_line_for_each_paragraph_and_item() {
        let text = "One\n  and two.\n\nThree\nfour:\n- five\n  six\n- seven";
        let want = "One and two.\n\nThree four:\n- five six\n- seven";
        assert_eq!(flowing(text), want);
        assert_eq!(flowing(want), want, "and no change the second time");
        let mut schema = json!({
            "properties": {"description": {"type": "string", "description": "a\nb"}},
            "items": {"description": "c\nd"},
        });
        publish(&mut schema);
        assert_eq!(schema["properties"]["description"]["description"], "a b");
        assert_eq!(schema["items"]["description"], "c d");
    }
}
