//! The README's quickstart does what the README says, with only the ports replaced.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use hyper::Method;
use support::heddle::Start;
use support::{Heddle, Subscriber, data_directory, heddle, wait};
use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The README's blocks of shell commands.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().trim().to_owned())
        .collect()
}

/// The words of a shell command: split at spaces, quotes removed.
fn words(command: &str) -> Vec<String> {
    let joined = command.replace("\\\n", " ");
    let mut words = Vec::new();
    for (number, part) in joined.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Waits until the process has printed all of `texts`.
async fn printed(heddle: &Heddle, texts: &[&str]) {
    wait::until_now(&format!("{texts:?} on the screen"), || {
        let output = heddle.output();
        let missing: Vec<&&str> = texts.iter().filter(|t| !output.contains(**t)).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("no {missing:?}"))
        }
    })
    .await;
}

/// Runs the README's first command, with ports and a data directory of its own.
async fn quickstart() -> (TempDir, Heddle) {
    let commands = commands();
    let words = words(&commands[0]);
    let (cargo, arguments) = words.split_at(5);
    assert_eq!(cargo, ["cargo", "run", "--release", "--", "up"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    let (directory, data) = data_directory();
    let start = Start::on(&data).args(&arguments).directory(&root());
    let heddle = start.ready().await;
    (directory, heddle)
}

/// Sends what the README's curl line sends.
async fn run_curl(heddle: &Heddle) {
    let curl = commands()
        .into_iter()
        .find(|c| c.starts_with("curl "))
        .expect("a curl line");
    let words = words(&curl);
    let after = |flag: &str| -> Vec<&str> {
        let at = words.iter().enumerate().filter(|(_, word)| *word == flag);
        at.map(|(at, _)| words[at + 1].as_str()).collect()
    };
    let address = words
        .iter()
        .find(|word| word.starts_with("http://"))
        .unwrap();
    let url = address.replace("http://127.0.0.1:8080", &heddle.ingress);
    assert_ne!(*address, url, "the README gives the default port");
    let headers: Vec<(&str, &str)> = after("-H")
        .into_iter()
        .map(|header| header.split_once(": ").unwrap())
        .collect();
    let body = after("-d")[0].to_owned();
    heddle
        .http
        .send(Method::POST, &url, &headers, body)
        .await
        .expect(202);
}

#[tokio::test]
async fn the_quickstart_shows_an_event_and_takes_more() {
    let (_directory, heddle) = quickstart().await;
    printed(
        &heddle,
        &["com.example.hello", "hello-1", "Hello from Heddle!"],
    )
    .await;
    run_curl(&heddle).await;
    printed(&heddle, &["Hello again"]).await;
    // Nothing else has to be started, and nothing is left over.
    heddle.wait_stat("hello", "backlog", 0).await;
    heddle.signal("TERM");
    let status = heddle.ended().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_quickstart_can_be_started_again() {
    let (directory, heddle) = quickstart().await;
    heddle.wait_stat("hello", "backlog", 0).await;
    heddle.kill();
    let examples = root().join("examples/quickstart");
    let data = directory.path().join("data");
    let arguments = ["-f", &examples.display().to_string()];
    let heddle = Start::on(&data).args(&arguments).ready().await;
    heddle.ready("triggers", "hello").await;
    run_curl(&heddle).await;
    printed(&heddle, &["Hello again"]).await;
}

#[tokio::test]
async fn the_example_can_be_pointed_at_a_service() {
    let (directory, heddle) = quickstart().await;
    let subscriber = Subscriber::start().await;
    let manifest = std::fs::read_to_string(root().join("examples/quickstart/trigger.yaml"));
    let manifest = manifest.unwrap();
    let changed = manifest.replace("local://event-display", &subscriber.url("/"));
    assert_ne!(manifest, changed);
    let file = directory.path().join("trigger.yaml");
    std::fs::write(&file, changed).unwrap();
    apply(&heddle, &file).await;
    heddle.ready("triggers", "hello").await;
    run_curl(&heddle).await;
    let delivery = subscriber.wait_for_id("2").await;
    assert_eq!(delivery.body, "{\"message\": \"Hello again\"}");
}

/// `heddle apply -f FILE`, as the README has it.
async fn apply(heddle: &Heddle, file: &Path) {
    let path = file.display().to_string();
    let output = heddle::run(&["apply", "--api", &heddle.api, "-f", &path]).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[test]
fn the_readme_is_understood() {
    let commands = commands();
    assert!(commands.len() >= 3, "{commands:?}");
    assert_eq!(
        words("curl -i \\\n -H 'a: b c' -d '{\"x\": 1}' http://h"),
        ["curl", "-i", "-H", "a: b c", "-d", "{\"x\": 1}", "http://h"]
    );
}
