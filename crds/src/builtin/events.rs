//! Events: one stored kind under two names.
//!
//! `v1` and `events.k8s.io/v1` say the same in different fields. They are stored as `v1`.

use serde_json::Value;

/// The group of the newer form.
pub(super) const GROUP: &str = "events.k8s.io";

/// A field of `v1`, and the same in `events.k8s.io/v1`.
const FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Turns an event into its other form. Both are called `v1`, so its group tells which it is.
pub(super) fn convert(object: &mut Value, _: &str, _: &str) -> Result<(), String> {
    let core = object["apiVersion"] == "v1";
    let Some(fields) = object.as_object_mut() else {
        return Err("it is not an object".to_owned());
    };
    for (ours, theirs) in FIELDS {
        let (from, to) = if core { (ours, theirs) } else { (theirs, ours) };
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
    Ok(())
}
