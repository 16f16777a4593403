//! The newest records of all logs, in memory for readers that keep up, within one bound.
//!
//! Invariant: of each log it holds the newest records without a hole; the oldest group of all logs
//! goes first.

use std::collections::VecDeque;
use std::sync::Arc;

use super::stream::{State, Stream};
use crate::log::Record;

/// Which records are in memory.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Which log's oldest records go next: how many, and of how many bytes.
    order: VecDeque<(Arc<Stream>, usize, usize)>,
    pub(crate) bytes: usize,
}

impl Tail {
    /// Adds committed records of a log, which are newer than all of its others.
    pub(crate) fn add<'a>(
        &mut self,
        stream: &Arc<Stream>,
        state: &mut State,
        records: impl Iterator<Item = &'a Record>,
    ) {
        let (mut number, mut bytes) = (0, 0);
        for record in records {
            number += 1;
            // What a record costs besides its bytes, about.
            bytes += record.event.size() + 100;
            state.cache.push_back(record.clone());
        }
        if number > 0 {
            self.bytes += bytes;
            self.order.push_back((Arc::clone(stream), number, bytes));
        }
    }

    /// Lets go of the oldest, down to the limit.
    pub(crate) fn evict(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some((stream, number, bytes)) = self.order.pop_front()
        {
            self.bytes -= bytes;
            let mut state = stream.state.lock();
            for _ in 0..number {
                state.cache.pop_front();
            }
        }
    }
}
