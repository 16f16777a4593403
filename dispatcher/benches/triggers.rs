//! What Triggers cost that do not want an event: one broker in memory with 1, 100 and 10,000 of
//! them, of which one matches, from the append to the subscriber in the same process.
//!
//! The worlds live at the same time and take turns, so that the machine's moods hit all of them;
//! what counts are the ratios, of the time on the clock and of the processors' time. Besides: the time to start them, first and after a restart, to
//! change the filter of one, and the memory that each takes.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs
)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use heddle_broker::clock::{Clock, SystemClock};
use heddle_broker::event::{Event, EventBuilder};
use heddle_broker::filter::{AttributesFilter, Filter};
use heddle_broker::log::memory::{MemoryOptions, MemoryStore};
use heddle_broker::log::{Log, LogStore, Retention};
use heddle_dispatcher::config::{
    ConsumerConfig, ConsumerId, DeliveryPolicy, Order, Protocol, Source, Start, Target,
};
use heddle_dispatcher::dispatcher::{TOTAL_BYTES, WINDOW_BYTES};
use heddle_dispatcher::subscriber::{
    Answer, Completeness, Delivery, LocalSubscribers, Outcome, Subscriber,
};
use heddle_dispatcher::{Dispatcher, DispatcherOptions};
use http::{HeaderMap, StatusCode};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SIZES: [usize; 3] = [1, 100, 10_000];
const EVENTS: u64 = 50_000;
/// Events of one append.
const APPEND: usize = 16;
const ROUNDS: usize = 7;
const CHANGES: usize = 200;

/// Takes everything.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

#[async_trait]
impl Subscriber for Counter {
    async fn deliver(&self, _: Delivery) -> Outcome {
        self.0.fetch_add(1, Ordering::Relaxed);
        Outcome::Answer(Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            completeness: Completeness::Whole,
        })
    }
}

struct World {
    triggers: usize,
    log: Arc<dyn Log>,
    dispatcher: Arc<Dispatcher>,
    taken: Arc<Counter>,
    tracker: TaskTracker,
    stop: CancellationToken,
    _registry: Registry,
}

impl World {
    fn open(state: &Path, triggers: usize, log: Arc<dyn Log>) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let taken = Arc::<Counter>::default();
        let handler: Arc<Counter> = Arc::clone(&taken);
        let mut locals = LocalSubscribers::default();
        locals.insert("counter", handler);
        let mut registry = Registry::default();
        let options = DispatcherOptions {
            state: sled::Config::new().path(state),
            state_dir: state.to_owned(),
            dead_letters: MemoryStore::new(MemoryOptions::default()),
            locals,
            clock,
            seed: 7,
            tracker: tracker.clone(),
            stop: stop.clone(),
            force: CancellationToken::new(),
            window_bytes: WINDOW_BYTES,
            total_bytes: TOTAL_BYTES,
        };
        Ok(Self {
            triggers,
            log,
            dispatcher: Dispatcher::open(options, &mut registry)?,
            taken,
            tracker,
            stop,
            _registry: registry,
        })
    }

    fn config(&self, number: usize, kind: &str) -> Result<ConsumerConfig> {
        Ok(ConsumerConfig {
            id: ConsumerId {
                kind: "trigger",
                namespace: "default".into(),
                name: format!("trigger-{number}").into(),
            },
            uid: format!("uid-{number}").into(),
            source: Source {
                name: "broker".into(),
                logs: Arc::clone(&self.log).into(),
            },
            filter: Filter::Attributes(AttributesFilter::new([("type", kind)])),
            subscriber: Some(Arc::new(Target {
                uri: "local://counter/".parse()?,
                ca_certs: None,
                protocol: Protocol::Http1,
            })),
            reply: None,
            dead_letter: None,
            policy: DeliveryPolicy::default(),
            order: Order::Unordered,
            max_in_flight: 100,
            start: Start::Latest,
            keep_position: None,
        })
    }

    /// Starts all Triggers, 64 at a time, as the control plane's writes go; returns the seconds.
    async fn start(&self) -> Result<f64> {
        let began = Instant::now();
        let all: Vec<usize> = (0..self.triggers).collect();
        for some in all.chunks(64) {
            let configs: Result<Vec<_>> = some
                .iter()
                .map(|number| self.config(*number, &format!("kind.{number}")))
                .collect();
            let applied = configs?
                .into_iter()
                .map(|config| self.dispatcher.apply(config));
            try_join_all(applied).await?;
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// Microseconds an event from the first append to the last delivery, on the clock and of the
    /// processors.
    async fn turn(&self) -> Result<[f64; 2]> {
        let event = event()?;
        let goal = self.taken.0.load(Ordering::Relaxed) + EVENTS;
        let (began, cpu) = (Instant::now(), cpu_seconds());
        for _ in 0..EVENTS / APPEND as u64 {
            self.log.append(vec![event.clone(); APPEND])?.await?;
        }
        while self.taken.0.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
        let seconds = [began.elapsed().as_secs_f64(), cpu_seconds() - cpu];
        Ok(seconds.map(|seconds| seconds * 1e6 / EVENTS as f64))
    }

    /// Microseconds that changing the filter of one Trigger takes, the median of many.
    async fn change(&self) -> Result<f64> {
        let mut samples = Vec::new();
        for change in 0..CHANGES {
            let number = self.triggers - 1;
            let config = self.config(number, &format!("other.{change}"))?;
            let began = Instant::now();
            self.dispatcher.apply(config).await?;
            samples.push(began.elapsed().as_secs_f64() * 1e6);
        }
        let last = self.config(self.triggers - 1, &format!("kind.{}", self.triggers - 1))?;
        self.dispatcher.apply(last).await?;
        Ok(median(&mut samples))
    }

    async fn shut_down(self) -> Duration {
        let began = Instant::now();
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        began.elapsed()
    }
}

fn event() -> Result<Event> {
    Ok(EventBuilder::new("1", "/bench", "kind.0")
        .data("application/octet-stream", vec![b'x'; 512])
        .build()?)
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

/// The time that all threads of the process have run.
fn cpu_seconds() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return 0.0;
    };
    let nanos = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

/// Bytes of the process in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0
}

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(bench())
}

async fn bench() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut worlds = Vec::new();
    println!("| Triggers | first start, s | after a restart, s | memory a Trigger, KiB |");
    println!("|---|---|---|---|");
    for triggers in SIZES {
        let store = MemoryStore::new(MemoryOptions {
            capacity: 1 << 30,
            ..MemoryOptions::default()
        });
        let log = store.open("broker", Retention::default())?;
        let state = dir.path().join(triggers.to_string());
        let before = resident();
        let world = World::open(&state, triggers, Arc::clone(&log))?;
        let first = world.start().await?;
        let memory = (resident() - before) / triggers as f64 / 1024.0;
        world.shut_down().await;
        let again = dir.path().join(format!("{triggers}-again"));
        copy(&state, &again)?;
        let world = World::open(&again, triggers, log)?;
        let restart = world.start().await?;
        println!("| {triggers} | {first:.2} | {restart:.2} | {memory:.1} |");
        worlds.push(world);
    }
    let mut turns: Vec<Vec<[f64; 2]>> = vec![Vec::new(); SIZES.len()];
    for _ in 0..ROUNDS {
        for (world, turns) in worlds.iter().zip(&mut turns) {
            turns.push(world.turn().await?);
        }
    }
    let one = turns.first().cloned().unwrap_or_default();
    println!(
        "\n| Triggers, 1 matches | us/event | of 1 | CPU us/event | of 1 | to change one, us |"
    );
    println!("|---|---|---|---|---|---|");
    for (world, turns) in worlds.iter().zip(&turns) {
        let of = |which: usize| {
            let mut own: Vec<f64> = turns.iter().map(|turn| turn[which]).collect();
            let ratios = turns.iter().zip(&one).map(|(a, b)| a[which] / b[which]);
            let ratio = median(&mut ratios.collect::<Vec<_>>());
            format!("{:.2} | {ratio:.2}", median(&mut own))
        };
        let change = world.change().await?;
        println!(
            "| {} | {} | {} | {change:.0} |",
            world.triggers,
            of(0),
            of(1)
        );
    }
    for world in worlds {
        world.shut_down().await;
    }
    Ok(())
}

/// A database that has been open in this process cannot be opened again.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
