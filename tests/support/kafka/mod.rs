//! A real Apache Kafka: one process or three, each broker and controller in one, on free ports of
//! the loopback address.
//!
//! `HEDDLE_KAFKA` names the folder of its jars; `tests/scripts/kafka.sh` installs them. Everything
//! ends with the [`Cluster`], and also when the process of the tests ends in another way: a guard
//! beside each server waits for that.
//!
//! A test binary of another crate takes this in with `wait` beside it.

pub(crate) mod client;
mod node;
mod settings;

use std::path::{Path, PathBuf};

use futures::future::join_all;
use tempfile::TempDir;

use node::Node;
pub(crate) use settings::{Authority, PASSWORD, Port, Protection, USER};
use settings::{Layout, Ports};

/// The folder of the jars; none, said aloud, where the environment does not name one.
pub(crate) fn jars() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("HEDDLE_KAFKA") {
        return Some(path.into());
    }
    assert!(
        std::env::var_os("HEDDLE_REQUIRE_SERVERS").is_none(),
        "HEDDLE_KAFKA is not set"
    );
    eprintln!("not run: HEDDLE_KAFKA does not name a folder with Kafka's jars");
    None
}

/// A running cluster. Ends with this value.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    authority: Authority,
    /// The last to go.
    _directory: TempDir,
}

impl Cluster {
    /// Starts one server, and waits until it is ready.
    pub(crate) async fn single(jars: &Path) -> Self {
        Self::start(jars, 1, Protection::None).await
    }

    /// Starts 1 or 3 servers, and waits until all of them are ready. With a protection each has a
    /// second, protected listener.
    pub(crate) async fn start(jars: &Path, servers: usize, protection: Protection) -> Self {
        let directory = TempDir::new().unwrap();
        let authority = Authority::new();
        let ports: Vec<Ports> = (0..servers).map(|_| Ports::reserve()).collect();
        let layout = Layout {
            voters: ports.iter().map(|ports| ports.controller.number).collect(),
            protection,
        };
        let nodes = ports.into_iter().enumerate().map(|(index, ports)| {
            let home = directory.path().join(index.to_string());
            std::fs::create_dir(&home).unwrap();
            Node::new(jars, home, index + 1, ports, &layout, &authority)
        });
        let mut nodes: Vec<Node> = nodes.collect();
        join_all(nodes.iter_mut().map(Node::format)).await;
        nodes.iter_mut().for_each(Node::run);
        join_all(nodes.iter_mut().map(Node::ready)).await;
        Self {
            nodes,
            authority,
            _directory: directory,
        }
    }

    /// Where the cluster can be reached without any protection.
    pub(crate) fn servers(&self) -> String {
        self.listed(|ports| ports.plain.number)
    }

    /// Where the cluster can be reached with the protection that it was started with.
    pub(crate) fn protected(&self) -> String {
        self.listed(|ports| ports.protected.number)
    }

    /// Who has signed the certificates of the servers, and can sign those of clients.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Ends a server at once, as a power cut would. The first one is 0.
    pub(crate) fn kill(&mut self, server: usize) {
        self.nodes[server].kill();
    }

    /// Starts a server again on its ports, with what it kept, and waits until it is ready.
    pub(crate) async fn restart(&mut self, server: usize) {
        self.start_again(server);
        self.nodes[server].ready().await;
    }

    /// Starts a server again, and returns at once.
    pub(crate) fn start_again(&mut self, server: usize) {
        self.nodes[server].kill();
        self.nodes[server].run();
    }

    /// Stops a server where it stands: its connections stay, and nothing answers.
    pub(crate) fn pause(&self, server: usize) {
        self.nodes[server].signal("STOP");
    }

    /// Lets a paused server go on.
    pub(crate) fn resume(&self, server: usize) {
        self.nodes[server].signal("CONT");
    }

    fn listed(&self, port: impl Fn(&Ports) -> u16) -> String {
        let each = self.nodes.iter();
        let each = each.map(|node| format!("127.0.0.1:{}", port(node.ports())));
        each.collect::<Vec<_>>().join(",")
    }
}
