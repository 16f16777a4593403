//! The real clients, unmodified, against `heddle up`: what people type, and what they get.
//!
//! Each file in `tests/data/kubectl`, `tests/data/kn` and `tests/data/helm` is a table (see
//! `clients/table.rs` for the format) whose rows run in order against a `heddle up` of their own,
//! once for each client found. `HEDDLE_UPDATE=1` writes the answers anew: read what it wrote as a
//! user would.
//!
//! `tests/scripts/clients.sh` fetches and builds the clients; `HEDDLE_KUBECTL`,
//! `HEDDLE_KUBECTL_DEBIAN`, `HEDDLE_KN`, `HEDDLE_HELM`, `HEDDLE_PYTHON_KUBERNETES` and
//! `HEDDLE_CLIENT_GO` name the folders that it prints. The kubectl of the PATH is driven too: one of
//! a version that the tables do not know is held to the exit codes alone.
//!
//! `HEDDLE_KUBECONFIG` names a scratch cluster: the rows of kubectl run there as well, and must
//! answer what the tables say, but for those that say why they differ.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "clients/normal.rs"]
mod normal;
#[path = "clients/site.rs"]
mod site;
mod support;
#[path = "clients/table.rs"]
mod table;

use std::path::{Path, PathBuf};

use futures::StreamExt;
use site::{Client, Site, numbers};
use support::report;
use table::{Answer, Row, Table};

/// The versions of kubectl whose answers the tables hold, the newest first.
const KUBECTL_VERSIONS: [&str; 3] = ["1.36", "1.32", "1.20"];

/// The tables of a client, by name.
fn tables(client: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(client);
    let only = std::env::var("HEDDLE_TABLE").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|file| name(file).contains(&only))
        .collect();
    files.sort();
    files
}

/// The name of a table, which is that of the namespace that its rows work in.
fn name(file: &Path) -> String {
    file.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// What the rows answered to a client; nothing for those that are not for it.
type Answers = Vec<Option<Answer>>;

/// The API that rows run against.
#[derive(Clone, Debug)]
enum Api {
    /// A `heddle up` for each client and table.
    Heddle,
    /// The cluster of this kubeconfig, a namespace for each client and table.
    Cluster(PathBuf),
}

impl Api {
    /// Clients share what a cluster has outside of namespaces: there they take turns.
    fn clients_at_a_time(&self) -> usize {
        match self {
            Self::Heddle => 3,
            Self::Cluster(_) => 1,
        }
    }

    /// Whether a row is run here. One that differs is run as well, since others go on from it.
    fn takes(&self, row: &Row) -> bool {
        match self {
            Self::Heddle => true,
            Self::Cluster(_) => row.condition("heddle").is_none(),
        }
    }

    /// Whether a row tells what it is to answer here.
    fn compares(&self, row: &Row) -> bool {
        match self {
            Self::Heddle => true,
            Self::Cluster(_) => row.condition("differs").is_none(),
        }
    }

    /// Runs all rows of a table with a client.
    async fn run(&self, table: &str, rows: &[Row], client: &Client) -> Answers {
        let site = match self {
            Self::Heddle => Site::heddle(table).await,
            Self::Cluster(kubeconfig) => Site::cluster(table, kubeconfig),
        };
        let scripts: Vec<Option<String>> = rows
            .iter()
            .map(|row| {
                let since = row.condition("since").unwrap_or_default();
                (client.is_since(since) && self.takes(row)).then(|| row.script.clone())
            })
            .collect();
        let client = client.clone();
        let work = tokio::task::spawn_blocking(move || {
            site.begin(&client);
            let answers = scripts
                .iter()
                .map(|script| Some(site.run(&client, script.as_ref()?)));
            let answers = answers.collect();
            site.end(&client);
            answers
        });
        work.await.unwrap()
    }

    /// Whether what is answered here is to be written down.
    fn records(&self) -> bool {
        let update = std::env::var("HEDDLE_UPDATE").unwrap_or_default();
        match self {
            Self::Heddle => !update.is_empty() && update != "cluster",
            Self::Cluster(_) => update == "cluster",
        }
    }
}

/// Runs a table for each client, and says what is not as it should be.
async fn check(api: &Api, file: &Path, clients: &[Client], known: &[&str]) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut table = Table::parse(&text);
    assert_eq!(
        table.print(),
        text,
        "{} is as it is printed",
        file.display()
    );
    let name = name(file);
    let found: Vec<Answers> = futures::stream::iter(clients)
        .map(|client| api.run(&name, &table.rows, client))
        .buffered(api.clients_at_a_time())
        .collect()
        .await;
    let mut complaints = Vec::new();
    let mut count = 0;
    for (at, row) in table.rows.iter_mut().enumerate() {
        if !api.compares(row) {
            continue;
        }
        let mut recordable = Vec::new();
        for (client, answers) in clients.iter().zip(&found) {
            let Some(answer) = &answers[at] else { continue };
            count += 1;
            let place = format!("{name} {}: {}", client.version, row.title);
            complaints.extend(complaint(&place, row, client, answer, known));
            if known.contains(&client.version.as_str()) {
                recordable.push((client.version.clone(), answer.clone()));
            }
        }
        row.record(&recordable);
    }
    if api.records() {
        std::fs::write(file, table.print()).unwrap();
        complaints.clear();
    }
    (count, complaints)
}

/// What is wrong with an answer.
fn complaint(
    place: &str,
    row: &Row,
    client: &Client,
    answer: &Answer,
    known: &[&str],
) -> Option<String> {
    let expected = row.expected(&client.version).cloned().unwrap_or_default();
    if expected == *answer {
        return None;
    }
    if known.contains(&client.version.as_str()) || expected.exit != answer.exit {
        return Some(format!(
            "=== {place}\n{}\n{answer}--- but the table says\n{expected}",
            row.script
        ));
    }
    report::line(&format!(
        "{place}: another text than newer and older versions"
    ));
    None
}

/// Runs all tables of a program.
async fn check_all(api: &Api, program: &str, clients: &[Client], known: &[&str]) {
    let (mut rows, mut complaints) = (0, Vec::new());
    for file in tables(program) {
        let (count, more) = check(api, &file, clients, known).await;
        rows += count;
        complaints.extend(more);
    }
    let versions: Vec<&str> = clients.iter().map(|c| c.version.as_str()).collect();
    report::line(&format!("{program} {}: {rows} rows", versions.join(", ")));
    assert!(
        complaints.is_empty(),
        "{} rows:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// Every kubectl that there is, the newest first.
fn kubectls() -> Option<Vec<Client>> {
    let newest = Client::given("kubectl", "HEDDLE_KUBECTL")?;
    assert_eq!(newest.version, KUBECTL_VERSIONS[0], "the tables' version");
    let mut clients = vec![newest];
    clients.extend(Client::on_path("kubectl"));
    clients.extend(Client::given("kubectl", "HEDDLE_KUBECTL_DEBIAN"));
    clients.sort_by_key(|client| std::cmp::Reverse(numbers(&client.version)));
    clients.dedup_by(|a, b| a.version == b.version);
    Some(clients)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_answers_as_recorded() {
    if let Some(clients) = kubectls() {
        check_all(&Api::Heddle, "kubectl", &clients, &KUBECTL_VERSIONS).await;
    }
}

/// Runs the tables of a program of which there is one version.
async fn check_one(program: &str, variable: &str) {
    if let Some(client) = Client::given(program, variable) {
        let version = client.version.clone();
        check_all(&Api::Heddle, program, &[client], &[version.as_str()]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kn_answers_as_recorded() {
    check_one("kn", "HEDDLE_KN").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_answers_as_recorded() {
    check_one("helm", "HEDDLE_HELM").await;
}

/// Runs a program of ours that uses a library, in a namespace of its own, until it has written so
/// many lines and ended well.
async fn run(program: std::process::Command, namespace: &'static str, steps: usize) {
    let site = Site::heddle(namespace).await;
    let work = tokio::task::spawn_blocking(move || {
        let mut timed = std::process::Command::new("timeout");
        timed.arg("300").arg(program.get_program());
        timed.args(program.get_args());
        for (name, value) in program.get_envs() {
            timed.env(name, value.unwrap_or_default());
        }
        timed
            .arg(site.kubeconfig())
            .arg(namespace)
            .output()
            .unwrap()
    });
    let output = work.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(text.lines().count(), steps, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_finds_what_it_expects() {
    let Some(packages) = site::given("HEDDLE_PYTHON_KUBERNETES") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python.py");
    let mut python = std::process::Command::new("python3");
    python.arg(script).env("PYTHONPATH", packages);
    run(python, "python", 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_go_client_finds_what_it_expects() {
    if let Some(folder) = site::given("HEDDLE_CLIENT_GO") {
        let program = std::process::Command::new(folder.join("bin/client-go"));
        run(program, "go", 9).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_has_the_same_answers_from_a_cluster() {
    let Some(kubeconfig) = std::env::var_os("HEDDLE_KUBECONFIG") else {
        report::line("HEDDLE_KUBECONFIG is not set: nothing is compared with a cluster");
        return;
    };
    if let Some(clients) = kubectls() {
        let api = Api::Cluster(kubeconfig.into());
        check_all(&api, "kubectl", &clients, &KUBECTL_VERSIONS).await;
    }
}

#[test]
fn every_difference_has_its_reason() {
    for file in tables("kubectl") {
        for row in Table::parse(&std::fs::read_to_string(&file).unwrap()).rows {
            let why = row.condition("differs").map(|why| why.split(' ').count());
            assert!(
                why.is_none_or(|words| words > 2),
                "{}: {:?} does not say why a cluster answers otherwise",
                file.display(),
                row.title
            );
        }
    }
}

#[test]
fn tables_are_printed_as_they_were_read() {
    let text = "What it is.\n\n=== a\n@ since 1.23\n@ heddle\nx <<E\n--- y\nE\n>>> exit 0\no\n\
                >>> stderr\ne\n>>> 1.20 exit 3\n\n=== b\nz\n>>> exit 1\n";
    let mut table = Table::parse(text);
    assert_eq!(table.print(), text);
    let row = &table.rows[0];
    assert_eq!(row.condition("since"), Some("1.23"));
    assert_eq!(row.condition("differs"), None);
    assert_eq!(row.script, "x <<E\n--- y\nE");
    assert_eq!(row.expected("1.20").unwrap().exit, 3);
    let expected = row.expected("1.32").unwrap();
    assert_eq!((expected.exit, expected.stdout.as_str()), (0, "o\n"));
    assert_eq!(expected.stderr, "e\n");
    // What is the same for all is written once.
    let (newest, same) = (expected.clone(), expected.clone());
    let found = [("1.36".to_owned(), newest), ("1.20".to_owned(), same)];
    table.rows[0].record(&found);
    assert!(!table.print().contains("1.20"));
}
