//! Waiting for a condition, with a deadline and a reason.

use std::future::Future;
use std::time::Duration;

/// How long anything may take before a test gives up: far more than it needs, so that a busy
/// machine fails no test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Asks `probe` again and again until it gives `Ok`; fails the test with what it said last.
pub(crate) async fn until<T, F, Fut>(what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    until_within(DEADLINE, what, &mut probe).await
}

/// As [`until`], with a deadline of its own.
pub(crate) async fn until_within<T, F, Fut>(deadline: Duration, what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let start = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        let last = match probe().await {
            Ok(found) => return found,
            Err(last) => last,
        };
        assert!(
            start.elapsed() < deadline,
            "waited {deadline:?} for {what}; last seen: {last}"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// As [`until`], for a probe that answers at once.
pub(crate) async fn until_now<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    until(what, || std::future::ready(probe())).await
}
