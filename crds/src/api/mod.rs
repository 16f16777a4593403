//! A Kubernetes-style API inside the process, kept in sled.
//!
//! It lets every controller be a kube-rs program that does not know whether a cluster or this
//! module is behind its `kube::Client`: [`ApiServer::client`] needs no socket,
//! [`ApiServer::serve`] gives the same to `kubectl` over TCP.
//!
//! A request's way: `http` reads it, `route` finds what it asks for, `call` does it, `write` makes
//! of it what is to be stored, `store` makes that durable and visible, `watch` tells others.
//!
//! Laws:
//! - A write is acknowledged only after it would survive a power cut.
//! - One counter gives every change its `resourceVersion`; it only grows, also over `kill -9`.
//! - A watch misses and repeats nothing: it gives every later change once, in order, or ends
//!   with 410 Expired.
//! - A refusal is a `Status` with the code, the reason and the words of Kubernetes.
//! - Everything is bounded: bodies, nesting, writes that wait, watches, connections, the past.

mod access;
mod body;
mod call;
mod decode;
mod definitions;
mod deletion;
mod discovery;
mod error;
mod fields;
mod format;
mod http;
mod json;
mod list;
mod managed;
pub(crate) mod metadata;
pub(crate) mod names;
mod object;
mod openapi;
mod owners;
mod packed;
mod patch;
mod protobuf;
mod receive;
mod registry;
mod review;
mod route;
mod rules;
mod selector;
mod serve;
mod store;
mod subresource;
mod swagger;
mod table;
mod types;
mod version;
mod watch;
mod write;

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::header::{HeaderValue, USER_AGENT};
use ::http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::access::{
    Access, AccessError, close_private_dir, make_private_dir, open_kubeconfig, write_private,
};
pub use self::error::{ApiError, Cause, Details};
pub use self::store::disk::DiskError;

use self::access::tokens::Tokens;
use self::http::ResponseBody;
use self::object::Key;
use self::receive::Intake;
use self::registry::Registry;
use self::store::{HistoryLimits, Store, Transaction};
use crate::resource::ResourceKind;

/// Tells the wall-clock time.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Watches that may be open at a time: from within the process, and as many from sockets, so that
/// strangers cannot take the places of the controllers.
const MAX_WATCHES: usize = 2_048;
/// Bytes of the bodies of calls under way: from within the process, and as many from sockets.
const MAX_BODIES: usize = 64 * 1024 * 1024;
/// How long a caller over a socket may take to say what it wants: for its TLS handshake, and then
/// for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long the body of a request may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long an Event stays after its last change, where nothing else is asked for.
pub const EVENT_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// The name under which the server itself writes.
const SERVER: &str = "heddle";
/// Calls from sockets under way at a time; a watch counts only until it has begun.
const MAX_CALLS: usize = 400;
/// The past that is kept for each kind.
const HISTORY: HistoryLimits = HistoryLimits {
    events: 4_096,
    bytes: 8 * 1024 * 1024,
};

/// Why the API cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two kinds claim the same path.
    #[error("two kinds are named {plural} in the group {group:?}")]
    DuplicateKind {
        /// The group.
        group: String,
        /// The plural name.
        plural: String,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The first namespaces could not be made.
    #[error("the first namespaces could not be created: {0}")]
    Namespaces(#[source] ApiError),
}

/// How the API does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Good,
    /// Reads work, writes are refused: the store failed.
    ReadOnly {
        /// What failed, and what to do.
        reason: String,
    },
}

/// What the service and the connections share.
#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    tokens: Arc<Tokens>,
    watches: Arc<Semaphore>,
    intake: Arc<Intake>,
    /// Ends all watches.
    drain: CancellationToken,
}

/// The embedded API. Closes when it is dropped; [`ApiServer::close`] says when that is done.
#[derive(Debug)]
pub struct ApiServer {
    inner: Arc<Inner>,
    /// Room for watches from sockets.
    socket_watches: Arc<Semaphore>,
    /// Room for calls from sockets.
    socket_calls: Arc<Semaphore>,
    /// Room for the bodies of calls from sockets.
    socket_intake: Arc<Intake>,
    /// How long callers over sockets may take for a handshake, and for the head of a request.
    head_time: Duration,
}

/// Bounds that tests set lower.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    watches: usize,
    calls: usize,
    bodies: usize,
    head_time: Duration,
    body_time: Duration,
    event_life: SignedDuration,
    history: HistoryLimits,
}

impl ApiServer {
    /// Opens the store in `dir` and serves `kinds` from it. Namespace and ConfigMap are added
    /// where they are not among the kinds; the namespaces `default`, `knative-eventing` and
    /// `kube-system` exist when this returns. Blocks while it reads the store.
    pub fn open(dir: &Path, kinds: Vec<ResourceKind>, now: Now) -> Result<Arc<Self>, OpenError> {
        Self::open_for(dir, kinds, now, EVENT_LIFE)
    }

    /// [`ApiServer::open`] with Events that stay for so long after their last change.
    pub fn open_for(
        dir: &Path,
        kinds: Vec<ResourceKind>,
        now: Now,
        event_life: SignedDuration,
    ) -> Result<Arc<Self>, OpenError> {
        Self::open_with(
            dir,
            kinds,
            now,
            Limits {
                watches: MAX_WATCHES,
                calls: MAX_CALLS,
                bodies: MAX_BODIES,
                head_time: HEAD_TIME,
                body_time: BODY_TIME,
                event_life,
                history: HISTORY,
            },
        )
    }

    fn open_with(
        dir: &Path,
        kinds: Vec<ResourceKind>,
        now: Now,
        limits: Limits,
    ) -> Result<Arc<Self>, OpenError> {
        let registry = Registry::new(kinds)?;
        let store = Store::open(dir, &registry, &limits, now, first_namespaces)?;
        let watches = Arc::new(Semaphore::new(limits.watches));
        let tokens = Tokens::open(dir).map_err(|source| DiskError::Io {
            what: "reading or making the key of the tokens".to_owned(),
            source,
        })?;
        let inner = Inner {
            store,
            tokens: Arc::new(tokens),
            watches,
            intake: Intake::new(limits.bodies, limits.body_time),
            drain: CancellationToken::new(),
        };
        Ok(Arc::new(Self {
            inner: Arc::new(inner),
            socket_watches: Arc::new(Semaphore::new(limits.watches)),
            socket_calls: Arc::new(Semaphore::new(limits.calls)),
            socket_intake: Intake::new(limits.bodies, limits.body_time),
            head_time: limits.head_time,
        }))
    }

    /// A client that calls the API in the process. To be called within a tokio runtime, which
    /// the client uses for its queue.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// The API as a tower service.
    #[must_use]
    pub fn service(&self) -> ApiService {
        ApiService {
            inner: Arc::clone(&self.inner),
        }
    }

    /// Serves the API on a socket until `drain` is cancelled. Connections end gracefully then:
    /// calls are finished, watches end. All tasks run on `tracker`. Without `access` whoever
    /// reaches the socket may do everything, so it must be on a loopback address.
    pub fn serve(
        &self,
        listener: TcpListener,
        access: Option<Arc<Access>>,
        tracker: &TaskTracker,
        drain: &CancellationToken,
    ) {
        let drain = drain.child_token();
        // Watches on this socket end with it, though those of the process go on.
        let inner = Arc::new(Inner {
            store: Arc::clone(&self.inner.store),
            tokens: Arc::clone(&self.inner.tokens),
            watches: Arc::clone(&self.socket_watches),
            intake: Arc::clone(&self.socket_intake),
            drain: drain.clone(),
        });
        let closing = self.inner.drain.clone();
        let both = drain.clone();
        tracker.spawn(async move {
            tokio::select! {
                () = closing.cancelled() => both.cancel(),
                () = both.cancelled() => {}
            }
        });
        let calls = Arc::clone(&self.socket_calls);
        let door = serve::Door::new(inner, access, calls, self.head_time, &listener);
        tracker.spawn(door.accept(listener, tracker.clone(), drain));
    }

    /// How the API does.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.inner.store.failure() {
            None => Health::Good,
            Some(reason) => Health::ReadOnly { reason },
        }
    }

    /// The number of objects of each kind, as `plural.group` and count.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, usize)> {
        let registry = self.inner.store.registry();
        self.inner.store.read(|memory| {
            registry
                .ids()
                .filter_map(|id| Some((error::qualified(registry.kind(id)?), memory.count(id))))
                .collect()
        })
    }

    /// Ends all watches, refuses new writes, answers those that wait, and closes the store.
    /// Blocks for as long as the disk takes for the last writes.
    pub fn close(&self) {
        self.inner.drain.cancel();
        self.inner.store.close();
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.close();
    }
}

fn first_namespaces(transaction: &mut Transaction<'_>) -> Result<(), ApiError> {
    let namespaces = transaction.registry().namespaces();
    for name in metadata::FIRST_NAMESPACES {
        if transaction.get(namespaces, &Key::new("", name)).is_none() {
            let body = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
            });
            write::create(transaction, namespaces, "", SERVER, body)?;
        }
    }
    definitions::found(transaction)
}

/// The API as a tower service, for `kube::Client`.
#[derive(Clone, Debug)]
pub struct ApiService {
    inner: Arc<Inner>,
}

impl tower::Service<Request<Body>> for ApiService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        // Who writes within the process is the product, unless it says otherwise.
        request
            .headers_mut()
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(SERVER));
        Box::pin(async move { Ok(http::handle(inner, request).await) })
    }
}

pub(crate) use self::patch::deeper_than;
pub(crate) use self::table::{age, is_path};
pub(crate) use self::version::stability;

#[cfg(test)]
pub(crate) use self::patch::merge;
#[cfg(test)]
pub(crate) mod tests;
