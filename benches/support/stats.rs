//! Medians, ranges and percentiles of small sets of samples.

/// The median with the range beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// The spread of some samples; all zero where there are none.
pub(crate) fn spread(samples: &[f64]) -> Spread {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
        return Spread {
            median: 0.0,
            min: 0.0,
            max: 0.0,
        };
    };
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Spread {
        median,
        min: *min,
        max: *max,
    }
}

impl Spread {
    /// `median [min-max]` with that many decimals.
    pub(crate) fn text(&self, decimals: usize) -> String {
        format!(
            "{:.decimals$} [{:.decimals$}-{:.decimals$}]",
            self.median, self.min, self.max
        )
    }
}

/// Round by round, one series over the other: neighbours disturb both of a round alike.
pub(crate) fn ratio(above: &[f64], below: &[f64]) -> Spread {
    let each: Vec<f64> = above.iter().zip(below).map(|(a, b)| a / b).collect();
    spread(&each)
}

/// Latencies, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    sorted: Vec<u64>,
}

impl Latencies {
    pub(crate) fn new(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        Self { sorted: samples }
    }

    /// The smallest sample that at least this fraction does not exceed, in milliseconds.
    pub(crate) fn quantile_ms(&self, fraction: f64) -> f64 {
        if self.sorted.is_empty() {
            return f64::NAN;
        }
        let rank = (fraction * self.sorted.len() as f64).ceil() as usize;
        self.sorted[rank.clamp(1, self.sorted.len()) - 1] as f64 / 1e6
    }

    /// `p50 / p99 / p99.9` in milliseconds.
    pub(crate) fn text(&self) -> String {
        format!(
            "{:.2} / {:.2} / {:.2}",
            self.quantile_ms(0.5),
            self.quantile_ms(0.99),
            self.quantile_ms(0.999)
        )
    }
}
