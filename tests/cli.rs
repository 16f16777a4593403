//! The binary as a person uses it: exit codes, what goes where, and an event from one process to
//! another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

fn heddle(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heddle"));
    command
        .args(arguments)
        .env_remove("HEDDLE_API")
        .env_remove("HEDDLE_ADMIN")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = heddle(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Ends the process when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn exit_codes_say_whose_fault_it_is() {
    let (code, out, _) = run(&["version"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("heddle "), "{out}");
    let (code, out, err) = run(&["get"]);
    assert_eq!((code, out.as_str()), (64, ""));
    assert!(err.contains("KIND"), "{err}");
    let (code, out, err) = run(&["get", "brokers", "--api", "http://127.0.0.1:1"]);
    assert_eq!((code, out.as_str()), (69, ""));
    assert!(
        err.contains("http://127.0.0.1:1") && err.contains("heddle up"),
        "{err}"
    );
    assert!(!err.contains('\x1b'), "no colour where nobody looks: {err}");
    let (code, _, err) = run(&["apply", "-f", "/does/not/exist.yaml"]);
    assert_eq!(code, 64);
    assert!(err.contains("cannot read /does/not/exist.yaml"), "{err}");
}

#[test]
fn a_bad_manifest_is_shown_with_its_place_first() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("b.yaml");
    std::fs::write(
        &file,
        "apiVersion: v1\nkind: broker\nmetadata:\n  name: b\n",
    )
    .unwrap();
    let (code, _, err) = run(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(code, 64);
    let expected = format!("{}:2:1: kind: expected a kind like Broker", file.display());
    assert!(err.starts_with(&expected), "{err}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = heddle(&["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn definitions_and_completions_are_printed() {
    let (code, out, _) = run(&["crds"]);
    assert_eq!(code, 0);
    assert!(out.contains("name: brokers.eventing.knative.dev"), "{out}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&["completion", shell]);
        assert_eq!(code, 0);
        assert!(out.contains("heddle"), "{shell}");
    }
}

#[test]
fn an_event_goes_from_send_to_listen() {
    let mut listen = Running(
        heddle(&["listen", "--port", "0", "--count", "1", "-o", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut banner = String::new();
    let mut stderr = BufReader::new(listen.0.stderr.take().unwrap());
    stderr.read_line(&mut banner).unwrap();
    let url = banner.trim().strip_prefix("listening at ").unwrap();
    let (code, out, err) = run(&["send", "--url", url, "--id", "1", "--data", "{\"a\":1.10}"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let mut printed = String::new();
    let mut stdout = listen.0.stdout.take().unwrap();
    stdout.read_to_string(&mut printed).unwrap();
    assert!(printed.contains("\"id\":\"1\""), "{printed}");
    assert!(printed.ends_with("\"data\":{\"a\":1.10}}\n"), "{printed}");
    assert_eq!(listen.0.wait().unwrap().code(), Some(0));
}
