//! Wrong manifests and requests, and the exact answers to them.
//!
//! `tests/data/manifests.txt` is a table. A row starts with `=== what is wrong`; the manifest
//! follows. A first line `@ METHOD PATH [CONTENT-TYPE]` sends it there; without one a manifest is
//! posted where its kind says, if it is YAML at all. `--- api` starts the API's answer: status,
//! reason, message, and each cause. `--- apply` starts what `heddle apply -f` does with the same
//! manifest in `wrong.yaml`: its exit code and what it writes. Rows with an address are not applied.
//!
//! `HEDDLE_UPDATE=1` writes the answers anew. Nothing that is wrong may remain in the API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use hyper::Method;
use serde_json::Value;
use support::{Heddle, Response, data_directory, heddle, report};

/// One row of the table.
#[derive(Debug)]
struct Row {
    title: String,
    address: Option<String>,
    manifest: String,
    answers: String,
}

fn table_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests.txt")
}

/// The text before the first row, and the rows.
fn parse(text: &str) -> (String, Vec<Row>) {
    let mut parts = text.split("\n=== ");
    let head = parts.next().unwrap().to_owned();
    let rows = parts.map(|part| {
        let (title, rest) = part.split_once('\n').unwrap_or((part, ""));
        let at = ["--- api\n", "--- apply\n"]
            .iter()
            .filter_map(|mark| rest.find(mark))
            .min()
            .unwrap_or(rest.len());
        let (input, answers) = rest.split_at(at);
        let mut address = None;
        let mut manifest = input.trim_end().to_owned();
        if let Some(line) = input.strip_prefix("@ ") {
            let (first, more) = line.split_once('\n').unwrap_or((line, ""));
            address = Some(first.to_owned());
            manifest = more.trim_end().to_owned();
        }
        Row {
            title: title.to_owned(),
            address,
            manifest,
            answers: answers.trim().to_owned(),
        }
    });
    (head, rows.collect())
}

fn print(head: &str, rows: &[Row]) -> String {
    let mut text = format!("{}\n", head.trim_end());
    for row in rows {
        write!(text, "\n=== {}\n", row.title).unwrap();
        if let Some(address) = &row.address {
            writeln!(text, "@ {address}").unwrap();
        }
        if !row.manifest.is_empty() {
            writeln!(text, "{}", row.manifest).unwrap();
        }
        writeln!(text, "{}", row.answers).unwrap();
    }
    text
}

/// Where a manifest is posted, from its kind.
fn collection(object: &Value) -> Option<String> {
    let version = object["apiVersion"].as_str()?;
    let plural = format!("{}s", object["kind"].as_str()?.to_lowercase());
    Some(format!("/apis/{version}/namespaces/default/{plural}"))
}

/// The request of a row, and nothing for a manifest that cannot be sent.
fn request(row: &Row) -> Option<(Method, String, String, String)> {
    let object: Option<Value> = serde_saphyr::from_str(&row.manifest).ok();
    let json = || object.as_ref().map(Value::to_string).unwrap_or_default();
    let Some(address) = &row.address else {
        let path = collection(object.as_ref()?)?;
        return Some((Method::POST, path, "application/json".to_owned(), json()));
    };
    let mut words = address.split(' ');
    let method: Method = words.next()?.parse().unwrap();
    let path = words.next()?.to_owned();
    let kind = words.next().unwrap_or("application/json").to_owned();
    let body = if method == Method::GET {
        String::new()
    } else {
        json()
    };
    Some((method, path, kind, body))
}

/// What the API answered: a Kubernetes `Status`, a line for each fact.
fn api_answer(response: &Response) -> String {
    let status = response.json();
    assert_eq!(status["kind"], "Status", "{}", response.text());
    assert_eq!(status["status"], "Failure", "{}", response.text());
    assert_eq!(status["code"], response.status.as_u16(), "{status}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut answer = format!(
        "--- api\n{} {}\n{}\n",
        response.status.as_u16(),
        text(&status["reason"]),
        text(&status["message"])
    );
    for cause in status["details"]["causes"].as_array().into_iter().flatten() {
        let (field, reason) = (text(&cause["field"]), text(&cause["reason"]));
        let message = text(&cause["message"]);
        writeln!(answer, "* {field} {reason}: {message}").unwrap();
    }
    answer
}

/// What `heddle apply -f` did.
async fn apply_answer(heddle: &Heddle, folder: &Path, manifest: &str) -> String {
    let file = folder.join("wrong.yaml");
    std::fs::write(&file, format!("{manifest}\n")).unwrap();
    let path = file.display().to_string();
    let output = heddle::run(&["apply", "--api", &heddle.api, "-f", &path]).await;
    let code = output.status.code().expect("it ends by itself");
    let mut text = format!("--- apply\nexit {code}\n");
    text.push_str(&String::from_utf8(output.stdout).unwrap());
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    // What differs from run to run.
    let text = text.replace(&path, "wrong.yaml");
    text.replace(&heddle.api, "http://127.0.0.1:8081")
}

/// The names of all resources that rows could have made.
async fn names(heddle: &Heddle) -> Vec<String> {
    let mut names = Vec::new();
    for plural in [
        "brokers",
        "triggers",
        "channels",
        "inmemorychannels",
        "kafkachannels",
        "kafkasinks",
        "natsjetstreamchannels",
        "subscriptions",
    ] {
        let list = heddle
            .http
            .get(&heddle.resources(plural))
            .await
            .expect(200)
            .json();
        for item in list["items"].as_array().unwrap() {
            names.push(format!(
                "{plural}/{}",
                item["metadata"]["name"].as_str().unwrap()
            ));
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_manifests_get_exact_answers() {
    let (directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    heddle.ready("brokers", "default").await;

    let (head, mut rows) = parse(&std::fs::read_to_string(table_path()).unwrap());
    assert!(rows.len() >= 20, "the table was read");
    let mut wrong = Vec::new();
    for row in &mut rows {
        let mut answers = String::new();
        if let Some((method, path, kind, body)) = request(row) {
            let url = format!("{}{path}", heddle.api);
            let headers = [("content-type", kind.as_str())];
            let response = heddle.http.send(method, &url, &headers, body).await;
            assert!(
                response.status.is_client_error(),
                "{}: {} {}",
                row.title,
                response.status,
                response.text()
            );
            answers.push_str(&api_answer(&response));
        }
        if row.address.is_none() {
            answers.push_str(&apply_answer(&heddle, directory.path(), &row.manifest).await);
        }
        let answers = answers.trim().to_owned();
        if answers != row.answers {
            wrong.push(format!(
                "=== {}\n{answers}\n--- but the table says\n{}",
                row.title, row.answers
            ));
            row.answers = answers;
        }
    }
    // As kubectl, `apply` takes the documents one by one.
    assert_eq!(names(&heddle).await, ["brokers/default", "brokers/right"]);
    report::line(&format!("manifests: {} rows", rows.len()));
    if std::env::var_os("HEDDLE_UPDATE").is_some() {
        std::fs::write(table_path(), print(&head, &rows)).unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_table_is_printed_as_it_was_read() {
    let text = std::fs::read_to_string(table_path()).unwrap();
    let (head, rows) = parse(&text);
    let (head_again, rows_again) = parse(&print(&head, &rows));
    assert_eq!(print(&head, &rows), print(&head_again, &rows_again));
    for (row, again) in rows.iter().zip(&rows_again) {
        assert_eq!(row.manifest, again.manifest, "{}", row.title);
        assert_eq!(row.answers, again.answers, "{}", row.title);
    }
}
