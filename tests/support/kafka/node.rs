//! One server: its files, its process, and the guard that ends it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::super::wait;
use super::settings::{self, Authority, Layout, Ports};

/// The longest that a server is waited for. Several may start at once, on few cores.
const PATIENCE: Duration = Duration::from_secs(180);
/// What a server writes when it is ready.
const STARTED: &str = "Kafka Server started";

#[derive(Debug)]
pub(super) struct Node {
    jars: PathBuf,
    home: PathBuf,
    ports: Ports,
    /// The arguments of the tool that prepares the directory.
    format: Vec<String>,
    process: Option<Running>,
}

/// A process, and the guard that ends it if nobody else does.
#[derive(Debug)]
struct Running {
    server: Child,
    guard: Child,
}

impl Node {
    pub(super) fn new(
        jars: &Path,
        home: PathBuf,
        id: usize,
        ports: Ports,
        layout: &Layout,
        authority: &Authority,
    ) -> Self {
        let properties = settings::properties(id, &home, &ports, layout, authority);
        std::fs::write(home.join("server.properties"), properties).unwrap();
        std::fs::write(home.join("log4j2.properties"), settings::LOG).unwrap();
        Self {
            jars: jars.to_owned(),
            format: settings::format(&home.join("server.properties"), layout),
            home,
            ports,
            process: None,
        }
    }

    pub(super) fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Prepares the directory, which every server needs once.
    pub(super) async fn format(&mut self) {
        let mut tool = self.java("kafka.tools.StorageTool", "format");
        let mut tool = tool.args(&self.format).spawn().unwrap();
        let ended = wait::until_within(PATIENCE, "the directory to be prepared", || {
            std::future::ready(match tool.try_wait().unwrap() {
                Some(status) => Ok(status),
                None => Err("running".to_owned()),
            })
        });
        let status = ended.await;
        assert!(status.success(), "{}", self.written("format"));
    }

    /// Starts the process.
    pub(super) fn run(&mut self) {
        let mut server = self.java("kafka.Kafka", "output");
        let server = server.arg(self.home.join("server.properties"));
        let server = server.spawn().unwrap();
        // Its input ends with the process of the tests, however that ends.
        let guard = Command::new("sh")
            .args(["-c", "read -r line; kill -KILL \"$0\" 2>/dev/null"])
            .arg(server.id().to_string())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        self.process = Some(Running { server, guard });
    }

    /// Waits until it takes requests.
    pub(super) async fn ready(&mut self) {
        let output = self.home.join("output");
        let server = &mut self.process.as_mut().unwrap().server;
        wait::until_within(PATIENCE, "Kafka to be ready", || {
            let text = std::fs::read_to_string(&output).unwrap_or_default();
            let ended = server.try_wait().unwrap();
            assert!(ended.is_none(), "Kafka has ended: {text}");
            let ready = text.contains(STARTED);
            std::future::ready(if ready { Ok(()) } else { Err(text) })
        })
        .await;
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut running) = self.process.take() {
            running.guard.kill().unwrap();
            running.guard.wait().unwrap();
            running.server.kill().unwrap();
            running.server.wait().unwrap();
        }
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().server.id();
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status()
            .unwrap();
        assert!(status.success(), "kill -{name}: {status}");
    }

    /// A Java program of Kafka's, small and quick to start. What it writes goes to a file, afresh.
    fn java(&self, class: &str, output: &str) -> Command {
        let file = File::create(self.home.join(output)).unwrap();
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                self.home.join("log4j2.properties").display()
            ))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        command
    }

    fn written(&self, output: &str) -> String {
        std::fs::read_to_string(self.home.join(output)).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
