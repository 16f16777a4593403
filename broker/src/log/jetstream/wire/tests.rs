//! A connection to a server that is played here.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::super::ack::Said;
use super::*;

/// The longest that anything here is waited for.
pub(in super::super) const PATIENCE: Duration = Duration::from_secs(20);

/// The server's end of a connection.
pub(in super::super) struct Played(TcpStream);

impl Played {
    /// Greets whoever comes, and lets them in.
    async fn welcomes(listener: &TcpListener) -> (Self, String) {
        let mut server = Self(listener.accept().await.unwrap().0);
        server
            .says("INFO {\"max_payload\":1000,\"headers\":true}\r\n")
            .await;
        let hello = server.hears("PING").await;
        server.says("PONG\r\n").await;
        (server, hello)
    }

    /// A client of a server that has let it in and gone away.
    pub(in super::super) async fn client() -> async_nats::Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let (client, _server) = tokio::join!(async_nats::connect(url), Self::welcomes(&listener));
        client.unwrap()
    }

    pub(in super::super) async fn says(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads up to the end of what contains `wanted`.
    pub(in super::super) async fn hears(&mut self, wanted: &str) -> String {
        let mut heard = String::new();
        let reading = async {
            while !(heard.contains(wanted) && heard.ends_with("\r\n")) {
                let mut piece = vec![0; 16 << 10];
                let length = self.0.read(&mut piece).await.unwrap();
                assert!(length > 0, "the connection ended after {heard:?}");
                heard.push_str(std::str::from_utf8(&piece[..length]).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap();
        heard
    }
}

/// A connection, the server's end of it, and the inbox that it listens to.
pub(in super::super) async fn connected(tracker: &TaskTracker) -> (Arc<Wire>, Played, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let access = Access::new(&format!("nats://u:p@{}", listener.local_addr().unwrap()));
    let welcome = Played::welcomes(&listener);
    let (wire, (mut server, hello)) = tokio::join!(Wire::dial(&access, tracker), welcome);
    assert!(hello.contains("\"user\":\"u\",\"pass\":\"p\""), "{hello}");
    let subscribed = server.hears("SUB ").await;
    let inbox = subscribed.split_whitespace().nth(1).unwrap();
    let inbox = inbox.strip_suffix(".>").unwrap().to_owned();
    (Arc::new(wire.unwrap()), server, inbox)
}

async fn next(lane: &mut Lane) -> Option<Vec<Answer>> {
    let (_, answers) = lane.halves();
    tokio::time::timeout(PATIENCE, answers.recv())
        .await
        .unwrap()
}

fn ack(inbox: &str, lane: u64, token: u64, sequence: u64) -> String {
    let ack = format!("{{\"stream\":\"S\",\"seq\":{sequence}}}");
    format!(
        "MSG {inbox}.{lane:x}.{token:x} 1 {}\r\n{ack}\r\n",
        ack.len()
    )
}

fn stored(token: u64, sequence: u64) -> Answer {
    let said = Said::Stored {
        sequence,
        duplicate: false,
    };
    Answer { token, said }
}

#[tokio::test]
async fn answers_go_to_the_lane_that_they_are_for() {
    let tracker = TaskTracker::new();
    let (wire, mut server, inbox) = connected(&tracker).await;
    let mut first = wire.lane("S").unwrap();
    let mut second = wire.lane("S").unwrap();
    assert_eq!(first.max_payload(), 1000);
    let (parcels, _) = first.halves();
    parcels.send(b"PUB s 0\r\n\r\n".to_vec()).await.unwrap();
    server.hears("PUB s 0\r\n\r\n").await;
    let gone = wire.lane("S").unwrap();
    drop(gone);
    let nobody = format!("{}MSG elsewhere 1 0\r\n\r\n", ack(&inbox, 2, 0, 1));
    let text = [
        ack(&inbox, 0, 10, 1),
        ack(&inbox, 0, 11, 2),
        nobody,
        ack(&inbox, 1, 10, 3),
        "PING\r\n".to_owned(),
        ack(&inbox, 0, 12, 4),
    ];
    server.says(&text.concat()).await;
    server.hears("PONG").await;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.extend(next(&mut first).await.unwrap());
    }
    assert_eq!(heard, [stored(10, 1), stored(11, 2), stored(12, 4)]);
    assert_eq!(next(&mut second).await.unwrap(), [stored(10, 3)]);
}

#[tokio::test]
async fn a_connection_that_is_lost_says_so_to_its_lanes() {
    let tracker = TaskTracker::new();
    let (wire, server, _) = connected(&tracker).await;
    let mut lane = wire.lane("S").unwrap();
    assert!(wire.stands());
    drop(server);
    assert_eq!(next(&mut lane).await, None);
    assert!(!wire.stands());
    assert!(wire.lane("S").is_none());
}

#[tokio::test]
async fn a_server_that_answers_nothing_is_lost() {
    let tracker = TaskTracker::new();
    let (wire, _server, _) = connected(&tracker).await;
    let mut lane = wire.lane("S").unwrap();
    tokio::time::pause();
    let (_, answers) = lane.halves();
    assert_eq!(answers.recv().await, None);
}

#[tokio::test]
async fn a_connection_ends_when_nobody_holds_it() {
    let tracker = TaskTracker::new();
    let (wire, _server, _) = connected(&tracker).await;
    let lane = wire.lane("S").unwrap();
    drop(wire);
    assert!(lane.wire.stands());
    drop(lane);
    tracker.close();
    tokio::time::timeout(PATIENCE, tracker.wait())
        .await
        .unwrap();
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let access = Access::new(&listener.local_addr().unwrap().to_string());
    let server = async {
        let mut server = Played(listener.accept().await.unwrap().0);
        server.says("INFO {\"max_payload\":1000}\r\n").await;
        server.hears("PING").await;
        server.says("-ERR 'Authorization Violation'\r\n").await;
        server
    };
    let tracker = TaskTracker::new();
    let (wire, _server) = tokio::join!(Wire::dial(&access, &tracker), server);
    let why = wire.unwrap_err();
    assert!(why.ends_with("authorization violation"), "{why}");
}
