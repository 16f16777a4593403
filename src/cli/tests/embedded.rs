//! The commands against the API that `heddle up` serves, with its kinds and their admission.

use std::sync::Arc;

use heddle_broker::clock::{Clock as _, SystemClock};
use heddle_crds::api::{Access, ApiServer};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Harness;
use crate::cli::Failure;
use crate::cli::apply::{Outcome, apply_all};
use crate::cli::manifest;

const MANIFESTS: &str = "\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: shop
  labels: {tier: gold}
spec:
  delivery:
    retry: 3
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: mail
spec:
  broker: shop
  subscriber:
    uri: http://127.0.0.1:1/
";

struct Server {
    api: Arc<ApiServer>,
    url: String,
    stop: CancellationToken,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = Arc::new(|| "2026-01-31T12:00:00Z".parse().unwrap());
        let api = ApiServer::open(directory.path(), heddle_crds::kinds(), now).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        api.serve(listener, None, &TaskTracker::new(), &stop);
        Self {
            api,
            url,
            stop,
            _directory: directory,
        }
    }

    async fn run(&self, arguments: &[&str], stdin: &str) -> (Result<(), Failure>, String, String) {
        let mut line = vec!["--api", &self.url];
        line.extend(arguments);
        let (result, harness) = Harness::run(&line, stdin).await;
        (result, harness.out.text(), harness.err.text())
    }
}

#[tokio::test]
async fn manifests_go_in_and_come_out() {
    let server = Server::start().await;
    let apply = ["apply", "-f", "-"];
    let (result, out, err) = server.run(&apply, MANIFESTS).await;
    assert_eq!(result, Ok(()), "{err}");
    assert_eq!(
        out,
        "broker.eventing.knative.dev/shop created\ntrigger.eventing.knative.dev/mail created\n"
    );
    let (_, out, _) = server.run(&apply, MANIFESTS).await;
    assert_eq!(
        out,
        "broker.eventing.knative.dev/shop unchanged\ntrigger.eventing.knative.dev/mail unchanged\n"
    );
    let changed = MANIFESTS.replace("    retry: 3\n", "    backoffDelay: PT1S\n");
    let (_, out, _) = server.run(&apply, &changed).await;
    assert!(
        out.starts_with("broker.eventing.knative.dev/shop configured\n"),
        "{out}"
    );
    let (_, out, _) = server
        .run(&["get", "broker", "shop", "-o", "json"], "")
        .await;
    let broker: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(broker["spec"]["delivery"]["backoffDelay"], "PT1S");
    assert_eq!(broker["spec"]["delivery"].get("retry"), None);
    // What came out goes in again.
    let (_, yaml, _) = server
        .run(&["get", "broker,trigger", "-o", "yaml"], "")
        .await;
    let (result, out, err) = server.run(&apply, &yaml).await;
    assert_eq!(result, Ok(()), "{err}");
    assert_eq!(out.lines().count(), 2, "{out}");
}

#[tokio::test]
async fn tables_have_the_columns_of_the_kinds() {
    let server = Server::start().await;
    server
        .run(&["apply", "-f", "-"], MANIFESTS)
        .await
        .0
        .unwrap();
    let (_, out, _) = server.run(&["get", "trigger", "-A"], "").await;
    assert!(
        out.starts_with("NAMESPACE   NAME   BROKER   SUBSCRIBER_URI"),
        "{out}"
    );
    assert!(out.contains("\ndefault     mail   shop"), "{out}");
    let (_, out, err) = server
        .run(&["get", "brokers", "-l", "tier=gold", "--no-headers"], "")
        .await;
    assert!(out.starts_with("shop"), "{out}{err}");
    let (_, out, _) = server
        .run(&["get", "brokers", "-l", "tier!=gold"], "")
        .await;
    assert_eq!(out, "");
    let (_, out, _) = server.run(&["get", "all", "-o", "name"], "").await;
    assert!(out.contains("broker.eventing.knative.dev/shop\n"), "{out}");
    assert!(out.contains("trigger.eventing.knative.dev/mail\n"), "{out}");
    let (result, out, _) = server.run(&["get", "ns"], "").await;
    assert_eq!(result, Ok(()));
    assert!(out.contains("default"), "{out}");
}

#[tokio::test]
async fn refusals_of_admission_are_shown_in_the_file() {
    let server = Server::start().await;
    let apply = ["apply", "-f", "-"];
    for (from, to, expected) in [
        (
            "    retry: 3",
            "    retry: three",
            "<stdin>:8:5: spec.delivery.retry: ",
        ),
        (
            "    retry: 3",
            "    retry: -1",
            "<stdin>:8:5: spec.delivery.retry: ",
        ),
        (
            "    retry: 3",
            "    backoffDelay: soon",
            "<stdin>:8:5: spec.delivery.backoffDelay: ",
        ),
        (
            "    retry: 3",
            "    backoffPolicy: random",
            "<stdin>:8:5: spec.delivery.backoffPolicy: ",
        ),
        (
            "    uri: http://127.0.0.1:1/",
            "    uri: 3",
            "<stdin>:17:5: spec.subscriber.uri: ",
        ),
    ] {
        let text = MANIFESTS.replace(from, to);
        assert_ne!(text, MANIFESTS);
        let (result, _, err) = server.run(&apply, &text).await;
        assert_eq!(result, Err(Failure::Reported { code: 1 }), "{to}: {err}");
        assert!(err.starts_with(expected), "{to}: {err}");
        assert!(err.contains("^^^^"), "{err}");
    }
    // Nothing is known of a subscriber that is left out, but the place where it belongs.
    let text = MANIFESTS.replace("  subscriber:\n    uri: http://127.0.0.1:1/\n", "");
    let (_, _, err) = server.run(&apply, &text).await;
    assert!(err.starts_with("<stdin>:14:1: spec"), "{err}");
}

#[tokio::test]
async fn the_client_of_the_process_will_do() {
    let server = Server::start().await;
    let loaded = manifest::parse_text("f", MANIFESTS).unwrap();
    let client = server.api.client();
    let results = apply_all(&client, &loaded.resources).await;
    for result in results {
        assert_eq!(result.unwrap().outcome, Outcome::Created);
    }
    let (_, out, _) = server.run(&["delete", "-f", "-"], MANIFESTS).await;
    assert_eq!(
        out,
        "trigger.eventing.knative.dev/mail deleted\nbroker.eventing.knative.dev/shop deleted\n"
    );
}

#[tokio::test]
async fn rows_come_as_objects_change() {
    let server = Server::start().await;
    let (mut harness, command) = Harness::new(&["--api", &server.url, "get", "brokers", "-w"], "");
    let (out, stop) = (harness.out.clone(), harness.context.stop.clone());
    let run = super::run_command(command, &mut harness.context);
    let until = async {
        let seen = async |count: usize| {
            while out.text().lines().count() < count {
                tokio::task::yield_now().await;
            }
        };
        seen(1).await;
        server
            .run(&["apply", "-f", "-"], MANIFESTS)
            .await
            .0
            .unwrap();
        seen(2).await;
        server
            .run(&["delete", "broker", "shop"], "")
            .await
            .0
            .unwrap();
        seen(3).await;
        stop.cancel();
    };
    let both = async { tokio::join!(run, until) };
    let (result, ()) = tokio::time::timeout(std::time::Duration::from_secs(20), both)
        .await
        .unwrap();
    assert_eq!(result, Ok(()));
    let text = out.text();
    assert!(
        text.lines().skip(1).all(|line| line.starts_with("shop")),
        "{text}"
    );
}

#[tokio::test]
async fn a_kubeconfig_opens_a_guarded_api() {
    let directory = tempfile::tempdir().unwrap();
    let now: heddle_crds::api::Now = Arc::new(|| "2026-01-31T12:00:00Z".parse().unwrap());
    let store = directory.path().join("api");
    let api = ApiServer::open(&store, heddle_crds::kinds(), Arc::clone(&now)).unwrap();
    // Certificates are checked against the machine's own clock.
    let clock: heddle_crds::api::Now = Arc::new(|| SystemClock.now());
    let names = vec!["127.0.0.1".to_owned()];
    let access = Access::open(&directory.path().join("access"), names, clock).unwrap();
    let access = Arc::new(access);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let guard = Some(Arc::clone(&access));
    api.serve(listener, guard, &TaskTracker::new(), &stop);
    let path = directory.path().join("kubeconfig");
    let kubeconfig = access.kubeconfig(&url).unwrap();
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let path = path.to_str().unwrap();
    for line in [
        &["get", "namespaces", "--kubeconfig", path][..],
        &["--kubeconfig", path, "--api", &url, "get", "namespaces"],
    ] {
        let (result, harness) = Harness::run(line, "").await;
        assert_eq!(result, Ok(()), "{line:?} {}", harness.err.text());
        assert!(harness.out.text().contains("knative-eventing"), "{line:?}");
    }
    let (result, _) = Harness::run(&["--api", &url, "get", "namespaces"], "").await;
    assert_eq!(result.unwrap_err().exit_code(), 69);
    let data = directory.path().to_str().unwrap();
    let (result, harness) = Harness::run(&["kubeconfig", "--data", data], "").await;
    assert_eq!(result, Ok(()));
    let printed = std::path::PathBuf::from(harness.out.text().trim());
    assert_eq!(printed, std::fs::canonicalize(path).unwrap());
    let server = "https://broker.example:8081";
    let line = ["kubeconfig", "--data", data, "--raw", "--server", server];
    let (result, harness) = Harness::run(&line, "").await;
    assert_eq!(result, Ok(()));
    let raw: serde_json::Value = serde_saphyr::from_str(&harness.out.text()).unwrap();
    assert_eq!(raw["clusters"][0]["cluster"]["server"], server);
    assert_eq!(raw["users"], kubeconfig["users"]);
    let missing = directory.path().join("none");
    let line = ["kubeconfig", "--data", missing.to_str().unwrap()];
    let (result, _) = Harness::run(&line, "").await;
    assert_eq!(result.unwrap_err().exit_code(), 1);
    stop.cancel();
}
