use serde_json::json;

use super::Selector;
use crate::api::object::Object;
use crate::api::tests::support::kind;

#[test]
fn selectors_select_as_kubernetes_documents() {
    let object = Object::from_value(&json!({
        "metadata": {
            "name": "n", "namespace": "s", "resourceVersion": "1",
            "labels": {"env": "prod", "tier": "", "size": "5", "heddle.dev/a": "b"},
        },
    }))
    .unwrap();
    let kind = kind("Widget", "widgets", true);
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
        ("", "metadata.name==n,,metadata.name!=m", true),
        ("", r"metadata.name=a\,b\=c\\", false),
        ("env=prod", "metadata.name=other", false),
    ] {
        let selector = Selector::parse(&kind, labels, fields).unwrap();
        assert_eq!(selector.matches(&object), expected, "{labels:?} {fields:?}");
    }
    for labels in [
        "a in b", "a b", "=x", "a in (b", "a,,b", "a>x", "-a", "a=b c", "a=%",
    ] {
        assert!(Selector::parse(&kind, labels, "").is_err(), "{labels}");
    }
    for (fields, message) in [
        (
            "spec.x=1",
            r#""spec.x" is not a known field selector: only "metadata.name", "metadata.namespace""#,
        ),
        (
            "metadata.name",
            "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
        ),
        (
            "metadata.name=a=b",
            "invalid field selector: unescaped character in value: 61",
        ),
        (
            r"metadata.name=a\b",
            r"invalid field selector: invalid escape sequence: \b",
        ),
        (
            r"metadata.name=a\",
            r"invalid field selector: invalid escape sequence: \",
        ),
    ] {
        let refused = Selector::parse(&kind, "", fields).unwrap_err();
        assert_eq!(
            (refused.code.as_u16(), refused.message.as_str()),
            (400, message)
        );
    }
}
