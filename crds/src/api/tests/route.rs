use super::{Query, Route, route};
use crate::api::registry::Registry;
use crate::api::tests::support::kinds;

#[test]
fn paths_are_told_apart() {
    let registry = Registry::new(kinds()).unwrap();
    let find = |path: &str| route(&registry, path).ok();
    let object = |kind: usize, namespace: &str, name: &str, status: bool| {
        Some(Route::Object {
            kind: registry.ids().nth(kind).unwrap(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            status,
        })
    };
    let all = |kind: usize, namespace: Option<&str>| {
        Some(Route::Collection {
            kind: registry.ids().nth(kind).unwrap(),
            namespace: namespace.map(str::to_owned),
        })
    };
    assert_eq!(find("/apis/test.heddle.dev/v1/widgets"), all(0, None));
    assert_eq!(
        find("/apis/test.heddle.dev/v1/namespaces/x/widgets"),
        all(0, Some("x"))
    );
    assert_eq!(
        find("/apis/test.heddle.dev/v1/namespaces/x/widgets/y/status"),
        object(0, "x", "y", true)
    );
    assert_eq!(
        find("/apis/test.heddle.dev/v1/globes/g/status"),
        object(2, "", "g", true)
    );
    assert_eq!(find("/api/v1/namespaces/x"), object(3, "", "x", false));
    assert_eq!(
        find("/api/v1/namespaces/x/status"),
        object(3, "", "x", true)
    );
    assert_eq!(
        find("/api/v1/namespaces/x/configmaps/a%2eb"),
        object(4, "x", "a.b", false)
    );
    for wrong in [
        "/",
        "/apis/test.heddle.dev/v1/widgets/y",
        "/apis/test.heddle.dev/v1/namespaces/x/globes",
        "/api/v1/namespaces/x/configmaps/a/status",
        "/apis/test.heddle.dev/v1/namespaces/x/widgets/y/status/z",
    ] {
        assert_eq!(find(wrong), None, "{wrong}");
    }
}

#[test]
fn queries_are_decoded() {
    let query = Query::parse("a=1&b=x%3Dy+z&a=2&c&d=").unwrap();
    assert_eq!((query.get("a"), query.get("b")), (Some("2"), Some("x=y z")));
    assert_eq!((query.get("c"), query.get("d")), (None, None));
    assert!(Query::parse("a=%f").is_err());
}
