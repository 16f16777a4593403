//! The processes under test: started, waited for, and killed with whoever holds them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::bare::{self, Role};
use super::{Result, http, setting};

/// The release binary of this build.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_heddle");

const BROKERS: &str = "/apis/eventing.knative.dev/v1/namespaces/default/brokers";
const TRIGGERS: &str = "/apis/eventing.knative.dev/v1/namespaces/default/triggers";

/// A child that does not outlive its owner.
#[derive(Debug)]
pub(crate) struct Owned(Child);

impl Owned {
    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it at once, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) -> Result<Duration> {
        let from = Instant::now();
        Command::new("kill")
            .arg("-TERM")
            .arg(self.pid().to_string())
            .status()?;
        let deadline = from + Duration::from_secs(40);
        while self.0.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("a process did not end within 40 s of SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(from.elapsed())
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A comparison server: the process and where it listens.
#[derive(Debug)]
pub(crate) struct Bare {
    pub(crate) process: Owned,
    pub(crate) addr: SocketAddr,
}

impl Bare {
    /// Starts this executable again in that role.
    pub(crate) fn start(role: Role, target: Option<SocketAddr>) -> Result<Self> {
        let mut child = bare::command(role, target)?
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("a child without an output")?;
        let process = Owned(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self {
            process,
            addr: line.trim().parse().context("a child that did not start")?,
        })
    }
}

/// A running `heddle up`.
#[derive(Debug)]
pub(crate) struct Heddle {
    pub(crate) process: Owned,
    pub(crate) ingress: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The broker that Triggers are made for.
    pub(crate) broker: &'static str,
    /// From just before exec until it said where it listens.
    pub(crate) ready_after: Duration,
    log: PathBuf,
}

impl Heddle {
    /// Starts the release binary on that data directory and waits until it is ready.
    pub(crate) fn start(data: &Path) -> Result<Self> {
        let endpoints = data.join("endpoints.json");
        let _ = std::fs::remove_file(&endpoints);
        let log = data.with_extension("log");
        let output = File::create(&log)?;
        let from = Instant::now();
        let child = Command::new(BINARY)
            .arg("up")
            .arg("--data")
            .arg(data)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--api",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
            ])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut process = Owned(child);
        let deadline = from + Duration::from_secs(setting("HEDDLE_BENCH_START_SECONDS", 60));
        let found = loop {
            let text = std::fs::read_to_string(&endpoints).unwrap_or_default();
            if let Ok(found) = serde_json::from_str::<Value>(&text) {
                break found;
            }
            if Instant::now() > deadline || process.0.try_wait()?.is_some() {
                bail!("heddle did not start; it said:\n{}", said(&log));
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        let ready_after = from.elapsed();
        let addr = |key: &str| -> Result<SocketAddr> {
            let text = found[key].as_str().context("an endpoint that is missing")?;
            Ok(text
                .trim_start_matches("http://")
                .trim_end_matches('/')
                .parse()?)
        };
        Ok(Self {
            ingress: addr("ingress")?,
            api: addr("api")?,
            admin: addr("admin")?,
            process,
            broker: "default",
            ready_after,
            log,
        })
    }

    /// The same with a Broker of that name and class, for whose servers a ConfigMap of the installation is
    /// made. Triggers are made for that Broker then.
    pub(crate) fn start_with_broker(
        data: &Path,
        (name, class): (&'static str, &str),
        (config, values): (&str, &Value),
    ) -> Result<Self> {
        let mut heddle = Self::start(data)?;
        heddle.broker = name;
        let config = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": config, "namespace": "knative-eventing"},
            "data": values,
        });
        heddle.make("/api/v1/namespaces/knative-eventing/configmaps", &config)?;
        let class = json!({"eventing.knative.dev/broker.class": class});
        let broker = json!({
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Broker",
            "metadata": {"name": name, "namespace": "default", "annotations": class},
        });
        heddle.make(BROKERS, &broker)?;
        heddle.wait_ready(&format!("{BROKERS}/{name}"))?;
        Ok(heddle)
    }

    /// The end of what it has said.
    pub(crate) fn said(&self) -> String {
        said(&self.log)
    }

    /// Makes a Trigger for events of that type, and waits until it is ready.
    pub(crate) fn trigger(&self, name: &str, kind: &str, sink: SocketAddr) -> Result<()> {
        self.make_trigger(name, kind, sink, &json!({}))?;
        self.wait_ready(&format!("{TRIGGERS}/{name}"))
    }

    /// The same for the events that are there already, too.
    pub(crate) fn trigger_from_start(
        &self,
        name: &str,
        kind: &str,
        sink: SocketAddr,
    ) -> Result<()> {
        let annotations = json!({"delivery.heddle.dev/start": "earliest"});
        self.make_trigger(name, kind, sink, &annotations)?;
        self.wait_ready(&format!("{TRIGGERS}/{name}"))
    }

    /// Makes an object in the collection at that path.
    pub(crate) fn make(&self, path: &str, object: &Value) -> Result<()> {
        let (status, answer) = http::call(self.api, "POST", path, &object.to_string())?;
        anyhow::ensure!(status == 201, "{path} was answered {status}: {answer}");
        Ok(())
    }

    /// Waits until the object at that path is ready.
    pub(crate) fn wait_ready(&self, path: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let (_, text) = http::call(self.api, "GET", path, "")?;
            if serde_json::from_str(&text).is_ok_and(|object: Value| is_ready(&object)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{path} did not become ready: {text}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes Triggers for events of types that nobody sends, and waits until all there are, are ready.
    pub(crate) fn other_triggers(&self, count: usize, sink: SocketAddr) -> Result<()> {
        const MAKERS: usize = 8;
        std::thread::scope(|scope| {
            let make = |first: usize| {
                (first..count).step_by(MAKERS).try_for_each(|number| {
                    let kind = format!("dev.heddle.other.{number}");
                    self.make_trigger(&format!("other-{number}"), &kind, sink, &json!({}))
                })
            };
            let makers: Vec<_> = (0..MAKERS)
                .map(|first| scope.spawn(move || make(first)))
                .collect();
            makers.into_iter().try_for_each(|maker| {
                let panicked = |_| anyhow::anyhow!("a thread that made Triggers panicked");
                maker.join().map_err(panicked)?
            })
        })?;
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let (_, text) = http::call(self.api, "GET", TRIGGERS, "")?;
            let list: Value = serde_json::from_str(&text)?;
            let items = list["items"].as_array().context("a list without items")?;
            if items.len() >= count && items.iter().all(is_ready) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("of {} Triggers not all became ready", items.len());
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn make_trigger(
        &self,
        name: &str,
        kind: &str,
        sink: SocketAddr,
        annotations: &Value,
    ) -> Result<()> {
        let body = json!({
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations},
            "spec": {
                "broker": self.broker,
                "filter": {"attributes": {"type": kind}},
                "subscriber": {"uri": format!("http://{sink}/")},
                "delivery": {"timeout": "PT10M"},
            },
        });
        self.make(TRIGGERS, &body)
    }

    /// The live figures of a Trigger.
    pub(crate) fn stats(&self, trigger: &str) -> Result<Value> {
        let path = format!("/api/v1/namespaces/default/triggers/{trigger}/stats");
        let (status, body) = http::call(self.admin, "GET", &path, "")?;
        anyhow::ensure!(status == 200, "stats of {trigger}: {status} {body}");
        Ok(serde_json::from_str(&body)?)
    }
}

/// Whether an object says so.
pub(crate) fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn said(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A nats-server with a JetStream store.
#[derive(Debug)]
pub(crate) struct Nats {
    pub(crate) process: Owned,
    pub(crate) addr: SocketAddr,
    pub(crate) version: String,
}

impl Nats {
    /// Starts the server that `NATS_SERVER` or the PATH names, to sync each message; `None` where there is
    /// none.
    pub(crate) fn start(dir: &Path) -> Result<Option<Self>> {
        Self::start_syncing(dir, "always")
    }

    /// The same, to sync that often.
    pub(crate) fn start_syncing(dir: &Path, sync: &str) -> Result<Option<Self>> {
        let program = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
        let Ok(output) = Command::new(&program).arg("--version").output() else {
            return Ok(None);
        };
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let addr = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = dir.join("nats.conf");
        std::fs::write(
            &config,
            format!(
                "listen: \"{addr}\"\njetstream {{ store_dir: \"{}\", sync_interval: \"{sync}\", \
                 max_file_store: 20GB }}\n",
                dir.join("store").display()
            ),
        )?;
        let log = File::create(dir.join("nats.log"))?;
        let child = Command::new(&program)
            .arg("-c")
            .arg(&config)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let process = Owned(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(addr).is_err() {
            if Instant::now() > deadline {
                bail!("nats-server did not start: {}", said(&dir.join("nats.log")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(Self {
            process,
            addr,
            version,
        }))
    }
}
