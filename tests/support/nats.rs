//! A real nats-server in a directory of its own, on a free port.
//!
//! `HEDDLE_NATS_SERVER` names the program; `tests/scripts/nats-server.sh` installs one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// The longest that the server is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program; none, said aloud, where the environment does not name one.
pub(crate) fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("HEDDLE_NATS_SERVER") {
        return Some(path.into());
    }
    assert!(
        std::env::var_os("HEDDLE_REQUIRE_SERVERS").is_none(),
        "HEDDLE_NATS_SERVER is not set"
    );
    eprintln!("not run: HEDDLE_NATS_SERVER does not name a nats-server");
    None
}

/// A running server. Ends with this value.
pub(crate) struct Server {
    program: PathBuf,
    directory: TempDir,
    arguments: Vec<String>,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// Starts a server with JetStream on disk.
    pub(crate) fn start(program: &Path) -> Self {
        let mut server = Self::new(program, &[]);
        server.run("-1");
        server
    }

    /// Starts a server with the text of a configuration file.
    pub(crate) fn configured(program: &Path, config: &str) -> Self {
        let mut server = Self::new(program, &[]);
        let file = server.directory.path().join("config");
        std::fs::write(&file, config).unwrap();
        server.arguments = vec!["--config".to_owned(), file.display().to_string()];
        server.run("-1");
        server
    }

    /// A server with more arguments, which does not run yet.
    pub(crate) fn new(program: &Path, arguments: &[String]) -> Self {
        Self {
            program: program.to_owned(),
            directory: TempDir::new().unwrap(),
            arguments: arguments.to_vec(),
            port: 0,
            process: None,
        }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts it on a port, and does not wait until it can be used.
    pub(crate) fn run_on(&mut self, port: u16) {
        self.run(&port.to_string());
    }

    /// Stops it where it stands (`STOP`), or lets it go on (`CONT`).
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id();
        let line = format!("kill -{name} {pid}");
        let status = Command::new("sh").args(["-c", &line]).status().unwrap();
        assert!(status.success(), "kill -{name}: {status}");
    }

    /// Where it can be reached.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again on its port, with what it kept.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        self.run(&port);
    }

    /// The names of its streams.
    pub(crate) async fn streams(&self) -> Vec<String> {
        let client = async_nats::connect(self.url()).await.unwrap();
        let names = async_nats::jetstream::new(client).stream_names();
        futures::TryStreamExt::try_collect(names).await.unwrap()
    }

    fn run(&mut self, port: &str) {
        let ports = self.directory.path().join("ports");
        // What an earlier process left there is of no use.
        drop(std::fs::remove_dir_all(&ports));
        std::fs::create_dir(&ports).unwrap();
        let process = Command::new(&self.program)
            .args(["--addr", "127.0.0.1", "--port", port, "--jetstream"])
            .args(&self.arguments)
            .arg("--store_dir")
            .arg(self.directory.path().join("store"))
            .arg("--ports_file_dir")
            .arg(&ports)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let deadline = Instant::now() + PATIENCE;
        self.port = loop {
            if let Some(port) = port_in(&ports) {
                break port;
            }
            assert!(Instant::now() < deadline, "nats-server does not start");
            std::thread::yield_now();
        };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The port in the file that the server writes when it listens.
fn port_in(directory: &Path) -> Option<u16> {
    let file = std::fs::read_dir(directory).ok()?.next()?.ok()?;
    let text = std::fs::read_to_string(file.path()).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}
