#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use heddle_broker::event::EventBuilder;
use heddle_broker::filter::AttributesFilter;
use heddle_broker::log::Gap;
use jiff::Timestamp;

use super::*;

fn record(offset: Offset, ty: &str) -> Record {
    Record {
        offset,
        accepted: Timestamp::UNIX_EPOCH,
        event: EventBuilder::new("1", "/", ty).build().unwrap(),
    }
}

fn batch(offsets: Range<Offset>) -> ReadBatch {
    ReadBatch {
        next: offsets.end,
        records: offsets.map(|offset| record(offset, "t")).collect(),
        gaps: Vec::new(),
    }
}

fn inbox(filter: Filter, max_events: usize) -> Arc<Inbox> {
    let inbox = Inbox::new(filter, 1 << 20, Budget::new(1 << 20));
    inbox.set_max_events(max_events);
    inbox.state.lock().member = true;
    inbox
}

fn offsets(taken: &Taken) -> Vec<Offset> {
    taken.events.iter().map(|record| record.offset).collect()
}

#[test]
fn a_queue_is_taken_in_parts() {
    let inbox = inbox(Filter::All, 100);
    assert!(inbox.offer(&batch(0..10)));
    let taken = inbox.take(4, usize::MAX);
    assert_eq!(
        (offsets(&taken), taken.next, taken.member),
        (vec![0, 1, 2, 3], 4, true)
    );
    let taken = inbox.take(usize::MAX, 1);
    assert_eq!((offsets(&taken), taken.next), (vec![4], 5), "always one");
    let taken = inbox.take(100, usize::MAX);
    assert_eq!((offsets(&taken), taken.next), ((5..10).collect(), 10));
    assert_eq!(inbox.budget.used(), 0);
}

#[test]
fn one_that_is_full_is_left_behind_where_it_was_full() {
    let inbox = inbox(Filter::All, 3);
    assert!(!inbox.offer(&batch(0..10)));
    assert!(!inbox.offer(&batch(10..20)), "it is offered nothing more");
    let taken = inbox.take(2, usize::MAX);
    assert_eq!(
        (offsets(&taken), taken.next, taken.member),
        (vec![0, 1], 2, true)
    );
    let taken = inbox.take(2, usize::MAX);
    assert_eq!(
        (offsets(&taken), taken.next, taken.member),
        (vec![2], 3, false)
    );
}

#[test]
fn what_is_not_wanted_takes_no_room() {
    let wanted = Filter::Attributes(AttributesFilter::new([("type", "other")]));
    let inbox = inbox(wanted, 1);
    assert!(inbox.offer(&batch(0..1_000)));
    let mut mixed = batch(1_000..1_010);
    mixed.records[4] = record(1_004, "other");
    assert!(inbox.offer(&mixed));
    let taken = inbox.take(10, usize::MAX);
    assert_eq!((offsets(&taken), taken.next), (vec![1_004], 1_010));
    assert_eq!((taken.counts.seen, taken.counts.matched), (1_010, 1));
}

#[test]
fn one_that_joins_within_a_batch_gets_the_rest_of_it() {
    let inbox = inbox(Filter::All, 100);
    inbox.state.lock().next = 7;
    assert!(inbox.offer(&batch(0..10)));
    assert_eq!(offsets(&inbox.take(100, usize::MAX)), [7, 8, 9]);
}

#[test]
fn gaps_are_counted_once() {
    let inbox = inbox(Filter::All, 2);
    let mut gappy = batch(10..14);
    gappy.gaps = vec![
        Gap {
            offsets: 0..8,
            reason: GapReason::Expired,
        },
        Gap {
            offsets: 8..10,
            reason: GapReason::Damaged,
        },
    ];
    inbox.state.lock().next = 5;
    assert!(!inbox.offer(&gappy), "there is no room for the third");
    let counts = inbox.take(10, usize::MAX).counts;
    assert_eq!((counts.expired, counts.damaged, counts.seen), (3, 2, 2));
}
