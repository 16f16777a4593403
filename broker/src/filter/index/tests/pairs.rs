//! Every pair of conditions under every operator, all in one index, so that filters crowd and are
//! filed under one predicate after the other: the scan finds the same on every event.

use crate::event::{Event, EventBuilder};
use crate::filter::Filter;
use crate::filter::index::{Index, Scratch};
use crate::filter::spec::Spec;

const CONDITIONS: [&str; 22] = [
    "type = 'a'",
    "type != 'b'",
    "'a' = type",
    "type LIKE 'a%'",
    "type NOT LIKE '%b'",
    "type LIKE '%b'",
    "type IN ('a', 'c')",
    "type NOT IN ('a', x)",
    "type IN (x, 'a')",
    "EXISTS x",
    "x = 'a'",
    "x",
    "IS_INT(x)",
    "n > 1",
    "1 >= n",
    "2 > n",
    "n = 1",
    "n != 2",
    "'01' = n",
    "n IN (TRUE, 'x')",
    "flag = FALSE",
    "TRUE",
];

fn cesql(text: String) -> Spec {
    Spec {
        cesql: Some(text),
        ..Spec::default()
    }
}

/// Both of an operator's values are asked for, and that it has one at all.
fn expressions() -> Vec<Spec> {
    let mut all = Vec::new();
    for one in CONDITIONS {
        all.extend(["", "NOT "].map(|not| cesql(format!("{not}({one})"))));
        for other in CONDITIONS {
            for op in ["AND", "OR", "XOR"] {
                let both = format!("({one}) {op} ({other})");
                all.push(cesql(format!("({both}) = FALSE")));
                all.push(cesql(format!("IS_BOOL({both})")));
                all.push(cesql(both));
            }
        }
    }
    all
}

fn not(spec: Spec) -> Spec {
    Spec {
        not: Some(Box::new(spec)),
        ..Spec::default()
    }
}

fn elements() -> Vec<Spec> {
    let texts = |name: &str, text: &str| vec![(name.to_owned(), text.to_owned())];
    let exact = |name, text| Spec {
        exact: texts(name, text),
        ..Spec::default()
    };
    let prefix = Spec {
        prefix: texts("type", "a"),
        ..Spec::default()
    };
    let suffix = Spec {
        suffix: texts("type", "b"),
        ..Spec::default()
    };
    let mut single = vec![
        exact("type", "a"),
        exact("x", "a"),
        exact("x", ""),
        exact("n", "1"),
        prefix,
        suffix,
        cesql("x = 'a'".to_owned()),
    ];
    single.extend(single.clone().into_iter().map(not));
    let mut all = single.clone();
    for one in &single {
        for other in &single {
            let both = vec![one.clone(), other.clone()];
            let every = Spec {
                all: both.clone(),
                ..Spec::default()
            };
            let some = Spec {
                any: both,
                ..Spec::default()
            };
            all.extend([every, some].into_iter().flat_map(|spec| {
                let negated = not(spec.clone());
                [spec, negated.clone(), not(negated)]
            }));
        }
    }
    all
}

fn events() -> Vec<Event> {
    let mut all = Vec::new();
    for ty in ["a", "b", "ab"] {
        for x in [None, Some("a"), Some("true"), Some("7")] {
            for n in [None, Some("1"), Some("01"), Some("2")] {
                let mut event = EventBuilder::new("1", "/s", ty).attribute("flag", n == Some("1"));
                if let Some(x) = x {
                    event = event.attribute("x", x);
                }
                event = match n {
                    Some("2") => event.attribute("n", 2),
                    Some("1") => event.attribute("n", 1),
                    Some(n) => event.attribute("n", n),
                    None => event,
                };
                all.push(event.build().unwrap());
            }
        }
    }
    all
}

fn agree(specs: Vec<Spec>) {
    let filters: Vec<Filter> = specs
        .into_iter()
        .filter_map(|spec| Filter::compile(&[], &[spec]).ok())
        .collect();
    assert!(filters.len() > 1000, "only {} can be built", filters.len());
    let mut index = Index::default();
    let slots: Vec<_> = filters
        .iter()
        .enumerate()
        .map(|(n, filter)| index.insert(filter.clone(), n))
        .collect();
    let (snapshot, mut scratch) = (index.snapshot(), Scratch::default());
    let mut wanted = 0;
    for event in events() {
        let mut found = vec![0; filters.len()];
        snapshot.matches(&event, &mut scratch, |n, outcome| {
            found[*n] += usize::from(outcome.matched);
        });
        for (filter, found) in filters.iter().zip(found) {
            let matches = filter.matches(&event);
            assert_eq!(found, usize::from(matches), "{filter:?} on {event:?}");
            wanted += found;
        }
    }
    assert!(wanted > filters.len(), "hardly anything matches");
    for slot in slots {
        assert!(index.remove(slot));
    }
    assert!(index.is_bare());
}

#[test]
fn pairs_of_expressions_are_found() {
    agree(expressions());
}

#[test]
fn pairs_of_elements_are_found() {
    agree(elements());
}
