use serde_json::{Value, json};

use super::{MAX_OPERATIONS, PatchError, apply, merge};

/// The test cases of RFC 7396, appendix A.
#[test]
fn merge_patches_do_as_the_rfc_says() {
    for (target, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": "b"}),
            json!({"b": "c"}),
            json!({"a": "b", "b": "c"}),
        ),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (
            json!({"a": "b", "b": "c"}),
            json!({"a": null}),
            json!({"b": "c"}),
        ),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (
            json!({"a": [{"b": "c"}]}),
            json!({"a": [1]}),
            json!({"a": [1]}),
        ),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (
            json!({"e": null}),
            json!({"a": 1}),
            json!({"e": null, "a": 1}),
        ),
        (
            json!([1, 2]),
            json!({"a": "b", "c": null}),
            json!({"a": "b"}),
        ),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
    ] {
        let mut patched = target.clone();
        merge(&mut patched, patch.clone());
        assert_eq!(patched, expected, "{target} + {patch}");
    }
}

fn patched(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let mut target = target.clone();
    apply(&mut target, patch).map(|()| target)
}

#[allow(clippy::needless_pass_by_value)] // Reads better with `json!`.
fn op(op: &str, path: &str, value: Value) -> Value {
    json!([{"op": op, "path": path, "value": value}])
}

fn from(op: &str, from: &str, path: &str) -> Value {
    json!([{"op": op, "from": from, "path": path}])
}

/// The cases of RFC 6902, appendix A, and those around them.
#[test]
fn json_patches_do_as_the_rfc_says() {
    for (target, patch, expected) in [
        (
            json!({"foo": 1}),
            op("add", "/baz", json!(2)),
            json!({"foo": 1, "baz": 2}),
        ),
        (
            json!({"foo": [1, 3]}),
            op("add", "/foo/1", json!(2)),
            json!({"foo": [1, 2, 3]}),
        ),
        (
            json!({"foo": [1]}),
            op("add", "/foo/-", json!([2])),
            json!({"foo": [1, [2]]}),
        ),
        (
            json!({"foo": [1]}),
            op("add", "/foo/1", json!(2)),
            json!({"foo": [1, 2]}),
        ),
        (
            json!({"foo": null}),
            op("add", "/foo", json!(1)),
            json!({"foo": 1}),
        ),
        (
            json!({"a": 1, "b": 2}),
            op("remove", "/a", json!(0)),
            json!({"b": 2}),
        ),
        (
            json!({"a": [1, 2]}),
            op("remove", "/a/0", json!(0)),
            json!({"a": [2]}),
        ),
        (
            json!({"a": 1}),
            op("replace", "/a", json!(2)),
            json!({"a": 2}),
        ),
        (
            json!({"a~/b": 1}),
            op("replace", "/a~0~1b", json!(2)),
            json!({"a~/b": 2}),
        ),
        (
            json!({"a": {"b": 1}, "c": {}}),
            from("move", "/a/b", "/c/d"),
            json!({"a": {}, "c": {"d": 1}}),
        ),
        (
            json!({"a": [1, 2, 3]}),
            from("move", "/a/0", "/a/2"),
            json!({"a": [2, 3, 1]}),
        ),
        (
            json!({"a": 1}),
            from("copy", "/a", "/b"),
            json!({"a": 1, "b": 1}),
        ),
        (
            json!({"a": 10}),
            op("test", "/a", json!(10.0)),
            json!({"a": 10}),
        ),
    ] {
        assert_eq!(patched(&target, &patch), Ok(expected), "{target} + {patch}");
    }
}

/// Where Kubernetes takes more than the RFC.
#[test]
fn json_patches_are_taken_as_kubernetes_takes_them() {
    let list = || json!({"a": [1, 2]});
    for (target, patch, expected) in [
        (json!({}), op("test", "/a", json!(null)), json!({})),
        (json!({}), json!([{"op": "test", "path": "/a"}]), json!({})),
        (
            json!({}),
            json!([{"op": "add", "path": "/a"}]),
            json!({"a": null}),
        ),
        (json!({}), op("replace", "/a", json!(2)), json!({"a": 2})),
        (json!({"a": 1}), op("replace", "", json!({})), json!({})),
        (
            list(),
            op("add", "/a/-1", json!(3)),
            json!({"a": [1, 2, 3]}),
        ),
        (
            list(),
            op("add", "/a/-3", json!(3)),
            json!({"a": [3, 1, 2]}),
        ),
        (list(), op("remove", "/a/-2", json!(0)), json!({"a": [2]})),
        (
            list(),
            op("replace", "/a/01", json!(3)),
            json!({"a": [1, 3]}),
        ),
    ] {
        assert_eq!(patched(&target, &patch), Ok(expected), "{target} + {patch}");
    }
}

#[test]
fn json_patches_that_do_not_fit_are_refused() {
    for (target, patch) in [
        (json!({"foo": 1}), op("add", "/baz/bat", json!(2))),
        (json!({"foo": [1]}), op("add", "/foo/2", json!(2))),
        (json!({"foo": [1]}), op("add", "/foo/-3", json!(2))),
        (json!({"foo": [1]}), op("add", "/foo/1e0", json!(2))),
        (json!({"foo": [1]}), op("replace", "/foo/1", json!(2))),
        (json!({"foo": 1}), op("add", "", json!(2))),
        (json!({"foo": 1}), op("remove", "", json!(2))),
        (json!({"foo": 1}), op("burn", "/foo", json!(2))),
        (json!({"foo": 1}), op("add", "foo", json!(2))),
        (json!({"foo": 1}), op("replace", "/bar/baz", json!(2))),
        (json!({"foo": 1}), json!([null])),
        (json!({"foo": 1}), json!([{}])),
        (json!({"foo": 1}), json!([{"op": null, "path": "/foo"}])),
        (json!({"foo": 1}), json!([{"op": "add", "value": 1}])),
        (json!({"foo": 1}), json!([{"op": "copy", "path": "/a"}])),
        (json!({"foo": [1]}), op("remove", "/foo/-", json!(2))),
        (json!({"foo": 1}), op("remove", "/bar", json!(2))),
        (json!({"foo": "10"}), op("test", "/foo", json!(10))),
        (json!({"foo": 1}), op("test", "/bar", json!(2))),
        (json!({"foo": 1}), op("test", "/bar/baz", json!(null))),
        (json!({"foo": [1]}), op("test", "/foo/1", json!(null))),
        (json!({"a": {"b": 1}}), from("move", "/a", "/a/b")),
    ] {
        let error = patched(&target, &patch).unwrap_err();
        assert!(
            matches!(error, PatchError::Inapplicable(_)),
            "{target} + {patch}: {error}"
        );
    }
}

#[test]
fn malformed_json_patches_are_refused() {
    for patch in [
        json!({}),
        json!(null),
        json!(["add"]),
        json!([[]]),
        json!([{"op": 1, "path": "/a"}]),
        json!([{"op": "add", "path": 1}]),
        // Before anything of it is done.
        json!([{"op": "burn", "path": "/a"}, {"op": "copy", "from": 1, "path": "/a"}]),
    ] {
        let error = patched(&json!({}), &patch).unwrap_err();
        assert!(
            matches!(error, PatchError::Malformed(_)),
            "{patch}: {error}"
        );
    }
    let many = vec![json!({"op": "test", "path": "", "value": {}}); MAX_OPERATIONS + 1];
    assert!(matches!(
        patched(&json!({}), &Value::from(many)),
        Err(PatchError::TooMuch(_))
    ));
}

/// None of these may nest without bound, run out of stack or take long.
#[test]
fn hostile_patches_are_bounded() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({"a": inner}));
    let path = |levels: usize| "/a".repeat(levels);
    let nest: Vec<Value> = (0..200)
        .map(|n| json!({"op": "add", "path": path(n * 90), "value": deep(90)}))
        .collect();
    assert!(matches!(
        patched(&json!({}), &Value::from(nest)),
        Err(PatchError::Inapplicable(_))
    ));
    let onto = json!([
        {"op": "add", "path": "/b", "value": deep(60)},
        {"op": "add", "path": "/a", "value": deep(60)},
        {"op": "move", "from": "/b", "path": format!("{}/b", path(59))},
    ]);
    assert!(matches!(
        patched(&json!({}), &onto),
        Err(PatchError::Inapplicable(_))
    ));
    let long = json!({"a": vec![0; 1_000_000]});
    let front = vec![json!({"op": "add", "path": "/a/0", "value": 0}); MAX_OPERATIONS];
    assert!(matches!(
        patched(&long, &Value::from(front)),
        Err(PatchError::TooMuch(_))
    ));
}
