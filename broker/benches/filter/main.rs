//! What a match costs as the number of Triggers grows: the index, and beside it the linear scan.
//!
//! ```text
//! cargo bench -p heddle-broker --bench filter
//! HEDDLE_BENCH_DOCS=$PWD/docs cargo bench -p heddle-broker --bench filter
//! ```
//!
//! The second form also writes `filters.json` and `filters.svg` there. `HEDDLE_BENCH_MOST` bounds
//! the number of filters (default 1,000,000). `HEDDLE_BENCH_PART=wide` measures updates of the widest
//! filters only, at most 100,000 of them.
//!
//! Each case runs in a process of its own, so that memory is that of the case, and counts its own
//! thread's CPU time, so that neighbours on the machine count less. Rates are those of the best of
//! five rounds. Updates are timed one by one, each with a snapshot taken before and held, which is
//! what makes an update copy anything.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod plot;
mod wide;
mod workload;

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use heddle_broker::event::Event;
use heddle_broker::filter::Filter;
use heddle_broker::filter::index::{Index, Scan, Scratch, Snapshot, Stats};
use serde_json::{Value, json};
use workload::{Kind, Matches};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(150);
/// At least this long, and at least one event.
const SCAN: Duration = Duration::from_millis(400);
const UPDATES: usize = 2000;
const EVENTS: usize = 1024;

/// What this thread has spent so far.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let spent = text.split_whitespace().next().unwrap();
    Duration::from_nanos(spent.parse().unwrap())
}

/// What is resident, in bytes.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [case, kind, count, matches] = &*arguments
        && case == "--case"
    {
        let kind = Kind::named(kind).unwrap();
        let matches = Matches::named(matches).unwrap();
        println!("{}", run(kind, count.parse().unwrap(), matches));
        return;
    }
    if let [case, shape, count] = &*arguments
        && case == "--wide"
    {
        let (shape, count) = (shape.parse().unwrap(), count.parse().unwrap());
        println!("{}", wide::run(shape, count));
        return;
    }
    let most = std::env::var("HEDDLE_BENCH_MOST");
    let most: usize = most.map_or(1_000_000, |text| text.parse().unwrap());
    measure_wide(most.min(100_000));
    if std::env::var("HEDDLE_BENCH_PART").is_ok_and(|part| part == "wide") {
        return;
    }
    measure(most);
}

/// What a process of its own says of one case.
fn case(arguments: &[&str]) -> Value {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let case: Value = serde_json::from_slice(&output.stdout).unwrap();
    eprintln!("{case}");
    case
}

fn measure_wide(count: usize) {
    let text = count.to_string();
    let shapes = 0..wide::SHAPES.len();
    let all: Vec<Value> = shapes
        .map(|shape| case(&["--wide", &shape.to_string(), &text]))
        .collect();
    wide::print(count, &all);
}

fn measure(most: usize) {
    let mut all = Vec::new();
    for matches in Matches::ALL {
        for kind in Kind::ALL {
            for count in std::iter::successors(Some(1), |n| Some(n * 10)) {
                if count > most {
                    break;
                }
                if matches == Matches::Percent && count < 100 {
                    continue;
                }
                let count = count.to_string();
                all.push(case(&["--case", kind.name(), &count, matches.name()]));
            }
        }
    }
    for matches in Matches::ALL {
        print_table(&all, matches);
    }
    println!("\n{}", Value::Array(all.clone()));
    if let Ok(docs) = std::env::var("HEDDLE_BENCH_DOCS") {
        let docs = std::path::Path::new(&docs);
        let lines: Vec<String> = all.iter().map(|case| format!("  {case}")).collect();
        let text = format!("[\n{}\n]\n", lines.join(",\n"));
        std::fs::write(docs.join("filters.json"), text).unwrap();
        std::fs::write(docs.join("filters.svg"), plot::svg(&all)).unwrap();
    }
}

/// One case.
fn run(kind: Kind, count: usize, matches: Matches) -> Value {
    let distinct = matches.distinct(count);
    let mut events = Vec::new();
    let mut random = workload::Random(7);
    for _ in 0..EVENTS {
        events.push(kind.event(random.below(distinct), distinct));
    }
    let before = resident();
    let mut built = None;
    let memory = allocation_counter::measure(|| built = Some(build(kind, count, distinct)));
    let (mut index, slots, build) = built.unwrap();
    let grown = resident() - before;

    let snapshot = index.snapshot();
    let (per_event, stats) = time_matches(&snapshot, &events);
    drop(snapshot);
    let mut updates: Vec<f64> = (0..UPDATES)
        .map(|_| {
            let n = random.below(count);
            let filter = kind.filter(n % distinct, distinct);
            let held = index.snapshot();
            let from = Instant::now();
            assert!(index.replace(slots[n], black_box(filter)));
            let took = from.elapsed();
            drop(held);
            took.as_secs_f64() * 1e6
        })
        .collect();
    updates.sort_by(f64::total_cmp);
    drop(index);
    let scanned = time_scan(kind, count, distinct, &events);
    let events = EVENTS as f64;
    json!({
        "kind": kind.name(),
        "filters": count,
        "matches": matches.name(),
        "events_per_second": (1.0 / per_event).round(),
        "microseconds": round(per_event * 1e6),
        "matched_per_event": round(stats.matched as f64 / events),
        "evaluations_per_event": round(stats.evaluations as f64 / events),
        "bytes_per_filter": round(memory.bytes_current as f64 / count as f64),
        "resident_bytes_per_filter": round(grown / count as f64),
        "build_seconds": round(build.as_secs_f64()),
        "update_microseconds_median": round(updates[UPDATES / 2]),
        "update_microseconds_p99": round(updates[UPDATES * 99 / 100]),
        "scan_events_per_second": round(1.0 / scanned),
        "scan_microseconds": round(scanned * 1e6),
    })
}

/// Three digits that count.
fn round(number: f64) -> f64 {
    if number == 0.0 {
        return 0.0;
    }
    let digits = 10_f64.powf(2.0 - number.abs().log10().floor());
    (number * digits).round() / digits
}

type Built = (
    Index<usize>,
    Vec<heddle_broker::filter::index::Slot>,
    Duration,
);

/// The index, and what it took to put the filters into it, without reading them.
fn build(kind: Kind, count: usize, distinct: usize) -> Built {
    let filters: Vec<Filter> = (0..count)
        .map(|n| kind.filter(n % distinct, distinct))
        .collect();
    let mut index = Index::default();
    let from = cpu();
    let slots = filters
        .into_iter()
        .enumerate()
        .map(|(n, filter)| index.insert(filter, n))
        .collect();
    (index, slots, cpu() - from)
}

/// Seconds of CPU time an event, in the best round, and what one pass over the events did.
fn time_matches(snapshot: &Snapshot<usize>, events: &[Event]) -> (f64, Stats) {
    let mut scratch = Scratch::default();
    let mut best = f64::INFINITY;
    let mut total = Stats::default();
    for event in events {
        let stats = snapshot.matches(event, &mut scratch, |_, _| {});
        total.evaluations += stats.evaluations;
        total.matched += stats.matched;
    }
    for _ in 0..ROUNDS {
        let (from, started, mut passed) = (cpu(), Instant::now(), 0_usize);
        while started.elapsed() < ROUND {
            for event in events.iter().cycle().skip(passed).take(64) {
                snapshot.matches(black_box(event), &mut scratch, |n, _| {
                    black_box(n);
                });
            }
            passed += 64;
        }
        best = best.min((cpu() - from).as_secs_f64() / passed as f64);
    }
    (best, total)
}

/// Seconds of CPU time an event.
fn time_scan(kind: Kind, count: usize, distinct: usize, events: &[Event]) -> f64 {
    let filters = (0..count).map(|n| (kind.filter(n % distinct, distinct), n));
    let scan: Scan<usize> = filters.collect();
    let (from, started, mut passed) = (cpu(), Instant::now(), 0_usize);
    for event in events.iter().cycle() {
        scan.matches(black_box(event), |n, _| {
            black_box(n);
        });
        passed += 1;
        if started.elapsed() > SCAN {
            break;
        }
    }
    (cpu() - from).as_secs_f64() / passed as f64
}

fn print_table(all: &[Value], matches: Matches) {
    println!("\n{}\n", matches.title());
    println!(
        "| filters | kind | events/s | us/event | matches | evaluations | bytes a filter, resident \
         | build s | update us, median | p99 | linear scan events/s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for case in all.iter().filter(|case| case["matches"] == matches.name()) {
        let number = |field: &str| workload::grouped(case[field].as_f64().unwrap());
        println!(
            "| {} | {} | {} | {} | {} | {} | {}, {} | {} | {} | {} | {} |",
            number("filters"),
            case["kind"].as_str().unwrap(),
            number("events_per_second"),
            number("microseconds"),
            number("matched_per_event"),
            number("evaluations_per_event"),
            number("bytes_per_filter"),
            number("resident_bytes_per_filter"),
            number("build_seconds"),
            number("update_microseconds_median"),
            number("update_microseconds_p99"),
            number("scan_events_per_second"),
        );
    }
}
