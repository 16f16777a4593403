//! Keeps a failure that repeats from filling the logs.

use std::time::Duration;

use tokio::time::Instant;

/// A repeated message is written at most this often.
const INTERVAL: Duration = Duration::from_secs(30);

/// Lets the first of many messages pass, then one each interval, with the number of those that
/// were held back.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    last: Option<Instant>,
    held_back: u64,
}

impl Quiet {
    /// Whether to write a message now: how many were held back since the last one.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < INTERVAL)
        {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_message_an_interval() {
        let mut quiet = Quiet::default();
        assert_eq!(quiet.pass(), Some(0));
        assert_eq!(quiet.pass(), None);
        assert_eq!(quiet.pass(), None);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(quiet.pass(), Some(2));
        assert_eq!(quiet.pass(), None);
    }
}
