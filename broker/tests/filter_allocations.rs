//! Matching allocates nothing, once its scratch memory has grown to the filters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use heddle_broker::event::{Event, EventBuilder};
use heddle_broker::filter::index::{Index, Scratch, Stats};
use heddle_broker::filter::{Filter, Spec};

/// Every operator that looks at attributes and makes no text of its own.
const EXPRESSIONS: [&str; 16] = [
    "type = 'com.example.order.created' AND source != '/other'",
    "'com.example.order.created' = type",
    "type LIKE '%.order.%' AND subject LIKE 'order-__'",
    "source IN ('/shop/eu', '/shop/us')",
    "amount > 100 AND amount <= 250 AND -amount < 0",
    "amount % 10 = 0 OR amount / 7 = 3",
    "amount = '250' AND '250' = amount",
    "amount LIKE '2%'",
    "express",
    "express = TRUE XOR amount = 1",
    "NOT EXISTS coupon",
    "coupon = 'SPRING'",
    "number = 17 AND INT(number) = 17 AND IS_INT(number)",
    "LENGTH(subject) = 8 AND LEFT(subject, 5) = 'order'",
    "LOWER(subject) = 'order-17'",
    "TRIM(SUBSTRING(subject, 7)) = '17'",
];

fn event() -> Event {
    EventBuilder::new("1", "/shop/eu", "com.example.order.created")
        .attribute("subject", "order-17")
        .attribute("amount", 250)
        .attribute("number", "17")
        .attribute("express", true)
        .build()
        .unwrap()
}

fn filter(spec: Spec) -> Filter {
    Filter::compile(&[], &[spec]).unwrap()
}

fn cesql(text: &str) -> Filter {
    filter(Spec {
        cesql: Some(text.into()),
        ..Spec::default()
    })
}

#[test]
fn evaluation_allocates_nothing() {
    let event = event();
    for text in EXPRESSIONS {
        let filter = cesql(text);
        let mut matched = false;
        let info = allocation_counter::measure(|| matched = filter.matches(&event));
        assert_eq!(info.count_total, 0, "{text}");
        assert_eq!(matched, !text.contains("coupon = "), "{text}");
    }
}

#[test]
fn matching_allocates_nothing() {
    let event = event();
    let mut index = Index::default();
    for (n, text) in EXPRESSIONS.iter().enumerate() {
        index.insert(cesql(text), n);
    }
    for n in 0..1000 {
        index.insert(cesql(&format!("type = 'x' AND amount = {n}")), n);
        let prefix = vec![("type".to_owned(), format!("com.example.{n}"))];
        index.insert(
            filter(Spec {
                prefix,
                ..Spec::default()
            }),
            n,
        );
    }
    let snapshot = index.snapshot();
    let mut scratch = Scratch::default();
    let mut stats = Stats::default();
    // The first match makes room.
    let mut run = || stats = snapshot.matches(&event, &mut scratch, |_, _| {});
    run();
    let info = allocation_counter::measure(run);
    assert_eq!(info.count_total, 0);
    assert_eq!(stats.matched, EXPRESSIONS.len() - 1);
    assert!(stats.evaluations < 2 * EXPRESSIONS.len(), "{stats:?}");
}
