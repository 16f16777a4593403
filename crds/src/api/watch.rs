//! Watches: an endless answer, one JSON event to the line.
//!
//! Laws: a watch gives every change of what it selects after the version it starts from, in the
//! order of versions, each once. A watch holds no queue: it holds a position in the shared past
//! of its kind, and a reader that falls behind that past gets an `ERROR` event with 410 Expired
//! and the end of the stream. As in Kubernetes this is an event even when it is known at once,
//! because clients start over on the event and not on an HTTP status.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::format::Format;
use super::object::Object;
use super::registry::{KindId, api_version};
use super::selector::Selector;
use super::store::{Event, Happened, Store};
use crate::resource::ResourceKind;

/// Events that one chunk of the answer holds at most.
const CHUNK: usize = 128;
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watch gives a last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// How long a watch lasts if the client does not say; spread, so that not all return at once.
const DEFAULT_SECONDS: u64 = 1_800;
const MAX_SECONDS: u64 = 24 * 3_600;

/// Where a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With everything that is there, as `ADDED` events; then a bookmark if asked for.
    Initial {
        /// Whether the end of the initial events is marked.
        mark_end: bool,
    },
    /// Now.
    Now,
    /// After a version.
    After(u64),
}

/// What a watch gives.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The kind.
    pub(crate) kind: KindId,
    /// One namespace, or all.
    pub(crate) namespace: Option<String>,
    /// Which objects.
    pub(crate) selector: Selector,
    /// Where it starts.
    pub(crate) start: Start,
    /// Whether bookmarks are wanted.
    pub(crate) bookmarks: bool,
    /// How long it lasts, in seconds.
    pub(crate) seconds: Option<u64>,
    /// How objects are written.
    pub(crate) format: Format,
}

struct Watcher {
    store: Arc<Store>,
    /// The kind as it was when the watch began.
    kind: Arc<ResourceKind>,
    options: Options,
    position: u64,
    news: watch::Receiver<u64>,
    initial: VecDeque<Arc<Object>>,
    mark_end: bool,
    ends: Instant,
    bookmark_at: Instant,
    drain: CancellationToken,
    first: bool,
    over: bool,
    /// Whether the kind is gone and its past is being read for the last time.
    last: bool,
    _permit: OwnedSemaphorePermit,
}

/// Starts a watch. It ends at its time, when the server drains, when its kind is no longer
/// served, or after an error event.
pub(crate) fn start(
    store: Arc<Store>,
    options: Options,
    drain: CancellationToken,
    permit: OwnedSemaphorePermit,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, ApiError> {
    let kind = store.kind(options.kind)?;
    let mut news = store.news(options.kind)?;
    news.borrow_and_update();
    let (initial, position, mark_end) = store.read(|memory| {
        let position = match options.start {
            Start::After(version) => version,
            Start::Initial { .. } | Start::Now => memory.version(),
        };
        let initial = match options.start {
            Start::Initial { .. } => memory
                .list(options.kind, options.namespace.as_deref(), None)
                .filter(|o| options.selector.matches(o))
                .cloned()
                .collect(),
            Start::Now | Start::After(_) => VecDeque::new(),
        };
        (
            initial,
            position,
            options.start == Start::Initial { mark_end: true },
        )
    });
    let spread = position % (DEFAULT_SECONDS / 2);
    let seconds = options
        .seconds
        .unwrap_or(DEFAULT_SECONDS + spread)
        .min(MAX_SECONDS);
    let now = Instant::now();
    let ends = now + Duration::from_secs(seconds);
    let watcher = Watcher {
        store,
        kind,
        options,
        position,
        news,
        initial,
        mark_end,
        ends,
        bookmark_at: next_bookmark(now, ends),
        drain,
        first: true,
        over: false,
        last: false,
        _permit: permit,
    };
    Ok(stream::unfold(watcher, |mut watcher| async move {
        watcher.next().await.map(|chunk| (chunk, watcher))
    }))
}

fn next_bookmark(now: Instant, ends: Instant) -> Instant {
    let regular = now + BOOKMARK_EVERY;
    match ends.checked_sub(LAST_BOOKMARK) {
        Some(last) if last > now => regular.min(last),
        _ => regular,
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if !self.initial.is_empty() {
            return Some(self.initial_chunk());
        }
        if std::mem::take(&mut self.mark_end) {
            let mut out = BytesMut::new();
            self.bookmark(&mut out, true);
            return Some(out.freeze());
        }
        loop {
            let found = self.store.read(|memory| {
                let events = memory.since(self.options.kind, self.position, CHUNK);
                (events, memory.version())
            });
            match found {
                (Err(expired), current) => {
                    self.over = true;
                    return Some(self.expired(expired.floor, current));
                }
                (Ok(events), current) => {
                    let full = events.len() == CHUNK;
                    let chunk = self.chunk(&events);
                    // With the whole past read, the position is that of the whole store: a
                    // quiet kind does not fall out of the past because others are busy.
                    if !full {
                        self.position = current;
                    }
                    if !chunk.is_empty() {
                        return Some(chunk);
                    }
                    if full {
                        continue;
                    }
                }
            }
            let bookmarks = self.options.bookmarks;
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                () = tokio::time::sleep_until(self.ends) => return None,
                changed = self.news.changed() => {
                    // The kind is gone: what is left of its past is given, then the watch ends.
                    if changed.is_err() && std::mem::replace(&mut self.last, true) {
                        return None;
                    }
                }
                () = tokio::time::sleep_until(self.bookmark_at), if bookmarks => {
                    // What happened since the last look is given first, then the bookmark.
                    self.bookmark_at = next_bookmark(Instant::now(), self.ends);
                    if let Some(chunk) = self.timed_bookmark() {
                        return Some(chunk);
                    }
                }
            }
        }
    }

    fn timed_bookmark(&mut self) -> Option<Bytes> {
        let current = self.store.read(|memory| {
            let quiet = memory
                .since(self.options.kind, self.position, 1)
                .is_ok_and(|events| events.is_empty());
            quiet.then(|| memory.version())
        })?;
        self.position = current;
        let mut out = BytesMut::new();
        self.bookmark(&mut out, false);
        Some(out.freeze())
    }

    fn initial_chunk(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        let count = self.initial.len().min(CHUNK);
        let objects: Vec<_> = self.initial.drain(..count).collect();
        for object in objects {
            self.line(&mut out, "ADDED", &object);
        }
        out.freeze()
    }

    fn chunk(&mut self, events: &[Event]) -> Bytes {
        let mut out = BytesMut::new();
        for event in events {
            self.position = event.version;
            if let Some(what) = self.seen_as(event) {
                self.line(&mut out, what, &event.object);
            }
        }
        out.freeze()
    }

    /// What an event is to someone who sees only what is selected.
    fn seen_as(&self, event: &Event) -> Option<&'static str> {
        if self
            .options
            .namespace
            .as_ref()
            .is_some_and(|ns| ns != event.object.namespace())
        {
            return None;
        }
        let selected = |object: &Arc<Object>| self.options.selector.matches(object);
        let before = event.previous.as_ref().is_some_and(selected);
        let after = event.happened != Happened::Deleted && selected(&event.object);
        match (before, after) {
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
            (false, false) => None,
        }
    }

    fn line(&mut self, out: &mut BytesMut, what: &str, object: &Object) {
        let first = std::mem::take(&mut self.first);
        let json = self
            .options
            .format
            .one(&self.kind, object, self.store.now(), first);
        put_line(out, what, &json);
    }

    fn bookmark(&mut self, out: &mut BytesMut, end_of_initial: bool) {
        let kind = &*self.kind;
        let mut object = json!({
            "kind": kind.kind,
            "apiVersion": api_version(kind),
            "metadata": {"resourceVersion": self.position.to_string(), "creationTimestamp": null},
        });
        if end_of_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        put_line(
            out,
            "BOOKMARK",
            &self.options.format.bookmark(kind, &object),
        );
    }

    fn expired(&self, floor: u64, current: u64) -> Bytes {
        let error = if self.position > current {
            ApiError::expired(format!(
                "the resource version {} is newer than the newest one, {current}: the objects \
                 were replaced by older ones, list them again",
                self.position
            ))
        } else {
            ApiError::expired(format!(
                "too old resource version: {} ({floor})",
                self.position
            ))
        };
        let mut out = BytesMut::new();
        put_line(&mut out, "ERROR", &to_bytes(&error.status()));
        out.freeze()
    }
}

fn put_line(out: &mut BytesMut, what: &str, object: &[u8]) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(what.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
