use serde_json::json;

use super::Selector;
use crate::api::object::Object;

#[test]
fn selectors_select_as_kubernetes_documents() {
    let object = Object::from_value(&json!({
        "metadata": {
            "name": "n", "namespace": "s", "resourceVersion": "1",
            "labels": {"env": "prod", "tier": "", "size": "5", "heddle.dev/a": "b"},
        },
    }))
    .unwrap();
    for (labels, fields, expected) in [
        ("", "", true),
        ("env=prod", "", true),
        ("env==prod,tier", "", true),
        ("env = prod , heddle.dev/a = b", "", true),
        ("env!=prod", "", false),
        ("missing!=x", "", true),
        ("!env", "", false),
        ("!missing", "", true),
        ("env in (dev, prod)", "", true),
        ("env in (dev)", "", false),
        ("env notin (dev),size>4", "", true),
        ("missing notin (x)", "", true),
        ("size<5", "", false),
        ("tier=", "", true),
        ("", "metadata.name=n,metadata.namespace=s", true),
        ("", "metadata.name!=n", false),
        ("env=prod", "metadata.name=other", false),
    ] {
        let selector = Selector::parse(labels, fields).unwrap();
        assert_eq!(selector.matches(&object), expected, "{labels:?} {fields:?}");
    }
    for labels in [
        "a in b", "a b", "=x", "a in (b", "a,,b", "a>x", "-a", "a=b c", "a=%",
    ] {
        assert!(Selector::parse(labels, "").is_err(), "{labels}");
    }
    assert!(Selector::parse("", "spec.x=1").is_err());
    assert!(Selector::parse("", "metadata.name").is_err());
}
