//! The rules of the tree that no compiler checks: which crate may know which, what the data path
//! must not name, how long things may be, and what may not be written at all.
//!
//! Each rule names the file and line that breaks it. The rules read text, not syntax: they look at
//! the code with comments and strings blanked out, and leave out what is compiled for tests only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/text.rs"]
mod text;

use source::{Kind, Source};

/// The longest file of the product, in lines, and the longest file of tests: tables are long.
const FILE_LINES: usize = 500;
const TEST_FILE_LINES: usize = 800;
/// The longest function, in lines.
const FUNCTION_LINES: usize = 70;

/// Fails with all complaints at once.
#[track_caller]
fn none(complaints: &[String]) {
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// A complaint for each line of product code that holds one of `words`.
fn forbid(sources: &[Source], words: &[&str], because: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        for (number, line) in source.product_lines() {
            for word in words {
                if line.contains(word) {
                    complaints.push(format!("{}:{number}: {word}: {because}", source.path));
                }
            }
        }
    }
    complaints
}

fn product() -> Vec<Source> {
    let mut sources = source::all();
    sources.retain(|s| s.kind == Kind::Product);
    assert!(sources.len() > 10, "the sources were found");
    sources
}

#[test]
fn the_data_path_knows_nothing_of_kubernetes() {
    let mut sources = product();
    sources.retain(|s| {
        let data_path = ["event", "filter", "log", "ingress"]
            .iter()
            .any(|m| s.is_module("broker/src", m));
        let dispatcher = s.path.starts_with("dispatcher/src/")
            && !s.is_module("dispatcher/src", "control")
            && s.path != "dispatcher/src/lib.rs";
        data_path || dispatcher
    });
    assert!(!sources.is_empty(), "the data path was found");
    none(&forbid(
        &sources,
        &["kube::", "k8s_openapi", "heddle_crds", "use kube"],
        "only `control` knows of resources; the data path is told by value",
    ));
}

#[test]
fn files_are_short() {
    let long = |s: &Source| {
        let lines = s.text.lines().count();
        let most = match s.kind {
            Kind::Product => FILE_LINES,
            Kind::Test => TEST_FILE_LINES,
        };
        (lines > most).then(|| format!("{}: {lines} lines, {most} at most", s.path))
    };
    none(&source::all().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    let mut complaints = Vec::new();
    for source in product() {
        for (name, line, lines) in source.functions() {
            if lines > FUNCTION_LINES {
                complaints.push(format!(
                    "{}:{line}: {name} has {lines} lines, {FUNCTION_LINES} at most",
                    source.path
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent = |s: &Source| {
        let first = s.text.lines().find(|l| !l.trim().is_empty());
        let says = first.is_some_and(|l| l.starts_with("//!"));
        (!says).then(|| format!("{}: starts without `//!`", s.path))
    };
    none(&product().iter().filter_map(silent).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_for_later() {
    let sources = source::all();
    let mut complaints = Vec::new();
    for source in &sources {
        for (number, line) in source.code_lines() {
            for word in ["todo!", "unimplemented!", "#[ignore"] {
                if line.contains(word) {
                    complaints.push(format!("{}:{number}: {word}", source.path));
                }
            }
        }
        for (number, line) in (1..).zip(source.text.lines()) {
            // Split, so that this line is not one of them.
            for word in [
                concat!("TO", "DO"),
                concat!("FIX", "ME"),
                concat!("XX", "X:"),
            ] {
                if line.contains(word) {
                    complaints.push(format!("{}:{number}: {word}", source.path));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn time_is_a_parameter() {
    let mut sources = product();
    sources.retain(|s| s.path != "broker/src/clock.rs");
    let mut complaints = forbid(
        &sources,
        &["SystemTime::now", "Timestamp::now", "Zoned::now"],
        "ask `heddle_broker::clock::Clock`",
    );
    // Tokio's monotonic clock stands still in tests that pause it; the system's does not.
    for source in sources.iter().filter(|s| !s.uses_tokio_instant()) {
        for (number, line) in source.product_lines() {
            if line.contains("Instant::now") && !line.contains("tokio::time::Instant::now") {
                complaints.push(format!(
                    "{}:{number}: `tokio::time::Instant` is the one that tests can pause",
                    source.path
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn tasks_have_an_owner() {
    none(&forbid(
        &product(),
        &["tokio::spawn(", "tokio::task::spawn(", "std::thread::sleep"],
        "spawn on the `TaskTracker` that was passed in; wait with `tokio::time`",
    ));
}

#[test]
fn queues_have_a_bound() {
    let words = ["unbounded_channel", "unbounded(", "UnboundedSender"];
    none(&forbid(&product(), &words, "every queue has a bound"));
}

#[test]
fn nothing_tells_of_the_machine_it_was_written_on() {
    // Split, so that this file may be read too.
    let words = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("/tmp/", "wt"),
        concat!("/tmp/", "brief"),
        concat!("index.", "crates.io"),
        concat!("registry.", "npmjs"),
        concat!("static.", "crates.io"),
        concat!("proxy.", "golang"),
    ];
    let mut complaints = Vec::new();
    for path in source::tracked() {
        let Ok(text) = std::fs::read_to_string(source::root().join(&path)) else {
            continue;
        };
        // The lock file names the registry by cargo's own convention.
        let lock = path.ends_with("Cargo.lock");
        for (number, line) in (1..).zip(text.lines()) {
            for word in words.iter().filter(|_| !lock) {
                if line.contains(word) {
                    complaints.push(format!("{path}:{number}: {word}"));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_metric_is_in_the_docs() {
    let path = source::root().join("docs/metrics.md");
    let docs = std::fs::read_to_string(&path).expect("docs/metrics.md lists every metric");
    let mut found = 0;
    let mut complaints = Vec::new();
    for source in product() {
        for (number, name) in source.registered_metrics() {
            found += 1;
            if !docs.contains(&name) {
                complaints.push(format!("{}:{number}: {name}", source.path));
            }
        }
    }
    none(&complaints);
    assert!(found > 0, "metrics were found in the code");
}

#[test]
fn every_folder_of_members_is_looked_at() {
    // A new crate joins the rules by joining the workspace.
    let members = dependencies::members();
    let sources = source::all();
    for (name, folder) in members {
        let prefix = if folder.is_empty() {
            "src/".to_owned()
        } else {
            format!("{folder}/src/")
        };
        assert!(
            sources.iter().any(|s| s.path.starts_with(&prefix)),
            "{name} in {prefix} has sources"
        );
    }
}
