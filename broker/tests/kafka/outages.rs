//! The servers go away in the middle of a stream.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use heddle_broker::clock::SystemClock;
use heddle_broker::log::kafka::Access;
use heddle_broker::log::suite::{event, read_all, until};
use heddle_broker::log::{AppendError, Health, LogStore as _, Retention};

use super::connect;
use super::server::{Cluster, jars};

const ROUNDS: u64 = 3;
/// Soon, as the server is killed and will not answer.
const TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_and_what_was_not_is_refused() {
    let Some(jars) = jars() else { return };
    let mut server = Cluster::single(&jars).await;
    let connected = connect(
        Access::plain(&server.servers()),
        Arc::new(SystemClock),
        TIMEOUT,
    );
    let partitions = connected.open("log", Retention::default()).unwrap();
    let log = partitions.first();
    let (mut acknowledged, mut refused, mut n) = (BTreeSet::new(), 0, 0);
    for _ in 0..ROUNDS {
        let mut commits = Vec::new();
        for _ in 0..200 {
            commits.push((n, log.append(vec![event(n, 100)])));
            n += 1;
        }
        // Some of them are under way when the server ends.
        server.kill(0);
        for (n, commit) in commits {
            let outcome = match commit {
                Ok(commit) => commit.await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(_) => drop(acknowledged.insert(n.to_string())),
                Err(AppendError::Unavailable { .. } | AppendError::Busy { .. }) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        until("the outage is seen", async || {
            matches!(connected.store.health(), Health::Degraded(_))
        })
        .await;
        let away = log.append(vec![event(n, 1)]).map(|_| ());
        assert!(
            matches!(away, Err(AppendError::Unavailable { .. })),
            "{away:?}"
        );
        server.restart(0).await;
        until("appends are taken again", async || {
            match log.append(vec![event(n, 100)]) {
                Ok(commit) => commit.await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
        acknowledged.insert(n.to_string());
        n += 1;
    }
    assert!(refused > 0, "no append was under way at any kill");
    let kept: BTreeSet<String> = read_all(&**log, 0)
        .await
        .0
        .iter()
        .map(|record| record.event.id().to_owned())
        .collect();
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert_eq!(lost, Vec::<&String>::new());
}
