//! What an update costs where filters are as wide as they get: the worst cases of the index.
//!
//! A thousand different filters of each kind, a hundred Triggers with each. A random one of the
//! Triggers gets another one of the filters while a snapshot is held.

use std::hint::black_box;
use std::time::Instant;

use heddle_broker::filter::index::Index;
use heddle_broker::filter::{Filter, Spec};
use serde_json::{Value, json};

use crate::workload::{Random, grouped};

const DIFFERENT: usize = 1000;
const UPDATES: usize = 1000;

/// What makes a filter wide.
type Shape = (&'static str, fn(usize) -> String);

pub(crate) const SHAPES: [Shape; 10] = [
    ("type = 'x', for comparison", |n| format!("type = 't{n}'")),
    ("IN of 32 texts", |n| is_in("subject", n, 32)),
    ("IN of 64 texts", |n| is_in("subject", n, 64)),
    ("IN of 1,000 texts", |n| is_in("subject", n, 1000)),
    ("two IN of 8 texts", |n| {
        let (one, other) = (is_in("subject", n % 10, 8), is_in("region", n / 10, 8));
        format!("{one} AND {other}")
    }),
    ("three IN of 20 texts", |n| {
        let names = ["subject", "region", "tenant"];
        let all = names.map(|name| is_in(name, n % 30, 20));
        all.join(" AND ")
    }),
    ("a range of some 60 blocks", |n| {
        format!(
            "amount > {} AND amount < {}",
            -2_147_483_647 + n as i64,
            2_147_483_646 - n
        )
    }),
    ("64 alternatives of two attributes", |n| {
        let pair = |m: usize| format!("subject = 's{}' AND region = 'r{m}'", m * 7 + n);
        let all: Vec<_> = (0..64).map(|m| format!("({})", pair(m))).collect();
        all.join(" OR ")
    }),
    ("700 alternatives, then 500 conditions", |n| {
        let some: Vec<_> = (0..700)
            .map(|m| format!("type='{}'", n * 700 + m))
            .collect();
        let more = " AND n=1".repeat(500);
        format!("({}){more}", some.join(" OR "))
    }),
    ("30 pairs of alternatives", |n| {
        let pair = |m: usize| format!("(a{m} = {n} OR b{m} = {n})");
        (0..30).map(pair).collect::<Vec<_>>().join(" AND ")
    }),
];

fn is_in(name: &str, n: usize, values: usize) -> String {
    let all: Vec<_> = (0..values).map(|m| format!("'v{}'", n * 50 + m)).collect();
    format!("{name} IN ({})", all.join(", "))
}

fn filter(text: String) -> Filter {
    let spec = Spec {
        cesql: Some(text),
        ..Spec::default()
    };
    Filter::compile(&[], &[spec]).unwrap()
}

/// One shape, in a process of its own.
pub(crate) fn run(shape: usize, count: usize) -> Value {
    let (name, text) = SHAPES[shape];
    let filters: Vec<Filter> = (0..DIFFERENT).map(|n| filter(text(n))).collect();
    let mut random = Random(7);
    let mut index = Index::default();
    let mut slots = Vec::new();
    let mut build = crate::cpu();
    let memory = allocation_counter::measure(|| {
        for n in 0..count {
            slots.push(index.insert(filters[n % DIFFERENT].clone(), n));
        }
    });
    build = crate::cpu() - build;
    let mut updates: Vec<f64> = (0..UPDATES)
        .map(|_| {
            let (slot, other) = (slots[random.below(count)], random.below(DIFFERENT));
            let filter = filters[other].clone();
            let held = index.snapshot();
            let from = Instant::now();
            assert!(index.replace(slot, black_box(filter)));
            let took = from.elapsed();
            drop(held);
            took.as_secs_f64() * 1e6
        })
        .collect();
    updates.sort_by(f64::total_cmp);
    json!({
        "shape": name,
        "bytes_per_filter": crate::round(memory.bytes_current as f64 / count as f64),
        "build_microseconds": crate::round(build.as_secs_f64() * 1e6 / count as f64),
        "update_microseconds_median": crate::round(updates[UPDATES / 2]),
        "update_microseconds_p99": crate::round(updates[UPDATES * 99 / 100]),
    })
}

pub(crate) fn print(count: usize, all: &[Value]) {
    let count = grouped(count as f64);
    println!("\nThe widest filters, {count} Triggers:\n");
    println!("| filter | index bytes each | to file one, us | update us, median | p99 |");
    println!("|---|---|---|---|---|");
    for case in all {
        let number = |field: &str| grouped(case[field].as_f64().unwrap());
        println!(
            "| {} | {} | {} | {} | {} |",
            case["shape"].as_str().unwrap(),
            number("bytes_per_filter"),
            number("build_microseconds"),
            number("update_microseconds_median"),
            number("update_microseconds_p99"),
        );
    }
}
