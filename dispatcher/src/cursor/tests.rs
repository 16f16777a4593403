#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What happens to a cursor. Numbers are reduced to something that makes sense at that moment.
#[derive(Clone, Debug)]
enum Step {
    Begin(u64),
    Pass(u64),
    Complete(usize),
    CompleteAny(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..5u64).prop_map(Step::Begin),
        1 => (0..7u64).prop_map(Step::Pass),
        3 => (0..64usize).prop_map(Step::Complete),
        1 => (0..200u64).prop_map(Step::CompleteAny),
    ];
    prop::collection::vec(step, 0..200)
}

/// The obvious implementation: a set of all offsets that are done.
#[derive(Default)]
struct Model {
    next: u64,
    done: BTreeSet<u64>,
}

impl Model {
    fn open(&self) -> Vec<u64> {
        (0..self.next)
            .filter(|at| !self.done.contains(at))
            .collect()
    }

    fn floor(&self) -> u64 {
        (0..self.next)
            .find(|at| !self.done.contains(at))
            .unwrap_or(self.next)
    }

    fn apply(&mut self, cursor: &mut Cursor, step: &Step) {
        match *step {
            Step::Begin(skip) => {
                let offset = self.next + skip;
                self.done.extend(self.next..offset);
                self.next = offset + 1;
                assert!(cursor.begin(offset));
                assert!(!cursor.begin(offset), "an offset begins once");
            }
            Step::Pass(skip) => {
                let to = self.next + skip;
                self.done.extend(self.next..to);
                self.next = to;
                cursor.pass(to);
                cursor.pass(to.saturating_sub(3));
            }
            Step::Complete(nth) => {
                let open = self.open();
                if let Some(&offset) = open.get(nth % open.len().max(1)) {
                    self.done.insert(offset);
                    assert!(cursor.complete(offset));
                }
            }
            Step::CompleteAny(offset) => {
                let was_open = offset < self.next && self.done.insert(offset);
                assert_eq!(cursor.complete(offset), was_open);
            }
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_a_set_of_offsets(steps in steps()) {
        let mut model = Model::default();
        let mut cursor = Cursor::at(0);
        let mut floor = 0;
        for step in &steps {
            model.apply(&mut cursor, step);
            prop_assert_eq!(cursor.next(), model.next);
            prop_assert_eq!(cursor.floor(), model.floor());
            prop_assert!(cursor.floor() >= floor, "the floor moved backwards");
            floor = cursor.floor();
        }
        prop_assert_eq!(cursor.open().collect::<Vec<_>>(), model.open());
        prop_assert_eq!(cursor.open_len(), model.open().len());
        let completed: BTreeSet<u64> = cursor.completed().flatten().collect();
        let expected: BTreeSet<u64> = model.done.range(floor..model.next).copied().collect();
        prop_assert_eq!(completed, expected);
        prop_assert!(cursor.completed().count() <= cursor.open_len());
        for from in 0..model.next {
            let first = model.open().into_iter().find(|open| *open >= from);
            prop_assert_eq!(cursor.open_from(from), first);
            prop_assert_eq!(cursor.is_open(from), first == Some(from));
        }
        prop_assert_eq!(&Cursor::decode(&cursor.encode()).unwrap(), &cursor);
    }

    #[test]
    fn survives_any_start(start in any::<u64>(), opened in 0..3u64) {
        let mut cursor = Cursor::at(start);
        for step in 0..opened {
            cursor.begin(start.saturating_add(step));
        }
        if start < u64::MAX - 4 {
            prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }
    }

    #[test]
    fn takes_no_other_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(cursor) = Cursor::decode(&bytes) {
            prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }
    }
}

#[test]
fn a_cut_cursor_is_refused() {
    let mut cursor = Cursor::at(1_000_000);
    cursor.begin(1_000_005);
    cursor.begin(2_000_000);
    let whole = cursor.encode();
    for cut in 0..whole.len() {
        assert!(Cursor::decode(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(Cursor::decode(&longer).is_err());
}
