//! What one more object keeps in memory. There may be ten thousand.

use serde_json::json;

use super::support::{fixture, widget, widgets};
use crate::api::object::Object;

#[tokio::test]
async fn an_object_takes_less_than_its_own_text() {
    let fixture = fixture();
    let api = widgets(&fixture.api.client());
    let mut values = Vec::new();
    for name in ["a", "b"] {
        let mut object = widget(name, json!({"text": "x"}));
        object.metadata.labels = Some([("app".to_owned(), "test".to_owned())].into());
        let stored = api.create(&Default::default(), &object).await.unwrap();
        let mut value = serde_json::to_value(&stored).unwrap();
        // A kind that no other test packs by.
        value["kind"] = json!("Remembered");
        values.push(value);
    }
    let before = Object::from_value(&values[0]).unwrap();
    let mut object = None;
    let kept =
        allocation_counter::measure(|| object = Some(Object::from_value(&values[1]).unwrap()));
    let object = object.unwrap();
    let mut alone = values[1].clone();
    for entry in alone["metadata"]["managedFields"].as_array_mut().unwrap() {
        assert!(entry["fieldsV1"].to_string().len() > 64, "{entry}");
        entry["fieldsV1"] = json!(0);
    }
    let own = alone.to_string().len() as i64;
    println!("{} bytes for {own} of its own", kept.bytes_current);
    assert!(kept.bytes_current < own, "{} bytes", kept.bytes_current);
    assert_eq!(object.json().len(), before.json().len());
}
