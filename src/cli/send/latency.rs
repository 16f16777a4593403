//! How long answers took, in fixed memory.
//!
//! Durations are counted in buckets of which each is at most 1/32 wider than the one before, so
//! that a quantile is right within about 3 per cent, however many were counted.

use std::time::Duration;

/// Each power of two is divided into so many buckets.
const STEPS: u64 = 32;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();
/// Microseconds up to about 2^40 (twelve days); longer ones are counted in the last bucket.
const POWERS: u32 = 40;

/// Counts durations.
#[derive(Clone, Debug)]
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        let len = (u64::from(POWERS) + 1) * STEPS;
        Self {
            buckets: vec![0; usize::try_from(len).unwrap_or_default()],
            count: 0,
        }
    }
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let index = bucket(micros).min(self.buckets.len().saturating_sub(1));
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
            self.count += 1;
        }
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += others;
        }
        self.count += other.count;
    }

    /// The duration that a share of all did not exceed; `None` where nothing was counted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )] // A rank that is off by one among 2^52 is no loss, and shares are from 0 to 1.
        let rank = ((self.count as f64) * share.clamp(0.0, 1.0))
            .ceil()
            .max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros(upper_bound(index)));
            }
        }
        None
    }
}

/// Durations below `STEPS` microseconds have a bucket each; above, the leading bits decide.
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or_default();
    }
    let shift = micros.ilog2() - STEPS_LOG2;
    let index = u64::from(shift + 1) * STEPS + ((micros >> shift) - STEPS);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The largest number of microseconds in a bucket.
fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    ((index % STEPS + STEPS + 1) << shift) - 1
}
