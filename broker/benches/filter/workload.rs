//! Filters, and events that they want.
//!
//! Filter number `n` of `distinct` wants event number `n` and no other. Where it takes two
//! attributes to tell, `n` is a place on a square, and its two coordinates are the values: each of
//! them is shared by as many filters as the square is wide. With more filters than distinct ones,
//! each comes as often as it takes.

use heddle_broker::event::{Event, EventBuilder};
use heddle_broker::filter::{Filter, Spec};

/// The dialects of the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Exact,
    Prefix,
    Mixed,
    Cesql,
}

/// How many filters want an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matches {
    One,
    Percent,
}

impl Matches {
    pub(crate) const ALL: [Self; 2] = [Self::One, Self::Percent];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Percent => "1%",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::One => "One filter wants each event:",
            Self::Percent => "1% of the filters want each event:",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|all| all.name() == name)
    }

    pub(crate) fn distinct(self, count: usize) -> usize {
        match self {
            Self::One => count,
            Self::Percent => 100,
        }
    }
}

/// Numbers that look random (xorshift), the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

fn texts(wanted: &[(&str, String)]) -> Vec<(String, String)> {
    let owned = wanted.iter();
    owned
        .map(|(name, text)| ((*name).to_owned(), text.clone()))
        .collect()
}

fn exact(wanted: &[(&str, String)]) -> Spec {
    Spec {
        exact: texts(wanted),
        ..Spec::default()
    }
}

fn prefix(wanted: &[(&str, String)]) -> Spec {
    Spec {
        prefix: texts(wanted),
        ..Spec::default()
    }
}

fn suffix(wanted: &[(&str, String)]) -> Spec {
    Spec {
        suffix: texts(wanted),
        ..Spec::default()
    }
}

fn cesql(text: String) -> Spec {
    Spec {
        cesql: Some(text),
        ..Spec::default()
    }
}

/// The two coordinates of `n`.
fn place(n: usize, distinct: usize) -> (usize, usize) {
    let side = (distinct as f64).sqrt().ceil() as usize;
    (n / side, n % side)
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Exact, Self::Prefix, Self::Mixed, Self::Cesql];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::Mixed => "mixed",
            Self::Cesql => "CESQL",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|all| all.name() == name)
    }

    pub(crate) fn event(self, n: usize, distinct: usize) -> Event {
        let (a, b) = place(n, distinct);
        EventBuilder::new(
            format!("7f3c0a52-{n:012}"),
            format!("/shop/p{b}/orders"),
            format!("com.example.k{a}.created"),
        )
        .attribute("time", "2026-03-04T05:06:07Z")
        .attribute("subject", format!("item-{n}"))
        .attribute("region", format!("r{b}"))
        .attribute("tenant", format!("t{n}"))
        .attribute("amount", i32::try_from(n).unwrap())
        .data("application/json", &b"{\"total\": 17}"[..])
        .build()
        .unwrap()
    }

    pub(crate) fn filter(self, n: usize, distinct: usize) -> Filter {
        let (a, b) = place(n, distinct);
        let kind = format!("com.example.k{a}.created");
        let spec = match self {
            Self::Exact => {
                // As most people write it: `filter.attributes`.
                let wanted = texts(&[("subject", format!("item-{n}"))]);
                return Filter::compile(&wanted, &[]).unwrap();
            }
            Self::Prefix => prefix(&[
                ("type", format!("com.example.k{a}.")),
                ("source", format!("/shop/p{b}/")),
            ]),
            Self::Mixed => match n % 6 {
                0 => exact(&[("type", kind), ("region", format!("r{b}"))]),
                1 => prefix(&[
                    ("type", format!("com.example.k{a}.")),
                    ("source", format!("/shop/p{b}/")),
                ]),
                2 => suffix(&[
                    ("type", format!(".k{a}.created")),
                    ("source", format!("/p{b}/orders")),
                ]),
                3 => Spec {
                    all: vec![
                        Spec {
                            any: vec![
                                exact(&[("type", kind)]),
                                exact(&[("type", format!("com.example.k{a}.deleted"))]),
                            ],
                            ..Spec::default()
                        },
                        Spec {
                            not: Some(Box::new(exact(&[("source", "/test".to_owned())]))),
                            ..Spec::default()
                        },
                        exact(&[("region", format!("r{b}"))]),
                    ],
                    ..Spec::default()
                },
                _ => return Self::Cesql.filter(n, distinct),
            },
            Self::Cesql => cesql(expression(n, a, b)),
        };
        Filter::compile(&[], &[spec]).unwrap()
    }
}

/// Eight shapes of expressions, of which few are selective by one attribute.
fn expression(n: usize, a: usize, b: usize) -> String {
    let kind = format!("com.example.k{a}");
    match n % 8 {
        0 => format!("type = '{kind}.created' AND region = 'r{b}'"),
        1 => format!("type LIKE '{kind}.%' AND source LIKE '/shop/p{b}/%'"),
        2 => format!("region = 'r{b}' AND amount >= {n} AND amount < {}", n + 1),
        3 => format!("EXISTS tenant AND tenant = 't{n}'"),
        4 => format!("subject IN ('item-{n}', 'other-{n}') AND NOT (type = 'test')"),
        5 => format!(
            "(type = '{kind}.created' OR type = '{kind}.deleted') AND region = 'r{b}' AND \
             LENGTH(subject) > 3"
        ),
        6 => format!("type LIKE '%.k{a}.created' AND source LIKE '%/p{b}/orders'"),
        _ => format!("amount = {n} AND type != 'test' AND UPPER(region) = 'R{b}'"),
    }
}

/// A number for people: thousands apart, or three digits.
pub(crate) fn grouped(number: f64) -> String {
    if number < 100.0 {
        return format!("{number}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
