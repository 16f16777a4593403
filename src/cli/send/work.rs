//! Sending: so many connections, each taking the next event when its answer is there.
//!
//! The pace is kept by tickets: event n is not sent before its time, so that a broker that was
//! slow for a while is caught up with. Where the broker answers 429 or 503 with `Retry-After`, the
//! connection waits and sends the same event again, a bounded number of times.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heddle_broker::clock::Clock;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::latency::Latencies;
use super::{Mode, compose, message};
use crate::cli::Context;
use crate::cli::http::{reason, refusal, root_cause};
use crate::cli::show_event::Shown;

/// How often one event is sent when the broker asks to wait.
const ATTEMPTS_MAX: u32 = 10;
/// The longest wait that is honoured; a broker that asks for more has refused.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How many different refusals are told apart.
const REASONS_MAX: usize = 20;
/// How many results wait to be counted.
const QUEUE: usize = 1024;

/// What is sent, where and how fast.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) client: reqwest::Client,
    pub(super) url: String,
    pub(super) mode: Mode,
    pub(super) events: Vec<Shown>,
    /// The id that was asked for.
    pub(super) single_id: Option<String>,
    pub(super) total: u64,
    pub(super) interval: Option<Duration>,
}

/// What became of the events.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    /// Refusals and failures, by what was said.
    pub(super) refused: BTreeMap<String, u64>,
    /// How often the broker asked to wait.
    pub(super) delayed: u64,
    pub(super) latencies: Latencies,
    pub(super) elapsed: Duration,
    /// Why the broker could not be reached, if so.
    pub(super) unreachable: Option<String>,
}

/// What became of one event.
struct Sent {
    outcome: Outcome,
    latency: Duration,
    delayed: u64,
}

enum Outcome {
    Accepted,
    Refused(String),
    Unreachable(String),
    /// The command was stopped first.
    Abandoned,
}

impl Tally {
    fn add(&mut self, sent: Sent) {
        self.delayed += sent.delayed;
        match sent.outcome {
            Outcome::Accepted => {
                self.accepted += 1;
                self.latencies.record(sent.latency);
            }
            Outcome::Refused(reason) => {
                self.latencies.record(sent.latency);
                self.count(reason);
            }
            Outcome::Unreachable(cause) => {
                self.count(cause.clone());
                self.unreachable = Some(cause);
            }
            Outcome::Abandoned => {}
        }
    }

    fn count(&mut self, reason: String) {
        let key = if self.refused.len() < REASONS_MAX || self.refused.contains_key(&reason) {
            reason
        } else {
            "other refusals".to_owned()
        };
        *self.refused.entry(key).or_default() += 1;
    }

    fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// The summary for people.
    pub(super) fn text(&self, total: u64) -> String {
        let mut text = String::new();
        let seconds = self.elapsed.as_secs_f64();
        let refused = self.refused_total();
        let sent = self.accepted + refused;
        // Writing to a string cannot fail.
        let _ = write!(text, "accepted {} of {total}", self.accepted);
        if refused > 0 {
            let _ = write!(text, ", refused {refused}");
        }
        if sent < total {
            let _ = write!(text, ", not sent {}", total - sent);
        }
        if let (Some(p50), Some(p99)) =
            (self.latencies.quantile(0.5), self.latencies.quantile(0.99))
        {
            let (p50, p99) = (millis(p50), millis(p99));
            if total == 1 {
                let _ = write!(text, " in {p50} ms");
            } else {
                #[allow(clippy::cast_precision_loss)] // It is a rate that is rounded anyway.
                let rate = sent as f64 / seconds.max(1e-6);
                let _ = write!(
                    text,
                    " in {seconds:.2} s ({rate:.0} a second); answers: p50 {p50} ms, p99 {p99} ms"
                );
            }
        }
        text.push('\n');
        if self.delayed > 0 {
            let _ = writeln!(text, "waited {} times as the broker asked", self.delayed);
        }
        for (reason, count) in &self.refused {
            let _ = writeln!(text, "{count} times: {reason}");
        }
        text
    }

    /// The summary for programs.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let quantile = |share| {
            self.latencies
                .quantile(share)
                .map(|time| time.as_secs_f64())
        };
        serde_json::json!({
            "accepted": self.accepted,
            "refused": self.refused,
            "delayed": self.delayed,
            "seconds": self.elapsed.as_secs_f64(),
            "p50_seconds": quantile(0.5),
            "p99_seconds": quantile(0.99),
        })
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// Sends everything, or until the command is stopped.
pub(super) async fn run(
    plan: Arc<Plan>,
    connections: usize,
    bar: Option<indicatif::ProgressBar>,
    context: &Context,
) -> Tally {
    let (results, mut arrived) = mpsc::channel(QUEUE);
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let stop = context.stop.child_token();
    for _ in 0..connections {
        let worker = Worker {
            plan: Arc::clone(&plan),
            next: Arc::clone(&next),
            started,
            results: results.clone(),
            stop: stop.clone(),
            clock: Arc::clone(&context.clock),
        };
        context.tracker.spawn(worker.run());
    }
    drop(results);
    let mut tally = Tally::default();
    while let Some(sent) = arrived.recv().await {
        tally.add(sent);
        if let Some(bar) = &bar {
            bar.set_position(tally.accepted + tally.refused_total());
        }
        // Nobody is there: more of the same helps nobody.
        if tally.unreachable.is_some() && tally.accepted == 0 {
            stop.cancel();
        }
    }
    tally.elapsed = started.elapsed();
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    tally
}

struct Worker {
    plan: Arc<Plan>,
    next: Arc<AtomicU64>,
    started: Instant,
    results: mpsc::Sender<Sent>,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
}

impl Worker {
    async fn run(self) {
        loop {
            let ticket = self.next.fetch_add(1, Ordering::Relaxed);
            if ticket >= self.plan.total || self.stop.is_cancelled() {
                return;
            }
            if let Some(interval) = self.plan.interval {
                let due = self.started + interval.mul_f64(ticket_as_f64(ticket));
                if !self.wait_until(due).await {
                    return;
                }
            }
            let sent = self.send(ticket).await;
            // The receiver goes only when everything has ended.
            if self.results.send(sent).await.is_err() {
                return;
            }
        }
    }

    /// False when the command was stopped meanwhile.
    async fn wait_until(&self, due: Instant) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep_until(due) => true,
        }
    }

    async fn send(&self, ticket: u64) -> Sent {
        let event = self.event(ticket);
        let (headers, body) = match self.plan.mode {
            Mode::Binary => message::binary(&event),
            Mode::Structured => message::structured(&event),
        };
        let mut delayed = 0;
        for _ in 0..ATTEMPTS_MAX {
            let begun = Instant::now();
            let request = self
                .plan
                .client
                .post(&self.plan.url)
                .headers(headers.clone())
                .body(body.clone())
                .timeout(ANSWER_TIMEOUT)
                .send();
            let answer = tokio::select! {
                () = self.stop.cancelled() => {
                    return Sent { outcome: Outcome::Abandoned, latency: Duration::ZERO, delayed };
                }
                answer = request => answer,
            };
            let latency = begun.elapsed();
            let response = match answer {
                Ok(response) => response,
                Err(error) => {
                    return Sent {
                        outcome: self.no_answer(&error),
                        latency,
                        delayed,
                    };
                }
            };
            let status = response.status();
            if let Some(wait) = retry_after(status, response.headers(), self.clock.now()) {
                delayed += 1;
                if !self.wait_until(Instant::now() + wait).await {
                    return Sent {
                        outcome: Outcome::Abandoned,
                        latency,
                        delayed,
                    };
                }
                continue;
            }
            let outcome = if status.is_success() {
                // Reading the answer to its end lets the connection be used again.
                refusal(response).await;
                Outcome::Accepted
            } else {
                let text = refusal(response).await;
                Outcome::Refused(format!("{status}: {}", reason(&text)))
            };
            return Sent {
                outcome,
                latency,
                delayed,
            };
        }
        Sent {
            outcome: Outcome::Refused(format!("still asked to wait after {ATTEMPTS_MAX} attempts")),
            latency: Duration::ZERO,
            delayed,
        }
    }

    fn no_answer(&self, error: &reqwest::Error) -> Outcome {
        let cause = root_cause(error);
        let url = &self.plan.url;
        if error.is_connect() {
            Outcome::Unreachable(format!("cannot reach {url}: {cause}"))
        } else {
            Outcome::Refused(format!("no answer from {url}: {cause}"))
        }
    }

    /// The event of that ticket. Of many that are made from one, each has an id of its own.
    fn event(&self, ticket: u64) -> Shown {
        let distinct = self.plan.events.len() as u64;
        let index = usize::try_from(ticket % distinct.max(1)).unwrap_or_default();
        let mut event = self.plan.events.get(index).cloned().unwrap_or_default();
        if self.plan.total > distinct || self.plan.single_id.is_some() && distinct > 1 {
            let id = match &self.plan.single_id {
                Some(id) => format!("{id}-{}", ticket + 1),
                None => Uuid::new_v4().to_string(),
            };
            compose::set(&mut event, "id", id);
        }
        event
    }
}

#[allow(clippy::cast_precision_loss)] // A ticket beyond 2^52 is not reached in a lifetime.
fn ticket_as_f64(ticket: u64) -> f64 {
    ticket as f64
}

/// How long the broker asks to wait (RFC 9110, section 10.2.3), where it does and that is not too
/// long.
fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if !matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return None;
    }
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
            let wait = date.timestamp().duration_since(now);
            Duration::try_from(wait).unwrap_or_default()
        }
    };
    (wait <= WAIT_MAX).then_some(wait)
}
