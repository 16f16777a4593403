//! The real binary, in a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use super::{Http, wait};

/// The binary that the tests drive.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_heddle");

/// An empty data directory, and what holds it and what processes say while they use it.
pub(crate) fn data_directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    (directory, data)
}

/// A `heddle up` that runs. Dropping it kills it; when a test fails, what it wrote is shown.
#[derive(Debug)]
pub(crate) struct Heddle {
    child: Child,
    data: PathBuf,
    output: PathBuf,
    /// Where events are posted.
    pub(crate) ingress: String,
    /// The Kubernetes-style API.
    pub(crate) api: String,
    /// `/livez`, `/readyz`, `/metrics` and the views.
    pub(crate) admin: String,
    pub(crate) http: Http,
}

/// How to start one.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    data: &'a Path,
    arguments: Vec<String>,
    directory: Option<PathBuf>,
    prefix: Vec<String>,
}

impl<'a> Start<'a> {
    /// On this data directory.
    pub(crate) fn on(data: &'a Path) -> Self {
        Self {
            data,
            arguments: Vec::new(),
            directory: None,
            prefix: Vec::new(),
        }
    }

    /// With more arguments after `up`.
    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|a| (*a).to_owned()));
        self
    }

    /// In this working directory.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Through another program (`unshare`), which ends by running the command line that follows.
    pub(crate) fn through(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|a| (*a).to_owned()).collect();
        self
    }

    /// Starts the process and returns at once: it may not have done anything yet.
    pub(crate) fn spawn(self) -> Spawned {
        // A file of an earlier life must not be taken for this one's.
        let endpoints = self.data.join("endpoints.json");
        let _ = std::fs::remove_file(&endpoints);
        let output = self.data.with_extension("output");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&output)
            .unwrap();
        let mut line = self.prefix;
        line.extend([BINARY.to_owned(), "up".to_owned()]);
        line.extend(["--data".to_owned(), self.data.display().to_string()]);
        for listener in ["--listen", "--api", "--admin"] {
            line.extend([listener.to_owned(), "127.0.0.1:0".to_owned()]);
        }
        line.extend(self.arguments);
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{line:?}: {e}"));
        Spawned {
            child: Some(child),
            data: self.data.to_owned(),
            output,
        }
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn ready(self) -> Heddle {
        self.spawn().ready().await
    }
}

/// A process that was started, ready or not. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Spawned {
    child: Option<Child>,
    data: PathBuf,
    output: PathBuf,
}

impl Spawned {
    /// Waits until it says where it is.
    pub(crate) async fn ready(mut self) -> Heddle {
        let path = self.data.join("endpoints.json");
        let pid = self.child.as_ref().map(Child::id);
        let endpoints = wait::until_now("heddle to be ready", || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("heddle ended with {status} before it was ready");
            }
            read_endpoints(pid.unwrap(), &path)
        })
        .await;
        let url = |name: &str| endpoints[name].as_str().unwrap().to_owned();
        let heddle = Heddle {
            child: self.child.take().unwrap(),
            data: self.data.clone(),
            output: self.output.clone(),
            ingress: url("ingress"),
            api: url("api"),
            admin: url("admin"),
            http: Http::new(),
        };
        assert_eq!(
            endpoints["pid"].as_u64(),
            Some(u64::from(heddle.child.id())),
            "endpoints.json names another process"
        );
        heddle
    }

    /// Kills it with SIGKILL when `moment` has passed. That it ends by itself fails the test.
    pub(crate) async fn kill_after(mut self, moment: Duration) {
        let mut child = self.child.take().unwrap();
        let ended = wait::until_now("heddle to end by itself", || {
            let status = child.try_wait().unwrap();
            status.ok_or_else(|| "running".to_owned())
        });
        if let Ok(status) = tokio::time::timeout(moment, ended).await {
            self.child = Some(child);
            panic!("heddle ended with {status} while it started");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child, &self.output);
        }
    }
}

/// The file, also where it lies in a mount namespace of the process's own.
fn read_endpoints(pid: u32, path: &Path) -> Result<Value, String> {
    let inside = PathBuf::from(format!("/proc/{pid}/root{}", path.display()));
    let text = std::fs::read(&inside)
        .or_else(|_| std::fs::read(path))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    // The file is written by rename: half of it is a defect, not a reason to wait.
    Ok(serde_json::from_slice(&text).expect("endpoints.json is whole when it exists"))
}

impl Heddle {
    /// Starts one on this data directory, and waits until it is ready.
    pub(crate) async fn up(data: &Path) -> Self {
        Start::on(data).ready().await
    }

    /// The URL of a Broker.
    pub(crate) fn broker(&self, name: &str) -> String {
        format!("{}/default/{name}", self.ingress)
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far, to both streams, in all its lives on this data directory.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap()).into_owned()
    }

    /// Kills it where it stands (SIGKILL), and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name, like `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .unwrap();
        assert!(status.success(), "kill -{name}: {status}");
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let child = &mut self.child;
        wait::until_now("heddle to end", || {
            child
                .try_wait()
                .unwrap()
                .ok_or_else(|| "still running".to_owned())
        })
        .await
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The text of `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.admin);
        self.http.get(&url).await.expect(200).text()
    }

    /// The readiness: the status and the reasons.
    pub(crate) async fn readyz(&self) -> (StatusCode, String) {
        let answer = self.http.get(&format!("{}/readyz", self.admin)).await;
        (answer.status, answer.text())
    }
}

impl Drop for Heddle {
    fn drop(&mut self) {
        end(&mut self.child, &self.output);
    }
}

/// Kills the process, and shows what it wrote where a test has failed.
fn end(child: &mut Child, output: &Path) {
    let _ = child.kill();
    let _ = child.wait();
    if std::thread::panicking() {
        let text = std::fs::read(output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(200);
        eprintln!("--- the last of {} lines of heddle:", lines.len());
        for line in &lines[from..] {
            eprintln!("{line}");
        }
    }
}

/// Runs a command of the binary to its end: `heddle apply -f ...`.
pub(crate) async fn run(arguments: &[&str]) -> std::process::Output {
    run_reading(Stdio::null(), arguments).await
}

/// As [`run`], with that standard input.
pub(crate) async fn run_reading(input: Stdio, arguments: &[&str]) -> std::process::Output {
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    let work = tokio::task::spawn_blocking(move || {
        Command::new(BINARY)
            .args(&arguments)
            .stdin(input)
            .output()
            .unwrap()
    });
    tokio::time::timeout(wait::DEADLINE, work)
        .await
        .expect("the command ends by itself")
        .unwrap()
}
