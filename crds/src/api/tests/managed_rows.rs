//! What applies and updates lead to: the specification, and who owns what of it.

use serde_json::{Value, json};

/// One write of a specification.
pub(super) enum Step {
    Apply(&'static str, Value),
    Force(&'static str, Value),
    Update(&'static str, Value),
}

/// What the steps lead to.
#[derive(Debug, PartialEq)]
pub(super) enum Expected {
    Object(Value, Vec<String>),
    Refused(Vec<String>),
}

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) steps: Vec<Step>,
    pub(super) expected: Expected,
    /// Why a kube-apiserver does something else, if it does.
    pub(super) differs: Option<&'static str>,
}

impl Row {
    fn differs(self, why: &'static str) -> Self {
        Self {
            differs: Some(why),
            ..self
        }
    }
}

use Step::{Apply, Force, Update};

fn row(name: &'static str, steps: Vec<Step>, spec: Value, owners: &[&str]) -> Row {
    let owners = owners.iter().map(|line| (*line).to_owned()).collect();
    Row {
        name,
        steps,
        expected: Expected::Object(spec, owners),
        differs: None,
    }
}

fn refused(name: &'static str, steps: Vec<Step>, lines: &[&str]) -> Row {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    Row {
        name,
        steps,
        expected: Expected::Refused(lines),
        differs: None,
    }
}

pub(super) fn rows() -> Vec<Row> {
    let mut all = fields();
    all.extend(sharing());
    all.extend(maps());
    all.extend(lists());
    all.extend(map_lists());
    let refused = "its validation refuses what is stored here already";
    all.extend(duplicates().into_iter().map(|row| row.differs(refused)));
    all.extend(mistakes());
    all
}

const V: &str = "test.heddle.dev/v1";

fn using(name: &str, path: &str) -> String {
    format!("\"{name}\" using {V} {path}")
}

fn fields() -> Vec<Row> {
    vec![
        row(
            "an apply makes an object",
            vec![Apply("a", json!({"a": 1}))],
            json!({"a": 1}),
            &["a: .spec.a"],
        ),
        row(
            "an update makes an object and owns what is around fields",
            vec![Update("u", json!({"a": 1, "pair": {"x": 1}}))],
            json!({"a": 1, "pair": {"x": 1}}),
            &["u*: .spec .spec.a .spec.pair .spec.pair.x"],
        ),
        row(
            "what is no longer applied goes",
            vec![
                Apply("a", json!({"a": 1, "b": 1})),
                Apply("a", json!({"a": 1})),
            ],
            json!({"a": 1}),
            &["a: .spec.a"],
        ),
        row(
            "a value of one's own can change",
            vec![Apply("a", json!({"a": 1})), Apply("a", json!({"a": 2}))],
            json!({"a": 2}),
            &["a: .spec.a"],
        ),
        row(
            "null is a value that is owned",
            vec![Apply("a", json!({"a": null}))],
            json!({"a": null}),
            &["a: .spec.a"],
        )
        .differs("its validation refuses null, which comes after what is tested here"),
        row(
            "an update takes a field over",
            vec![
                Apply("a", json!({"a": 1, "b": 1})),
                Update("u", json!({"a": 2, "b": 1})),
            ],
            json!({"a": 2, "b": 1}),
            &["a: .spec.b", "u*: .spec.a"],
        ),
        row(
            "an update that takes all leaves no entry",
            vec![Apply("a", json!({"a": 1})), Update("u", json!({"a": 2}))],
            json!({"a": 2}),
            &["u*: .spec.a"],
        ),
        row(
            "an update that removes takes the field from its owner",
            vec![
                Apply("a", json!({"a": 1, "b": 1})),
                Update("u", json!({"b": 1})),
            ],
            json!({"b": 1}),
            &["a: .spec.b"],
        ),
        row(
            "an updater keeps what it owned and adds what it changes",
            vec![
                Update("u", json!({"a": 1})),
                Update("u", json!({"a": 1, "b": 2})),
            ],
            json!({"a": 1, "b": 2}),
            &["u*: .spec .spec.a .spec.b"],
        ),
        row(
            "what an updater removes it owns no more",
            vec![
                Update("u", json!({"a": 1, "b": 2})),
                Update("u", json!({"a": 1})),
            ],
            json!({"a": 1}),
            &["u*: .spec .spec.a"],
        ),
        row(
            "an applier that stops leaves what an updater owns",
            vec![
                Apply("a", json!({"a": 1})),
                Update("u", json!({"a": 2})),
                Apply("a", json!({})),
            ],
            json!({"a": 2}),
            &["u*: .spec.a"],
        ),
        row(
            "an applier and an updater of one name are two",
            vec![Update("m", json!({"a": 1})), Apply("m", json!({"a": 1}))],
            json!({"a": 1}),
            &["m*: .spec .spec.a", "m: .spec.a"],
        ),
        row(
            "what no one owns stays",
            vec![
                Apply("a", json!({"a": 1, "pair": {"x": 1}})),
                Update("u", json!({"a": 1, "pair": {"x": 1}})),
                Apply("a", json!({"a": 1, "pair": {"x": 1}})),
            ],
            json!({"a": 1, "pair": {"x": 1}}),
            &["a: .spec.a .spec.pair.x"],
        ),
        row(
            "applying nothing takes all that was one's own",
            vec![
                Apply("a", json!({"a": 1, "texts": {"k": "v"}})),
                Apply("a", json!({})),
            ],
            Value::Null,
            &[],
        ),
        refused(
            "a field of an unknown name",
            vec![Apply("a", json!({"nope": 1}))],
            &[".spec.nope: field not declared in schema"],
        ),
        refused(
            "all unknown fields at once",
            vec![Apply("a", json!({"nope": 1, "pair": {"z": 1}}))],
            &[
                ".spec.nope: field not declared in schema",
                ".spec.pair.z: field not declared in schema",
            ],
        )
        .differs("it names the first alone"),
    ]
}

fn sharing() -> Vec<Row> {
    let conflict = using("u", ".spec.a");
    vec![
        row(
            "two may apply the same value",
            vec![Apply("a", json!({"a": 1})), Apply("b", json!({"a": 1}))],
            json!({"a": 1}),
            &["a: .spec.a", "b: .spec.a"],
        ),
        row(
            "one of two may stop",
            vec![
                Apply("a", json!({"a": 1})),
                Apply("b", json!({"a": 1})),
                Apply("a", json!({})),
            ],
            json!({"a": 1}),
            &["b: .spec.a"],
        ),
        row(
            "the last to stop removes",
            vec![
                Apply("a", json!({"a": 1, "b": 1})),
                Apply("b", json!({"a": 1})),
                Apply("a", json!({"b": 1})),
                Apply("b", json!({})),
            ],
            json!({"b": 1}),
            &["a: .spec.b"],
        ),
        refused(
            "another value is a conflict",
            vec![Apply("a", json!({"a": 1})), Apply("b", json!({"a": 2}))],
            &["\"a\" .spec.a"],
        ),
        refused(
            "one's own old value is a conflict too once it is shared",
            vec![
                Apply("a", json!({"a": 1})),
                Apply("b", json!({"a": 1})),
                Apply("a", json!({"a": 2})),
            ],
            &["\"b\" .spec.a"],
        ),
        refused(
            "conflicts with updaters tell the version",
            vec![Update("u", json!({"a": 1})), Apply("b", json!({"a": 2}))],
            &[&conflict],
        ),
        refused(
            "all conflicts at once, by owner and field",
            vec![
                Apply("a", json!({"b": 1, "c": 1})),
                Apply("z", json!({"a": 1, "b": 1})),
                Apply("x", json!({"a": 2, "b": 2, "c": 2})),
            ],
            &[
                "\"a\" .spec.b",
                "\"a\" .spec.c",
                "\"z\" .spec.a",
                "\"z\" .spec.b",
            ],
        ),
        row(
            "force takes over",
            vec![
                Apply("a", json!({"a": 1, "b": 1})),
                Force("b", json!({"a": 2})),
            ],
            json!({"a": 2, "b": 1}),
            &["a: .spec.b", "b: .spec.a"],
        ),
        row(
            "force takes over from all",
            vec![
                Apply("a", json!({"a": 1})),
                Apply("b", json!({"a": 1})),
                Force("x", json!({"a": 2})),
            ],
            json!({"a": 2}),
            &["x: .spec.a"],
        ),
        row(
            "whoever lost a field can stop applying it",
            vec![
                Apply("a", json!({"a": 1, "b": 1})),
                Force("b", json!({"a": 2})),
                Apply("a", json!({"b": 1})),
            ],
            json!({"a": 2, "b": 1}),
            &["a: .spec.b", "b: .spec.a"],
        ),
        row(
            "whoever lost a field can share the new value",
            vec![
                Apply("a", json!({"a": 1})),
                Force("b", json!({"a": 2})),
                Apply("a", json!({"a": 2})),
            ],
            json!({"a": 2}),
            &["a: .spec.a", "b: .spec.a"],
        ),
        row(
            "a field is handed over by applying it first and stopping then",
            vec![
                Apply("old", json!({"a": 1, "b": 1})),
                Apply("new", json!({"a": 1})),
                Apply("old", json!({"b": 1})),
                Apply("new", json!({"a": 5})),
            ],
            json!({"a": 5, "b": 1}),
            &["new: .spec.a", "old: .spec.b"],
        ),
    ]
}

fn maps() -> Vec<Row> {
    vec![
        row(
            "parts of a map have owners of their own",
            vec![
                Apply("a", json!({"pair": {"x": 1}})),
                Apply("b", json!({"pair": {"y": 2}})),
            ],
            json!({"pair": {"x": 1, "y": 2}}),
            &["a: .spec.pair.x", "b: .spec.pair.y"],
        ),
        row(
            "a part goes alone",
            vec![
                Apply("a", json!({"pair": {"x": 1}})),
                Apply("b", json!({"pair": {"y": 2}})),
                Apply("a", json!({})),
            ],
            json!({"pair": {"y": 2}}),
            &["b: .spec.pair.y"],
        ),
        row(
            "an empty map is applied as such",
            vec![Apply("a", json!({"pair": {}}))],
            json!({"pair": {}}),
            &["a: .spec.pair"],
        ),
        row(
            "an empty map adds nothing to one with fields",
            vec![
                Apply("a", json!({"pair": {"x": 1}})),
                Apply("b", json!({"pair": {}})),
            ],
            json!({"pair": {"x": 1}}),
            &["a: .spec.pair.x", "b: .spec.pair"],
        ),
        row(
            "keys of a map are owned one by one",
            vec![
                Apply("a", json!({"texts": {"k": "1"}})),
                Apply("b", json!({"texts": {"l": "2"}})),
            ],
            json!({"texts": {"k": "1", "l": "2"}}),
            &["a: .spec.texts.k", "b: .spec.texts.l"],
        ),
        row(
            "a key goes with its owner",
            vec![
                Apply("a", json!({"texts": {"k": "1", "l": "2"}})),
                Apply("a", json!({"texts": {"l": "2"}})),
            ],
            json!({"texts": {"l": "2"}}),
            &["a: .spec.texts.l"],
        ),
        row(
            "an atomic map has one owner",
            vec![Apply("a", json!({"whole": {"x": 1, "y": 2}}))],
            json!({"whole": {"x": 1, "y": 2}}),
            &["a: .spec.whole"],
        ),
        row(
            "an atomic map is replaced",
            vec![
                Apply("a", json!({"whole": {"x": 1, "y": 2}})),
                Apply("a", json!({"whole": {"x": 3}})),
            ],
            json!({"whole": {"x": 3}}),
            &["a: .spec.whole"],
        ),
        refused(
            "a part of an atomic map is a conflict for the whole",
            vec![
                Apply("a", json!({"whole": {"x": 1}})),
                Apply("b", json!({"whole": {"y": 1}})),
            ],
            &["\"a\" .spec.whole"],
        ),
        row(
            "an atomic map of free keys has one owner",
            vec![
                Apply("a", json!({"wholeTexts": {"k": "1"}})),
                Force("b", json!({"wholeTexts": {"l": "1"}})),
            ],
            json!({"wholeTexts": {"l": "1"}}),
            &["b: .spec.wholeTexts"],
        ),
        row(
            "an update in an atomic map takes it over",
            vec![
                Apply("a", json!({"whole": {"x": 1}})),
                Update("u", json!({"whole": {"x": 2}})),
            ],
            json!({"whole": {"x": 2}}),
            &["u*: .spec.whole"],
        ),
        row(
            "free fields are granular maps and atomic lists",
            vec![Apply("a", json!({"free": {"m": {"k": 1}, "l": [1, 2]}}))],
            json!({"free": {"m": {"k": 1}, "l": [1, 2]}}),
            &["a: .spec.free.l .spec.free.m .spec.free.m.k"],
        ),
        row(
            "free fields go with their owner",
            vec![
                Apply("a", json!({"free": {"m": {"k": 1}}})),
                Apply("b", json!({"free": {"m": {"l": 1}}})),
                Apply("a", json!({})),
            ],
            json!({"free": {"m": {"l": 1}}}),
            &["b: .spec.free.m .spec.free.m.l"],
        ),
        row(
            "a free field can become something else",
            vec![
                Apply("a", json!({"free": {"m": {"k": 1}}})),
                Apply("a", json!({"free": {"m": "text"}})),
            ],
            json!({"free": {"m": "text"}}),
            &["a: .spec.free.m"],
        ),
        refused(
            "a free field that becomes something else is a conflict with its owner",
            vec![
                Apply("a", json!({"free": {"m": {"k": 1}}})),
                Apply("b", json!({"free": {"m": "text"}})),
            ],
            &["\"a\" .spec.free.m"],
        ),
    ]
}

fn lists() -> Vec<Row> {
    vec![
        row(
            "an atomic list has one owner",
            vec![
                Apply("a", json!({"list": [1, 2]})),
                Apply("a", json!({"list": [2]})),
            ],
            json!({"list": [2]}),
            &["a: .spec.list"],
        ),
        refused(
            "another atomic list is a conflict",
            vec![
                Apply("a", json!({"list": [1]})),
                Apply("b", json!({"list": [1, 2]})),
            ],
            &["\"a\" .spec.list"],
        ),
        row(
            "an empty atomic list is a value",
            vec![Apply("a", json!({"list": []}))],
            json!({"list": []}),
            &["a: .spec.list"],
        ),
        row(
            "a set has an owner for each item",
            vec![
                Apply("a", json!({"set": ["x"]})),
                Apply("b", json!({"set": ["y"]})),
            ],
            json!({"set": ["x", "y"]}),
            &["a: .spec.set[=\"x\"]", "b: .spec.set[=\"y\"]"],
        ),
        row(
            "an item of a set goes with its owner",
            vec![
                Apply("a", json!({"set": ["x"]})),
                Apply("b", json!({"set": ["y"]})),
                Apply("a", json!({"set": []})),
            ],
            json!({"set": ["y"]}),
            &["b: .spec.set[=\"y\"]"],
        ),
        row(
            "items of a set can be shared",
            vec![
                Apply("a", json!({"set": ["x", "y"]})),
                Apply("b", json!({"set": ["y"]})),
                Apply("a", json!({})),
            ],
            json!({"set": ["y"]}),
            &["b: .spec.set[=\"y\"]"],
        ),
        row(
            "a set is ordered as applied, and the items of others stay in between",
            vec![
                Apply("a", json!({"set": ["p", "q", "r"]})),
                Apply("b", json!({"set": ["x", "r", "y"]})),
            ],
            json!({"set": ["p", "q", "x", "r", "y"]}),
            &[
                "a: .spec.set[=\"p\"] .spec.set[=\"q\"] .spec.set[=\"r\"]",
                "b: .spec.set[=\"r\"] .spec.set[=\"x\"] .spec.set[=\"y\"]",
            ],
        ),
        row(
            "an applier may turn its items round",
            vec![
                Apply("a", json!({"set": ["p", "q"]})),
                Apply("a", json!({"set": ["q", "p"]})),
            ],
            json!({"set": ["q", "p"]}),
            &["a: .spec.set[=\"p\"] .spec.set[=\"q\"]"],
        ),
        row(
            "an update that adds to a set owns what it adds",
            vec![
                Apply("a", json!({"set": ["x"]})),
                Update("u", json!({"set": ["x", "y"]})),
            ],
            json!({"set": ["x", "y"]}),
            &["a: .spec.set[=\"x\"]", "u*: .spec.set[=\"y\"]"],
        ),
    ]
}

fn map_lists() -> Vec<Row> {
    let first = r#"a: .spec.ports[port=80,protocol="TCP"] .spec.ports[port=80,protocol="TCP"].name .spec.ports[port=80,protocol="TCP"].port"#;
    let other = r#"b: .spec.ports[port=80,protocol="UDP"] .spec.ports[port=80,protocol="UDP"].port .spec.ports[port=80,protocol="UDP"].protocol"#;
    vec![
        row(
            "an item is known by its keys, with their defaults",
            vec![
                Apply("a", json!({"ports": [{"port": 80, "name": "web"}]})),
                Apply("b", json!({"ports": [{"port": 80, "protocol": "UDP"}]})),
            ],
            json!({"ports": [{"port": 80, "name": "web"}, {"port": 80, "protocol": "UDP"}]}),
            &[first, other],
        )
        .differs("it fills in defaults, which comes after what is tested here"),
        row(
            "an item is merged, not replaced",
            vec![
                Apply("a", json!({"named": [{"name": "n", "value": 1}]})),
                Apply("b", json!({"named": [{"name": "n", "set": ["s"]}]})),
            ],
            json!({"named": [{"name": "n", "value": 1, "set": ["s"]}]}),
            &[
                r#"a: .spec.named[name="n"] .spec.named[name="n"].name .spec.named[name="n"].value"#,
                r#"b: .spec.named[name="n"] .spec.named[name="n"].name .spec.named[name="n"].set[="s"]"#,
            ],
        ),
        row(
            "an item that another owns too stays, without one's own part",
            vec![
                Apply("a", json!({"named": [{"name": "n", "value": 1}]})),
                Apply("b", json!({"named": [{"name": "n", "set": ["s"]}]})),
                Apply("a", json!({})),
            ],
            json!({"named": [{"name": "n", "set": ["s"]}]}),
            &[
                r#"b: .spec.named[name="n"] .spec.named[name="n"].name .spec.named[name="n"].set[="s"]"#,
            ],
        ),
        row(
            "an item goes with its last owner",
            vec![
                Apply("a", json!({"named": [{"name": "m"}, {"name": "n"}]})),
                Apply("a", json!({"named": [{"name": "n"}]})),
            ],
            json!({"named": [{"name": "n"}]}),
            &[r#"a: .spec.named[name="n"] .spec.named[name="n"].name"#],
        ),
        row(
            "an item goes with the applier of its keys, whoever added to it",
            vec![
                Apply("a", json!({"named": [{"name": "n"}], "b": 1})),
                Update("u", json!({"named": [{"name": "n", "value": 7}], "b": 1})),
                Apply("a", json!({"b": 1})),
            ],
            json!({"b": 1}),
            &["a: .spec.b"],
        )
        .differs("it leaves null for the list, which its validation refuses"),
        refused(
            "another value in an item is a conflict",
            vec![
                Apply("a", json!({"named": [{"name": "n", "value": 1}]})),
                Apply("b", json!({"named": [{"name": "n", "value": 2}]})),
            ],
            &[r#""a" .spec.named[name="n"].value"#],
        ),
        row(
            "an updater that adds an item owns it",
            vec![
                Apply("a", json!({"named": [{"name": "m"}]})),
                Update("u", json!({"named": [{"name": "m"}, {"name": "n"}]})),
            ],
            json!({"named": [{"name": "m"}, {"name": "n"}]}),
            &[
                r#"a: .spec.named[name="m"] .spec.named[name="m"].name"#,
                r#"u*: .spec.named[name="n"] .spec.named[name="n"].name"#,
            ],
        ),
        row(
            "items keep the order of the applier",
            vec![
                Apply("a", json!({"named": [{"name": "m"}, {"name": "n"}]})),
                Apply(
                    "a",
                    json!({"named": [{"name": "o"}, {"name": "n"}, {"name": "m"}]}),
                ),
            ],
            json!({"named": [{"name": "o"}, {"name": "n"}, {"name": "m"}]}),
            &[
                r#"a: .spec.named[name="m"] .spec.named[name="m"].name .spec.named[name="n"] .spec.named[name="n"].name .spec.named[name="o"] .spec.named[name="o"].name"#,
            ],
        ),
        row(
            "a set within an item",
            vec![
                Apply("a", json!({"named": [{"name": "n", "set": ["s", "t"]}]})),
                Apply("a", json!({"named": [{"name": "n", "set": ["t"]}]})),
            ],
            json!({"named": [{"name": "n", "set": ["t"]}]}),
            &[
                r#"a: .spec.named[name="n"] .spec.named[name="n"].name .spec.named[name="n"].set[="t"]"#,
            ],
        ),
    ]
}

fn duplicates() -> Vec<Row> {
    vec![
        row(
            "items that are stored twice are one value",
            vec![Update("u", json!({"set": ["x", "x"]}))],
            json!({"set": ["x", "x"]}),
            &["u*: .spec .spec.set .spec.set[=\"x\"]"],
        ),
        row(
            "an apply beside stored duplicates keeps them",
            vec![
                Update("u", json!({"set": ["x", "x"], "a": 1})),
                Apply("a", json!({"set": ["y"]})),
            ],
            json!({"set": ["x", "x", "y"], "a": 1}),
            &[
                "a: .spec.set[=\"y\"]",
                "u*: .spec .spec.a .spec.set .spec.set[=\"x\"]",
            ],
        ),
        refused(
            "an apply of what is stored twice changes it, so it is a conflict",
            vec![
                Update(
                    "u",
                    json!({"named": [{"name": "n", "value": 1}, {"name": "n", "value": 2}]}),
                ),
                Apply("a", json!({"named": [{"name": "n", "value": 3}]})),
            ],
            &[&using("u", r#".spec.named[name="n"]"#)],
        ),
        row(
            "force makes one of stored duplicates",
            vec![
                Update(
                    "u",
                    json!({"named": [{"name": "n", "value": 1}, {"name": "n", "value": 2}]}),
                ),
                Force("a", json!({"named": [{"name": "n", "value": 3}]})),
            ],
            json!({"named": [{"name": "n", "value": 3}]}),
            &[
                r#"a: .spec.named[name="n"] .spec.named[name="n"].name .spec.named[name="n"].value"#,
                "u*: .spec .spec.named",
            ],
        ),
        row(
            "a stored list whose items have no keys is one value",
            vec![
                Update("u", json!({"named": [{"value": 1}, {"value": 2}]})),
                Update("v", json!({"named": [{"value": 1}]})),
            ],
            json!({"named": [{"value": 1}]}),
            &["u*: .spec", "v*: .spec.named"],
        ),
        row(
            "what is of another type than the schema says is one value",
            vec![
                Update("u", json!({"named": "text"})),
                Update("v", json!({"named": [{"name": "n"}]})),
            ],
            json!({"named": [{"name": "n"}]}),
            &[
                "u*: .spec",
                r#"v*: .spec.named .spec.named[name="n"] .spec.named[name="n"].name"#,
            ],
        ),
    ]
}

fn mistakes() -> Vec<Row> {
    vec![
        refused(
            "an item twice",
            vec![Apply("a", json!({"set": ["x", "x"]}))],
            &[".spec.set: duplicate entries for key [=\"x\"]"],
        ),
        refused(
            "a key twice, by default",
            vec![Apply(
                "a",
                json!({"ports": [{"port": 1}, {"port": 1, "protocol": "TCP"}]}),
            )],
            &[r#".spec.ports: duplicate entries for key [port=1,protocol="TCP"]"#],
        ),
        refused(
            "an item without keys",
            vec![Apply("a", json!({"named": [{"value": 1}]}))],
            &[
                ".spec.named: element 0: associative list with keys has an element that omits all key \
               fields [\"name\"] (and doesn't have default values for any key fields)",
            ],
        ),
        refused(
            "a null item",
            vec![Apply("a", json!({"named": [null]}))],
            &[".spec.named: element 0: associative list with keys may not have a null element"],
        ),
        refused(
            "an item that is no map",
            vec![Apply("a", json!({"named": [1]}))],
            &[".spec.named: element 0: associative list with keys may not have non-map elements"],
        ),
        refused(
            "a map in a set",
            vec![Apply("a", json!({"set": [{"a": 1}]}))],
            &[
                ".spec.set: element 0: associative list without keys has an element that's a map type",
            ],
        ),
        refused(
            "a list in a set",
            vec![Apply("a", json!({"set": [[1]]}))],
            &[".spec.set: element 0: not supported: associative list with lists as elements"],
        ),
        refused(
            "a null in a set",
            vec![Apply("a", json!({"set": [null]}))],
            &[
                ".spec.set: element 0: associative list without keys has an element that's an explicit null",
            ],
        ),
    ]
}
