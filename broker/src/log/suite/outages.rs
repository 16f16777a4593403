//! What every backend on a server has to survive: kills of the server in the middle of a stream; and how
//! tests open logs there, which takes a while.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use super::{event, read_all, until};
use crate::log::{AppendError, Health, Log, LogStore, OpenError};

/// A server that a test can end and start again.
pub trait Mortal: Send {
    /// Ends it at once, as a power cut would.
    fn kill(&mut self);

    /// Starts it again with what it kept.
    fn restart(&mut self) -> impl Future<Output = ()> + Send;
}

/// Opens something as soon as it can be opened: `changes` grows when it is worth asking again. Blocks, as
/// callers of stores may.
///
/// # Panics
///
/// When it cannot be opened in time.
pub fn opened<T>(
    mut changes: watch::Receiver<u64>,
    patience: Duration,
    open: impl Fn() -> Result<T, OpenError>,
) -> T {
    let mut last = String::new();
    let opening = async {
        loop {
            changes.mark_unchanged();
            match open() {
                Ok(opened) => return opened,
                Err(error) => last = error.to_string(),
            }
            changes.changed().await.unwrap();
        }
    };
    let patient = tokio::time::timeout(patience, opening);
    let opened =
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(patient));
    opened.unwrap_or_else(|_| panic!("the log is not opened: {last}"))
}

/// Kills the server so many times while appends are under way. What was acknowledged is there afterwards,
/// and what was not, was refused as something that may be sent again.
///
/// # Panics
///
/// When that is not so.
pub async fn survives_kills(
    server: &mut impl Mortal,
    store: &dyn LogStore,
    log: &dyn Log,
    rounds: u32,
) {
    let (mut acknowledged, mut refused, mut n) = (BTreeSet::new(), 0, 0);
    for _ in 0..rounds {
        let mut commits = Vec::new();
        for _ in 0..200 {
            commits.push((n, log.append(vec![event(n, 100)])));
            n += 1;
        }
        // Some of them are under way when the server ends.
        server.kill();
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
            matches!(store.health(), Health::Degraded(_))
        })
        .await;
        let away = log.append(vec![event(n, 1)]).map(|_| ());
        let unavailable = matches!(away, Err(AppendError::Unavailable { .. }));
        assert!(unavailable, "{away:?}");
        server.restart().await;
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
    let (kept, _) = read_all(log, 0).await;
    let kept: BTreeSet<String> = kept.iter().map(|one| one.event.id().to_owned()).collect();
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert_eq!(lost, Vec::<&String>::new());
}
