//! What depends on what: between the crates of the workspace, and on crates from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::{none, source};

/// The crates of the workspace, lowest first. A crate may depend on those before it; those of one
/// row do not know each other.
const LAYERS: [&[&str]; 5] = [
    &["heddle-crds"],
    &["heddle-broker"],
    &["heddle-dispatcher"],
    &["heddle-sources", "heddle-serving"],
    &["heddle"],
];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(source::root())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn metadata(more: &[&str]) -> Value {
    let mut arguments = vec!["metadata", "--format-version", "1", "--offline", "--locked"];
    arguments.extend(more);
    serde_json::from_str(&cargo(&arguments)).unwrap()
}

/// All packages that are built for this machine, the workspace's own among them.
fn packages() -> Vec<Value> {
    let version = cargo(&["-vV"]);
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("cargo knows its host");
    let metadata = metadata(&["--filter-platform", host]);
    metadata["packages"].as_array().unwrap().clone()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The workspace's crates: name, and folder from the root of the tree.
pub(crate) fn members() -> BTreeMap<String, String> {
    let metadata = metadata(&["--no-deps"]);
    let root = text(&metadata, "workspace_root").to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let folder = |package: &Value| {
        let manifest = text(package, "manifest_path");
        let folder = manifest.strip_prefix(&root).unwrap();
        let folder = folder.strip_suffix("Cargo.toml").unwrap();
        folder.trim_matches('/').to_owned()
    };
    packages
        .iter()
        .map(|p| (text(p, "name").to_owned(), folder(p)))
        .collect()
}

/// The values of a list of strings, or of `{ name = "..." }` tables, in deny.toml: the one list
/// of that name.
fn deny_list(name: &str) -> BTreeSet<String> {
    let path = source::root().join("deny.toml");
    let toml = std::fs::read_to_string(path).unwrap();
    let start = format!("{name} = [");
    let list: Vec<&str> = toml
        .lines()
        .skip_while(|line| *line != start)
        .skip(1)
        .take_while(|line| *line != "]")
        .collect();
    let values = list.iter().filter_map(|line| line.split('"').nth(1));
    let values: BTreeSet<String> = values.map(str::to_owned).collect();
    assert!(!values.is_empty(), "deny.toml has a list {name}");
    values
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata(&["--no-deps"]);
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = text(package, "name");
        let Some(own) = layer(name) else {
            complaints.push(format!("{name} is not in the list of layers"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = text(dependency, "name");
            if to.starts_with("heddle") && layer(to).is_none_or(|to| to >= own) {
                complaints.push(format!("{name} depends on {to}"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn json_numbers_and_keys_are_left_alone() {
    // Either feature, switched on by any crate, changes what serde_json does for all of them.
    let tree = cargo(&[
        "tree",
        "--offline",
        "--locked",
        "--workspace",
        "--edges",
        "features",
        "--invert",
        "serde_json",
        "--prefix",
        "none",
    ]);
    assert!(tree.contains("serde_json feature \"std\""), "{tree}");
    let surprises: Vec<String> = ["preserve_order", "arbitrary_precision", "unbounded_depth"]
        .iter()
        .filter(|feature| tree.contains(&format!("serde_json feature \"{feature}\"")))
        .map(|feature| format!("serde_json/{feature}"))
        .collect();
    none(&surprises);
}

#[test]
fn licences_are_those_that_we_can_carry() {
    let allowed = deny_list("allow");
    let mut complaints = Vec::new();
    for package in packages() {
        let licence = text(&package, "license");
        // Some say it in a file only; what the file says is for cargo-deny to read.
        let by_file = licence.is_empty() && !package["license_file"].is_null();
        if !by_file && !satisfied(licence, &allowed) {
            complaints.push(format!("{}: {licence:?}", text(&package, "name")));
        }
    }
    none(&complaints);
}

#[test]
fn what_comes_from_outside_comes_from_the_registry() {
    let banned = deny_list("deny");
    let mut complaints = Vec::new();
    for package in packages() {
        let name = text(&package, "name");
        if banned.contains(name) {
            complaints.push(format!("{name} is banned by deny.toml"));
        }
        let source = text(&package, "source");
        if !source.is_empty() && !source.starts_with("registry+") {
            complaints.push(format!("{name} comes from {source}"));
        }
        let own = source.is_empty();
        for dependency in package["dependencies"].as_array().unwrap() {
            let by_path = !dependency["path"].is_null();
            if own && !by_path && text(dependency, "req") == "*" {
                complaints.push(format!("{name}: {} = \"*\"", text(dependency, "name")));
            }
        }
    }
    none(&complaints);
}

/// Whether a licence expression (SPDX, or the older form with `/`) can be met with the allowed
/// licences.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = either(&mut rest, allowed);
    met && rest.is_empty()
}

fn either(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = both(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        met |= both(words, allowed);
    }
    met
}

fn both(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = either(words, allowed);
            let [")", rest @ ..] = *words else {
                return false;
            };
            *words = rest;
            met
        }
        [name, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{name} WITH {exception}"))
        }
        [name, rest @ ..] => {
            *words = rest;
            allowed.contains(*name)
        }
        [] => false,
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed: BTreeSet<String> = ["MIT", "ISC", "A WITH e"].map(str::to_owned).into();
    let table = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("Apache-2.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(Apache-2.0 OR MIT) AND ISC", true),
        ("(Apache-2.0 OR MIT) AND GPL-3.0", false),
        ("A WITH e OR GPL-3.0", true),
        ("A", false),
        ("", false),
    ];
    for (expression, met) in table {
        assert_eq!(satisfied(expression, &allowed), met, "{expression:?}");
    }
}
