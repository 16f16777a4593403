//! The servers go away in the middle of a stream.

use std::sync::Arc;
use std::time::Duration;

use heddle_broker::clock::SystemClock;
use heddle_broker::log::Retention;
use heddle_broker::log::kafka::Access;
use heddle_broker::log::suite::{Mortal, survives_kills};

use super::connect;
use super::server::{Cluster, jars};

/// Soon, as the server is killed and will not answer.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Mortal for Cluster {
    fn kill(&mut self) {
        self.kill(0);
    }

    async fn restart(&mut self) {
        self.restart(0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_and_what_was_not_is_refused() {
    let Some(jars) = jars() else { return };
    let mut server = Cluster::single(&jars).await;
    let access = Access::plain(&server.servers());
    let connected = connect(access, Arc::new(SystemClock), TIMEOUT);
    let partitions = connected.open("log", Retention::default());
    survives_kills(&mut server, &connected.store, &**partitions.first(), 3).await;
}
