//! The server goes away in the middle of a stream.

use std::sync::Arc;

use heddle_broker::clock::SystemClock;
use heddle_broker::log::Retention;
use heddle_broker::log::suite::{Mortal, survives_kills};

use super::connect;
use super::server::{Server, program};

impl Mortal for Server {
    fn kill(&mut self) {
        self.kill();
    }

    async fn restart(&mut self) {
        self.restart();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_and_what_was_not_is_refused() {
    let Some(program) = program() else { return };
    let mut server = Server::start(&program);
    let connected = connect(&server.url(), Arc::new(SystemClock));
    let log = connected.open("log", Retention::default());
    survives_kills(&mut server, &connected.store, &*log, 5).await;
}
