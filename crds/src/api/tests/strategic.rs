use serde_json::{Value, json};

use super::merge;
use crate::api::patch::PatchError;
use crate::api::types::Type;
use crate::structural::Schema;

/// A schema with every sort of list and map, as kinds of Kubernetes have them.
fn schema() -> Value {
    let string = || json!({"type": "string"});
    let list = |items: Value| {
        json!({
            "type": "array", "items": items,
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name",
        })
    };
    let env = json!({"type": "object", "properties": {"name": string(), "value": string()}});
    let container = json!({"type": "object", "properties": {
        "name": string(), "image": string(), "args": {"type": "array", "items": string()},
        "env": list(env),
    }});
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "containers": list(container),
        "names": {"type": "array", "items": string(), "x-kubernetes-patch-strategy": "merge"},
        "plain": {"type": "array", "items": string()},
        "replaced": {
            "type": "object", "x-kubernetes-patch-strategy": "replace",
            "properties": {"x": string(), "y": string()},
        },
        "strategy": {
            "type": "object", "x-kubernetes-patch-strategy": "retainKeys",
            "properties": {"type": string(), "rolling": {"type": "object"}},
        },
        "keyless": {
            "type": "array", "items": {"type": "object"}, "x-kubernetes-patch-strategy": "merge",
        },
    }}}})
}

fn patched(spec: &Value, patch: &Value) -> Result<Value, PatchError> {
    let mut object = json!({"spec": spec});
    merge(
        Type::Object(&Schema::compile(&schema())),
        &mut object,
        json!({"spec": patch}),
    )?;
    Ok(object["spec"].take())
}

#[test]
fn lists_and_maps_are_merged_as_the_schema_says() {
    let rows = [
        (
            "a field is set",
            json!({"a": 1}),
            json!({"b": 2}),
            json!({"a": 1, "b": 2}),
        ),
        (
            "null removes",
            json!({"a": 1, "b": 2}),
            json!({"a": null}),
            json!({"b": 2}),
        ),
        (
            "maps are merged",
            json!({"m": {"x": 1}}),
            json!({"m": {"y": 2}}),
            json!({"m": {"x": 1, "y": 2}}),
        ),
        (
            "a map of another type is replaced",
            json!({"m": "x"}),
            json!({"m": {"y": 2, "z": null}}),
            json!({"m": {"y": 2}}),
        ),
        (
            "a map that is to be replaced",
            json!({"replaced": {"x": "1"}}),
            json!({"replaced": {"y": "2"}}),
            json!({"replaced": {"y": "2"}}),
        ),
        (
            "$patch replaces a map",
            json!({"m": {"x": 1}}),
            json!({"m": {"$patch": "replace", "y": 2}}),
            json!({"m": {"y": 2}}),
        ),
        (
            "$patch empties a map",
            json!({"m": {"x": 1}}),
            json!({"m": {"$patch": "delete"}}),
            json!({"m": {}}),
        ),
        (
            "$patch for a map that is not there",
            json!({}),
            json!({"m": {"$patch": "delete"}}),
            json!({}),
        ),
        (
            "a plain list is replaced",
            json!({"plain": ["a", "b"]}),
            json!({"plain": ["c"]}),
            json!({"plain": ["c"]}),
        ),
        (
            "a set is united",
            json!({"names": ["a", "b"]}),
            json!({"names": ["b", "c"]}),
            json!({"names": ["a", "b", "c"]}),
        ),
        (
            "items of a set are removed",
            json!({"names": ["a", "b"]}),
            json!({"$deleteFromPrimitiveList/names": ["a"]}),
            json!({"names": ["b"]}),
        ),
        (
            "items of a plain list are removed",
            json!({"plain": ["a", "b"]}),
            json!({"$deleteFromPrimitiveList/plain": ["a"]}),
            json!({"plain": ["b"]}),
        ),
        (
            "nothing is removed from nothing",
            json!({}),
            json!({"$deleteFromPrimitiveList/names": ["a"]}),
            json!({}),
        ),
        (
            "a set is ordered",
            json!({"names": ["a", "b"]}),
            json!({"$setElementOrder/names": ["c", "b", "a"], "names": ["c"]}),
            json!({"names": ["c", "b", "a"]}),
        ),
        (
            "items are merged by their key",
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "image": "2"}]}),
            json!({"containers": [{"name": "a", "image": "2"}, {"name": "b"}]}),
        ),
        (
            "a new item comes first, where the patch gives no order",
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"name": "b", "image": null}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
        ),
        (
            "an item is deleted",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            "an item that is not there is deleted",
            json!({"containers": [{"name": "b"}]}),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            "a list is replaced",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
            json!({"containers": [{"name": "c"}]}),
        ),
        (
            "items are ordered, and those of others stay among them",
            json!({"containers": [{"name": "server"}, {"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "server"}, {"name": "b"}, {"name": "a"}]}),
        ),
        (
            "items are changed and ordered at once",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}],
                   "containers": [{"name": "c"}, {"name": "b", "image": "1"}]}),
            json!({"containers": [{"name": "c"}, {"name": "a"}, {"name": "b", "image": "1"}]}),
        ),
        (
            "lists within items are merged too",
            json!({"containers": [{"name": "a", "env": [{"name": "x", "value": "1"}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "y", "value": "2"}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "y", "value": "2"}, {"name": "x", "value": "1"}]}]}),
        ),
        (
            "$retainKeys drops the others",
            json!({"strategy": {"type": "Rolling", "rolling": {"n": 1}}}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            json!({"strategy": {"type": "Recreate"}}),
        ),
        (
            "a new list has no directives",
            json!({}),
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a"}, {"name": "b", "$patch": "delete"}]}),
            json!({"containers": [{"name": "a"}]}),
        ),
        (
            "stored duplicates are all kept",
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "a", "image": "2"}]}),
            json!({"containers": [{"name": "b"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a", "image": "1"}, {"name": "a", "image": "2"}]}),
        ),
    ];
    for (name, spec, patch, expected) in rows {
        assert_eq!(patched(&spec, &patch), Ok(expected), "{name}");
    }
}

#[test]
fn bad_patches_are_refused() {
    let malformed = |why: &str| PatchError::Malformed(why.to_owned());
    let inapplicable = |why: &str| PatchError::Inapplicable(why.to_owned());
    let rows = [
        (
            json!({"m": {"$patch": "merge"}}),
            malformed("unknown patch type: \"merge\" in map: {}"),
        ),
        (
            json!({"strategy": {"$retainKeys": ["type"], "rolling": {}}}),
            malformed("invalid patch format of retainKeys"),
        ),
        (
            json!({"strategy": {"$retainKeys": "type"}}),
            malformed("invalid patch format of retainKeys"),
        ),
        (
            json!({"$deleteFromPrimitiveList/names": "a"}),
            malformed("invalid patch format of primitive list"),
        ),
        (
            json!({"$setElementOrder/names": "a"}),
            malformed("invalid patch format of setElementOrder list"),
        ),
        (
            json!({"$setElementOrder/names": ["a"], "names": "a"}),
            malformed("invalid patch format of setElementOrder list"),
        ),
        (
            json!({"$setElementOrder/names": ["a", "b"], "names": ["b", "a"]}),
            inapplicable("The order in patch list doesn't match $setElementOrder list"),
        ),
        (
            json!({"containers": [{"image": "1"}]}),
            inapplicable("map: {\"image\":\"1\"} does not contain declared merge key: name"),
        ),
        (
            json!({"containers": [{"$patch": "delete"}]}),
            inapplicable("map: {\"$patch\":\"delete\"} does not contain declared merge key: name"),
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            malformed(
                "unknown patch type: \"merge\" in map: {\"$patch\":\"merge\",\"name\":\"a\"}",
            ),
        ),
        (
            json!({"keyless": [{"a": 1}]}),
            inapplicable("cannot merge lists without merge key"),
        ),
        (
            json!({"names": [["a"]]}),
            inapplicable("lists of lists are not supported"),
        ),
    ];
    let spec = json!({
        "containers": [{"name": "a"}], "names": ["a"], "keyless": [{}], "m": {}, "strategy": {},
    });
    for (patch, expected) in rows {
        assert_eq!(patched(&spec, &patch), Err(expected), "{patch}");
    }
    let mut object = json!({});
    let outcome = merge(
        Type::Object(&Schema::compile(&schema())),
        &mut object,
        json!([]),
    );
    assert_eq!(
        outcome,
        Err(malformed("a strategic merge patch is an object"))
    );
}

#[test]
fn metadata_is_merged_too() {
    let mut object = json!({"metadata": {
        "finalizers": ["a"], "ownerReferences": [{"uid": "1", "name": "x"}], "labels": {"k": "v"},
    }});
    let patch = json!({"metadata": {
        "finalizers": ["b"], "ownerReferences": [{"uid": "2"}, {"uid": "1", "$patch": "delete"}],
        "labels": {"k": null, "l": "w"},
    }});
    merge(
        Type::Object(&Schema::compile(&schema())),
        &mut object,
        patch,
    )
    .unwrap();
    let expected = json!({"metadata": {
        "finalizers": ["b", "a"], "ownerReferences": [{"uid": "2"}], "labels": {"l": "w"},
    }});
    assert_eq!(object, expected);
}
