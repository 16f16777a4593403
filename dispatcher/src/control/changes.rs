//! Changes of consumers that are under way.
//!
//! Most are done at once. But where a consumer begins may have to be asked of a server, and its end may
//! have to wait for what it does. Such a change goes on beside the others and beside all other keys.
//!
//! # Laws
//!
//! 1. A consumer has one change under way at most. Whoever wants something of it meanwhile comes again.
//! 2. When a change is done that did not work, the key that asked for it comes once more to tell so, and
//!    does not try the same again.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use heddle_crds::kube::queue::Key;

use super::Wanted;
use crate::config::ConsumerId;
use crate::{ApplyError, Ticket};

/// With so many under way no more keys are looked at.
const MOST: usize = 64;

/// A change that is done.
#[derive(Debug)]
pub(super) enum Done {
    /// A consumer runs as it was wanted, and its position is durable with the ticket; or does not.
    Begun(Box<Wanted>, Result<Option<Ticket>, ApplyError>),
    /// A consumer is gone.
    Removed(ConsumerId),
}

impl Done {
    fn id(&self) -> &ConsumerId {
        match self {
            Self::Begun(wanted, _) => &wanted.id,
            Self::Removed(id) => id,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Changes {
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Whose they are, and the keys that are to be looked at afterwards. The first one asked for it.
    keys: BTreeMap<ConsumerId, Vec<Key>>,
    /// What did not work, until its key has come.
    refused: BTreeMap<ConsumerId, Box<Wanted>>,
}

impl Changes {
    /// Whether more may be started.
    pub(super) fn have_room(&self) -> bool {
        self.under_way.len() < MOST
    }

    /// Whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether a consumer has one under way. If so, the key comes when that is done.
    pub(super) fn hold(&mut self, id: &ConsumerId, key: &Key) -> bool {
        let Some(keys) = self.keys.get_mut(id) else {
            return false;
        };
        if !keys.contains(key) {
            keys.push(key.clone());
        }
        true
    }

    /// Whether this is what just did not work. Said once.
    pub(super) fn was_refused(&mut self, wanted: &Wanted) -> bool {
        let refused = self.refused.remove(&wanted.id);
        refused.is_some_and(|refused| *refused == *wanted)
    }

    /// What did not work before is of no interest any more.
    pub(super) fn forget(&mut self, id: &ConsumerId) {
        self.refused.remove(id);
    }

    /// Starts a change that `key` asks for, of a consumer that has none under way. Returns it where it is
    /// done already.
    pub(super) fn start(
        &mut self,
        id: &ConsumerId,
        key: &Key,
        mut change: BoxFuture<'static, Done>,
    ) -> Option<Done> {
        let done = (&mut change).now_or_never();
        if done.is_none() {
            self.keys.insert(id.clone(), vec![key.clone()]);
            self.under_way.push(change);
        }
        done
    }

    /// Waits for the next one to be done, with the keys to look at now. Never returns where none is under
    /// way.
    pub(super) async fn next(&mut self) -> (Done, Vec<Key>) {
        let Some(done) = self.under_way.next().await else {
            return std::future::pending().await;
        };
        let keys = self.keys.remove(done.id()).unwrap_or_default();
        if let Done::Begun(wanted, Err(_)) = &done {
            self.refused.insert(wanted.id.clone(), wanted.clone());
        }
        (done, keys)
    }
}
