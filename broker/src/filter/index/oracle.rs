//! An index and a linear scan, put to the same filters, changes and events.
//!
//! [`compare`] reads a script from bytes: whatever the bytes are, they are a script. So one generator
//! serves the property test, which draws the bytes, and the fuzz target, which searches for them.
//!
//! What is made is biased towards what tells the two apart: few names and few values, so that
//! filters and events meet; values that differ in their last character, in case, or in type; the
//! bounds of 32 bits; attributes that are missing, empty or spelled unusually; expressions in which
//! an error decides.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use super::width::MAX_WIDTH;
use super::{Index, Scan, Scratch, Slot, Snapshot};
use crate::event::{Attribute, AttributeKind, DataForm, Event, Packer, SpecVersion};
use crate::filter::spec::{Spec, Texts};
use crate::filter::{Filter, Outcome};

/// The most steps of a script.
const MAX_STEPS: usize = 400;
/// How deep filters and expressions are nested.
const DEPTH: usize = 3;

const NAMES: [&str; 8] = [
    "type",
    "source",
    "num",
    "num",
    "flag",
    "ext",
    "specversion",
    "absent",
];

const SHORT: [&str; 21] = [
    "a",
    "ab",
    "abc",
    "abd",
    "Abc",
    "c",
    "bc",
    "com.example.order.created",
    "com.example.order.deleted",
    "1.0",
    "7",
    "07",
    "+7",
    "-0",
    "0",
    "-1",
    "2147483647",
    "true",
    "TRUE",
    "false",
    "\u{e9}\u{10348}\u{e9}",
];

/// Lengths around those at which prefixes and suffixes are cut off.
const LENGTHS: [usize; 12] = [31, 32, 33, 63, 64, 65, 96, 255, 256, 257, 512, 600];

/// All texts; the long ones begin and end with each other.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let short = SHORT.into_iter().map(str::to_owned);
    short.chain(LENGTHS.map(|len| "x".repeat(len))).collect()
});

const NUMBERS: [i32; 9] = [
    0,
    1,
    -1,
    7,
    8,
    i32::MAX,
    i32::MAX - 1,
    i32::MIN,
    i32::MIN + 1,
];

/// Bytes as decisions. Behind the end there are zeros.
struct Choices<'b> {
    bytes: std::slice::Iter<'b, u8>,
}

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or_default()
    }

    /// A number below `n`, which is at most 256.
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 1
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).copied()
    }

    fn name(&mut self) -> &'static str {
        self.of(&NAMES).unwrap_or("type")
    }

    fn text(&mut self) -> &'static str {
        let number = self.below(TEXTS.len());
        TEXTS.get(number).map_or("a", String::as_str)
    }

    fn number(&mut self) -> i32 {
        match self.of(&NUMBERS) {
            Some(number) if !self.one_in(6) => number,
            _ => i32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()]),
        }
    }

    fn texts(&mut self, may_be_empty: bool) -> Texts {
        let count = 1 + self.below(3);
        let mut all = Texts::new();
        for _ in 0..count {
            let text = if may_be_empty && self.one_in(6) {
                ""
            } else {
                self.text()
            };
            all.push((self.name().into(), text.into()));
        }
        all
    }

    fn spec(&mut self, depth: usize) -> Spec {
        let mut spec = Spec::default();
        let nested = |choices: &mut Self| {
            let count = 1 + choices.below(3);
            (0..count).map(|_| choices.spec(depth - 1)).collect()
        };
        match self.below(if depth == 0 { 8 } else { 12 }) {
            0 | 1 => spec.exact = self.texts(true),
            2 => spec.prefix = self.texts(false),
            3 => spec.suffix = self.texts(false),
            4 if self.one_in(3) => {
                let wanted = self.below(3);
                spec.data = Some(serde_json::json!({"path": "$.n", "exact": wanted}));
            }
            8 => spec.all = nested(self),
            9 => spec.any = nested(self),
            10 | 11 => spec.not = Some(Box::new(self.spec(depth - 1))),
            _ => {
                let mut text = String::new();
                let depth = self.below(DEPTH + 1);
                self.expression(&mut text, depth);
                spec.cesql = Some(text);
            }
        }
        spec
    }

    /// A filter, with what cannot be built left out.
    fn filter(&mut self) -> Filter {
        if self.one_in(5) {
            let attributes = self.texts(true);
            return Filter::compile(&attributes, &[]).unwrap_or_default();
        }
        let count = 1 + self.below(2);
        let specs: Vec<_> = (0..count).map(|_| self.spec(2)).collect();
        Filter::compile(&[], &specs).unwrap_or_default()
    }

    /// More values than the index files one by one, or not quite.
    fn many(&mut self, text: &mut String) {
        let (name, count) = (self.name(), 2 + self.below(8) * 20);
        let (first, step) = (self.number(), 1 + self.below(3));
        let number = |n: usize| first.saturating_add(i32::try_from(n * step).unwrap_or_default());
        let head = self.of(&["", "a", "com.example.order."]).unwrap_or("");
        let all: Vec<String> = match self.below(3) {
            0 => (0..count).map(|n| number(n).to_string()).collect(),
            1 => (0..count).map(|n| format!("'{head}{n}'")).collect(),
            _ => {
                let all = (0..count).map(|n| format!("{name} = {}", number(n)));
                text.push_str(&all.collect::<Vec<_>>().join(" OR "));
                return;
            }
        };
        let _ = write!(text, "{name} IN ({}, {})", all.join(", "), self.literal());
    }

    fn quoted(&mut self) -> String {
        format!("'{}'", self.text())
    }

    fn literal(&mut self) -> String {
        match self.below(4) {
            0 => self.number().to_string(),
            1 if self.one_in(2) => "TRUE".to_owned(),
            1 => "false".to_owned(),
            _ => self.quoted(),
        }
    }

    fn pattern(&mut self) -> String {
        let count = 1 + self.below(3);
        let parts = ["%", "_", "a", "%", "bc", "com.example.", "\\%", "7"];
        let parts = (0..count).map(|_| match self.below(3) {
            0 => self.text(),
            _ => self.of(&parts).unwrap_or("%"),
        });
        parts.collect()
    }

    /// An expression over one attribute, of the kinds that an index looks into.
    fn comparison(&mut self, text: &mut String) {
        let name = self.name();
        let op = self.of(&["=", "!=", "<", "<=", ">", ">="]).unwrap_or("=");
        let not = if self.one_in(3) { "NOT " } else { "" };
        let _ = match self.below(10) {
            0 => write!(text, "{name}"),
            1 => write!(text, "EXISTS {name}"),
            2 => write!(text, "{name} {not}LIKE '{}'", self.pattern()),
            3 => {
                let (one, two) = (self.literal(), self.literal());
                write!(text, "{name} {not}IN ({one}, {two})")
            }
            4 => write!(text, "{} {op} {name}", self.literal()),
            5 => write!(text, "{} {op} {name}", self.number()),
            6 => write!(text, "{name} {op} {}", self.number()),
            9 if self.one_in(4) => {
                self.many(text);
                Ok(())
            }
            _ => write!(text, "{name} {op} {}", self.literal()),
        };
    }

    fn expression(&mut self, text: &mut String, depth: usize) {
        if depth == 0 {
            return self.comparison(text);
        }
        text.push('(');
        match self.below(16) {
            0..=5 => self.comparison(text),
            6..=11 => {
                self.expression(text, depth - 1);
                for _ in 0..=self.below(3) {
                    let op = self.of(&["AND", "OR", "AND", "OR", "XOR"]);
                    let _ = write!(text, " {} ", op.unwrap_or("AND"));
                    self.expression(text, depth - 1);
                }
            }
            12 => {
                text.push_str("NOT ");
                self.expression(text, depth - 1);
            }
            13 => {
                let name = self.of(&["BOOL", "IS_INT", "IS_BOOL", "LENGTH", "LOWER", "ABS", "INT"]);
                let _ = write!(text, "{}(", name.unwrap_or("BOOL"));
                if self.one_in(2) {
                    text.push_str(self.name());
                } else {
                    self.expression(text, depth - 1);
                }
                text.push(')');
                if self.one_in(2) {
                    let _ = write!(text, " = {}", self.literal());
                }
            }
            14 => {
                let (one, two) = (self.name(), self.name());
                let op = self.of(&["=", "<", "+", "/"]).unwrap_or("=");
                let _ = write!(text, "{one} {op} {two} != {}", self.literal());
            }
            _ => {
                self.expression(text, depth - 1);
                let op = self.of(&["=", "!=", "IN (TRUE) =", ">"]).unwrap_or("=");
                let _ = write!(text, " {op} {}", self.literal());
            }
        }
        text.push(')');
    }

    /// An event as the log may hold it, which is more than the codecs let in: numbers that are
    /// spelled unusually, and an attribute that is there twice.
    fn event(&mut self) -> Event {
        let version = if self.one_in(4) {
            SpecVersion::V03
        } else {
            SpecVersion::V1
        };
        let mut packer = Packer::new(version, 256);
        for name in ["id", "source", "type"] {
            self.attribute(&mut packer, name);
        }
        for _ in 0..self.below(7) {
            let name = self.name();
            if !["source", "type", "specversion", "absent"].contains(&name) {
                self.attribute(&mut packer, name);
            }
        }
        if self.one_in(16) {
            // More attributes than a bucket of the index has.
            for n in 0..40 {
                self.attribute(&mut packer, &format!("x{n}"));
            }
        }
        let data = self
            .of(&["", "{\"n\": 0}", "{\"n\": 1}", "{"])
            .unwrap_or("");
        let form = if data.is_empty() {
            DataForm::None
        } else {
            DataForm::Json
        };
        packer
            .finish(form, data.as_bytes())
            .unwrap_or_else(|_| unreachable!("the required attributes are there"))
    }

    fn attribute(&mut self, packer: &mut Packer, name: &str) {
        let number = self.number().to_string();
        let (kind, text) = match self.below(6) {
            0 => (AttributeKind::Integer, &*number),
            1 => (AttributeKind::Integer, self.text()),
            2 => (
                AttributeKind::Boolean,
                self.of(&["true", "false"]).unwrap_or("true"),
            ),
            3 if self.one_in(3) => (AttributeKind::String, ""),
            _ => (AttributeKind::String, self.text()),
        };
        let header = None;
        // One that does not fit is left out.
        let _ = packer.push(&Attribute {
            name,
            kind,
            text,
            header,
        });
    }
}

/// The filters that an index should have.
type Model = BTreeMap<usize, Filter>;

/// Runs a script.
///
/// # Panics
///
/// Where the index and the scan disagree.
#[allow(clippy::panic)]
pub fn compare(script: &[u8]) {
    let mut choices = Choices {
        bytes: script.iter(),
    };
    let mut index = Index::default();
    let mut slots: Vec<(Slot, usize)> = Vec::new();
    let mut model = Model::new();
    let mut scratch = Scratch::default();
    let mut old: Vec<(Snapshot<usize>, Model)> = Vec::new();
    let mut next = 0;
    for _ in 0..MAX_STEPS {
        if choices.bytes.as_slice().is_empty() {
            break;
        }
        match choices.below(10) {
            0..=2 => {
                // Many alike, so that buckets fill up.
                let filter = match model.values().nth(choices.below(64)) {
                    Some(known) if choices.one_in(4) => known.clone(),
                    _ => choices.filter(),
                };
                slots.push((index.insert(filter.clone(), next), next));
                model.insert(next, filter);
                next += 1;
            }
            3 if !slots.is_empty() => {
                let (slot, value) = slots.swap_remove(choices.below(slots.len().min(256)));
                assert!(index.remove(slot), "a slot is removed");
                model.remove(&value);
            }
            4 if !slots.is_empty() => {
                if let Some((slot, value)) = choices.of(&slots) {
                    let filter = choices.filter();
                    assert!(index.replace(slot, filter.clone()), "a slot is replaced");
                    model.insert(value, filter);
                }
            }
            5 if old.len() < 4 => old.push((index.snapshot(), model.clone())),
            _ => agree(&index.snapshot(), &model, &choices.event(), &mut scratch),
        }
        assert_eq!(index.len(), model.len(), "every filter is counted");
    }
    let event = choices.event();
    old.push((index.snapshot(), model));
    for (snapshot, model) in &old {
        agree(snapshot, model, &event, &mut scratch);
    }
    assert!(index.is_narrow(), "a filter takes too many places");
    for (slot, _) in slots {
        index.remove(slot);
    }
    assert!(index.is_bare(), "what is removed leaves nothing behind");
}

/// # Panics
///
/// Where the snapshot does not find what a scan over the filters finds.
fn agree(snapshot: &Snapshot<usize>, model: &Model, event: &Event, scratch: &mut Scratch) {
    let scan: Scan<usize> = model
        .iter()
        .map(|(n, filter)| (filter.clone(), *n))
        .collect();
    let mut wanted: BTreeMap<usize, Outcome> = BTreeMap::new();
    scan.matches(event, |n, outcome| {
        wanted.insert(*n, outcome);
    });
    let mut found: BTreeMap<usize, Outcome> = BTreeMap::new();
    let stats = snapshot.matches(event, scratch, |n, outcome| {
        assert!(found.insert(*n, outcome).is_none(), "{n} was found twice");
    });
    for (n, outcome) in &wanted {
        // A filter that only failed may have been passed over.
        let may_be_missing = !outcome.matched && !found.contains_key(n);
        assert!(
            may_be_missing || found.get(n) == Some(outcome),
            "{event:?} against {:?}: scan {outcome:?}, index {:?}",
            model.get(n),
            found.get(n),
        );
    }
    for n in found.keys() {
        assert!(wanted.contains_key(n), "{event:?} found {:?}", model.get(n));
    }
    let matched = wanted.values().filter(|outcome| outcome.matched).count();
    assert_eq!(stats.matched, matched, "matches are counted");
    assert!(stats.evaluations <= model.len(), "each is evaluated once");
}

impl<T> Index<T> {
    /// Whether there is nothing at all in the tree.
    pub(super) fn is_bare(&self) -> bool {
        self.is_empty() && self.root.is_bare()
    }

    /// Whether there are no more places in use than the filters may have.
    pub(super) fn is_narrow(&self) -> bool {
        self.root.places() <= self.len() * MAX_WIDTH
    }
}
