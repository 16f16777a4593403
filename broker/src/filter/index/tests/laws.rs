//! The laws, one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::event::{Event, EventBuilder};
use crate::filter::index::{Index, Pruning, Scratch, Snapshot};
use crate::filter::{AttributesFilter, Filter, Spec};

fn event(ty: &str) -> Event {
    EventBuilder::new("1", "/s", ty)
        .attribute("amount", 250)
        .build()
        .unwrap()
}

fn of_type(ty: &str) -> Filter {
    Filter::Attributes(AttributesFilter::new([("type", ty)]))
}

fn cesql(text: &str) -> Filter {
    let spec = Spec {
        cesql: Some(text.into()),
        ..Spec::default()
    };
    Filter::compile(&[], &[spec]).unwrap()
}

fn found(snapshot: &Snapshot<u32>, event: &Event) -> Vec<u32> {
    let mut all = Vec::new();
    snapshot.matches(event, &mut Scratch::default(), |value, outcome| {
        assert!(outcome.matched);
        all.push(*value);
    });
    all.sort_unstable();
    all
}

#[test]
fn snapshots_keep_what_was_there() {
    let mut index = Index::default();
    let empty = index.snapshot();
    let a = index.insert(of_type("a"), 1);
    let all = index.insert(Filter::All, 2);
    let both = index.snapshot();
    assert!(index.replace(a, of_type("b")));
    let changed = index.snapshot();
    assert!(index.remove(all) && !index.remove(all));
    assert!(!index.replace(all, Filter::All));
    let removed = index.snapshot();
    assert_eq!((index.len(), index.filter(all)), (1, None));
    assert_eq!(index.insert(of_type("a"), 3), all, "slots are given again");

    let seen = |snapshot: &Snapshot<u32>| ["a", "b"].map(|ty| found(snapshot, &event(ty)));
    assert_eq!(seen(&empty), [Vec::<u32>::new(), Vec::new()]);
    assert_eq!(seen(&both), [vec![1, 2], vec![2]]);
    assert_eq!(seen(&changed), [vec![2], vec![1, 2]]);
    assert_eq!(seen(&removed), [Vec::new(), vec![1]]);
    assert_eq!(seen(&index.snapshot()), [vec![3], vec![1]]);
}

/// Every pair of a snapshot and what should be in it stays true while the index goes on changing.
#[test]
fn matching_goes_on_while_filters_change() {
    let ty = |n: u32| format!("t{}", n % 50);
    let mut index = Index::default();
    let mut slots = Vec::new();
    let current = ArcSwap::from_pointee((index.snapshot(), 0_u32));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut rounds = 0_u32;
                while !stop.load(Ordering::Relaxed) || rounds < 100 {
                    let pair = current.load();
                    let (snapshot, count) = &**pair;
                    let all = found(snapshot, &event(&ty(rounds)));
                    let wanted: Vec<u32> = (0..*count).filter(|n| ty(*n) == ty(rounds)).collect();
                    assert_eq!(all, wanted);
                    rounds += 1;
                }
            });
        }
        for count in 0..2000 {
            slots.push(index.insert(of_type(&ty(count)), count));
            current.store(Arc::new((index.snapshot(), count + 1)));
        }
        for count in (1000..2000).rev() {
            assert!(index.remove(slots[count as usize]));
            current.store(Arc::new((index.snapshot(), count)));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(index.len(), 1000);
}

#[test]
fn errors_are_handed_over_or_pruned() {
    let mut index = Index::default();
    index.insert(cesql("INT(type) = 1"), 1);
    index.insert(cesql("absent = 1"), 2);
    let mut errors = Vec::new();
    let stats = index
        .snapshot()
        .matches(&event("a"), &mut Scratch::default(), |value, outcome| {
            assert!(!outcome.matched && outcome.error.is_some());
            errors.push(*value);
        });
    // The second one is known not to want events without that attribute.
    assert_eq!(errors, [1]);
    assert_eq!((stats.evaluations, stats.matched, stats.errors), (1, 0, 1));
}

/// Filters that share one attribute's value are told apart by the next one.
#[test]
fn conjunctions_are_found_without_their_neighbours() {
    let mut index = Index::default();
    for n in 0..10_000_u32 {
        let (kind, place) = (n / 100, n % 100);
        let filter = match n % 4 {
            0 => cesql(&format!("type = 'k{kind}' AND subject = 'p{place}'")),
            1 => cesql(&format!("subject = 'p{place}' AND type LIKE 'k{kind}'")),
            2 => cesql(&format!("type = 'k{kind}' AND num = {place}")),
            _ => cesql(&format!(
                "num > {} AND num <= {place} AND type IN ('k{kind}', 'j{kind}')",
                i64::from(place) - 1
            )),
        };
        index.insert(filter, n);
    }
    let snapshot = index.snapshot();
    let mut scratch = Scratch::default();
    for (kind, place) in [(0, 0), (17, 42), (99, 99), (50, 1)] {
        let event = EventBuilder::new("1", "/s", format!("k{kind}"))
            .attribute("subject", format!("p{place}"))
            .attribute("num", place)
            .build()
            .unwrap();
        let mut all = Vec::new();
        let stats = snapshot.matches(&event, &mut scratch, |n, _| all.push(*n));
        assert_eq!(all, [kind as u32 * 100 + place as u32]);
        assert!(stats.evaluations <= 10, "{stats:?}");
    }
}

/// A branch with two predicates that share a key is found where it was filed, and removed from
/// everywhere.
#[test]
fn predicates_that_share_a_key_are_removed() {
    let one = "amount IN (1, 2) AND amount IN (2, 3) AND amount IN (2, 1, 3)";
    let other = "amount IN (2, 3) AND amount IN (1, 2)";
    let mut index = Index::default();
    for round in 0..2 {
        let slots: Vec<_> = (0..40)
            .map(|n| index.insert(cesql([one, other][n % 2]), round))
            .collect();
        for slot in slots {
            assert!(index.remove(slot));
        }
        assert!(index.is_bare());
    }
}

/// More alternatives than are kept apart are reduced to what they have in common.
#[test]
fn many_alternatives_still_prune() {
    let pairs = |n: i32| format!("(amount = {n} AND type = 'k{n}')");
    let all: Vec<String> = (0..300).map(pairs).collect();
    let filter = cesql(&all.join(" OR "));
    let pruning = filter.pruning();
    assert!(matches!(pruning, Pruning::By(_)), "{pruning}");
    let mut index = Index::default();
    index.insert(filter, 1);
    let snapshot = index.snapshot();
    assert_eq!(found(&snapshot, &event("k250")), [1]);
    let other = EventBuilder::new("1", "/s", "k250").attribute("amount", 1000);
    let other = other.build().unwrap();
    let stats = snapshot.matches(&other, &mut Scratch::default(), |_, _| {});
    assert_eq!((stats.evaluations, stats.matched), (0, 0));
}

#[test]
fn says_what_prunes() {
    let pruning = |text| cesql(text).pruning().to_string();
    for (text, wanted) in [
        ("type = 'a'", "for events with type = 'a'"),
        ("type != 'a'", "for every event"),
        ("subject != 'a'", "for events with EXISTS subject"),
        ("NOT EXISTS subject", "for every event"),
        ("UPPER(subject) = 'A'", "for events with EXISTS subject"),
        (
            "type LIKE 'a.%' AND subject LIKE '%_z'",
            "for events with type begins with 'a.' AND subject ends with 'z'",
        ),
        ("amount > 100", "for events with amount >= 101"),
        ("100 >= amount", "for events with amount <= 100"),
        ("amount > 1 AND amount < 3", "for events with amount = 2"),
        ("amount < -2147483648", "for no event: nothing can pass it"),
    ] {
        assert_eq!(pruning(text), wanted, "{text}");
    }
    assert_eq!(
        pruning("amount = 'x' OR type = 'b'"),
        "for events with amount = 'x' OR EXISTS amount AND type = 'b'"
    );
    assert_eq!(
        pruning("type IN ('a', 'b', 'c', 'd', 'e')"),
        "for events with type IN ('a', 'b', 'c' and 2 more)"
    );
    assert_eq!(Filter::All.pruning(), Pruning::Never);
}

/// What would take too many places is looked up by less than it says, and the rest is evaluated.
#[test]
fn wide_filters_are_narrowed() {
    let pruning = |text: &str| cesql(text).pruning().to_string();
    let values = |head: &str, count: usize| {
        let all: Vec<_> = (0..count).map(|n| format!("'{head}{n}'")).collect();
        all.join(", ")
    };
    let within = |name: &str, head, count| format!("{name} IN ({})", values(head, count));
    let numbers: Vec<_> = (0..150).map(|n| format!("num = {n}")).collect();
    let both = format!("{} AND {}", within("a", "x", 60), within("b", "yz", 20));
    let range = |name: &str| format!("{name} > -2147483647 AND {name} < 2147483646");
    for (text, wanted) in [
        (
            within("type", "", 64),
            "for events with type IN ('0', '1', '2' and 61 more)",
        ),
        (within("type", "", 65), "for every event"),
        (within("a", "", 65), "for events with EXISTS a"),
        (
            within("type", "\u{e9}-", 65),
            "for events with type begins with '\u{e9}-'",
        ),
        (
            numbers.join(" OR "),
            "for events with 0 <= num <= 63 OR 64 <= num <= 127 OR 128 <= num <= 149",
        ),
        (
            both,
            "for events with b IN ('yz0', 'yz1', 'yz2' and 17 more) AND a begins with 'x'",
        ),
        (
            format!("{} AND {}", range("a"), range("b")),
            "for events with -2147483646 <= a <= 2147483645 AND IS_INT(b)",
        ),
    ] {
        assert_eq!(pruning(&text), wanted, "{text}");
    }
}

/// However many filters share its values, one takes no more places than it may.
#[test]
fn a_filter_takes_a_bounded_number_of_places() {
    let values = |n: usize| {
        let all: Vec<_> = (0..n).map(|n| format!("'v{n}'")).collect();
        all.join(", ")
    };
    let mut index = Index::default();
    for n in 0..60 {
        index.insert(
            cesql(&format!("a IN ({}) AND b IN ({})", values(16), values(16))),
            n,
        );
        index.insert(cesql(&format!("a IN ({}) AND num > {n}", values(16))), n);
        index.insert(
            cesql(&format!(
                "a IN ({0}) AND b IN ({0}) AND c IN ({0})",
                values(40)
            )),
            n,
        );
        assert!(index.is_narrow());
    }
}

/// What an operator does not look at is not asked for, and a failed comparison tells nothing: each of
/// these wants its event.
#[test]
fn nothing_is_asked_for_that_is_not_needed() {
    let event = event("a");
    for text in [
        "IS_BOOL(type = 'a' OR absent = 'x')",
        "IS_BOOL(type = 'b' AND absent = 'x')",
        "amount IN ('0250')",
        "type IN ('a', absent)",
        "NOT (type = 'b' XOR type = 'c')",
        "NOT IS_INT(type)",
        "IS_BOOL(IS_INT(type))",
    ] {
        let mut index = Index::default();
        index.insert(cesql(text), 1);
        assert_eq!(found(&index.snapshot(), &event), [1], "{text}");
    }
    let exact = |ty: &str| Spec {
        exact: vec![("type".into(), ty.into())],
        ..Spec::default()
    };
    let not = |spec: Spec| Spec {
        not: Some(Box::new(spec)),
        ..Spec::default()
    };
    let neither = |one: &str, other: &str| Spec {
        all: vec![not(exact(one)), not(exact(other))],
        ..Spec::default()
    };
    for spec in [
        not(neither("a", "b")),
        not(neither("b", "a")),
        not(not(neither("b", "c"))),
    ] {
        let mut index = Index::default();
        index.insert(
            Filter::compile(&[], std::slice::from_ref(&spec)).unwrap(),
            1,
        );
        assert_eq!(found(&index.snapshot(), &event), [1], "{spec:?}");
    }
}
