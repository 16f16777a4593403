//! A consumer's configuration, made ready for use: addresses have become subscribers.
//!
//! A configuration that cannot be used in part (certificates that are not valid, a handler that
//! does not exist) is used all the same: its attempts fail with the reason, and are retried and
//! kept like those at a subscriber that is down.

use std::sync::Arc;

use ::http::HeaderValue;
use heddle_broker::log::{Offset, Partitions};
use tracing::warn;

use crate::config::{ConsumerConfig, Protocol, ReplyTo, Target};
use crate::subscriber::http::{Executor, HttpSubscriber};
use crate::subscriber::local::Unavailable;
use crate::subscriber::{LocalSubscribers, Subscriber};

/// Somewhere to deliver to.
#[derive(Debug)]
pub(crate) struct Route {
    target: Target,
    /// The URL, as dead letters name it.
    pub(crate) url: Arc<str>,
    pub(crate) subscriber: Arc<dyn Subscriber>,
}

impl Route {
    /// Stands in for an address that is not known. Nothing is started towards it; what was started
    /// before fails, and waits.
    fn unknown() -> Arc<Self> {
        Arc::new(Self {
            target: Target {
                uri: ::http::Uri::from_static("/"),
                ca_certs: None,
                protocol: Protocol::default(),
            },
            url: "".into(),
            subscriber: Arc::new(Unavailable(
                "the subscriber's address is not known".to_owned(),
            )),
        })
    }
}

/// Where replies go.
#[derive(Clone, Debug)]
pub(crate) enum ReplyRoute {
    Log(Partitions),
    Route(Arc<Route>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) config: ConsumerConfig,
    pub(crate) subscriber: Arc<Route>,
    pub(crate) reply: Option<ReplyRoute>,
    pub(crate) dead_letter: Option<Arc<Route>>,
    pub(crate) namespace: HeaderValue,
    key: String,
}

/// What routes are made with.
#[derive(Clone, Debug)]
pub(crate) struct Roads {
    pub(crate) locals: LocalSubscribers,
    pub(crate) executor: Executor,
}

impl Routes {
    /// Makes a configuration ready. Subscribers of `before` that have not changed are used on,
    /// with their connections.
    pub(crate) fn new(config: ConsumerConfig, roads: &Roads, before: Option<&Self>) -> Self {
        let idle = config.max_in_flight.max(1) as usize;
        let route = |target: &Target| {
            before
                .and_then(|before| before.find(target, idle))
                .unwrap_or_else(|| roads.route(&config, target, idle))
        };
        let namespace = HeaderValue::from_str(&config.id.namespace)
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        let subscriber = match &config.subscriber {
            Some(target) => route(target),
            None => Route::unknown(),
        };
        Self {
            subscriber,
            reply: config.reply.as_ref().map(|reply| match reply {
                ReplyTo::Log(logs) => ReplyRoute::Log(logs.clone()),
                ReplyTo::Target(target) => ReplyRoute::Route(route(target)),
            }),
            dead_letter: config.dead_letter.as_deref().map(route),
            namespace,
            key: key_base(&config.uid, &config.source.name),
            config,
        }
    }

    /// Whether events have to wait, because nobody is known to take them.
    pub(crate) fn is_held(&self) -> bool {
        self.config.subscriber.is_none()
    }

    fn find(&self, target: &Target, idle: usize) -> Option<Arc<Route>> {
        if self.config.max_in_flight.max(1) as usize != idle {
            return None;
        }
        let reply = match &self.reply {
            Some(ReplyRoute::Route(route)) => Some(route),
            Some(ReplyRoute::Log(_)) | None => None,
        };
        [Some(&self.subscriber), reply, self.dead_letter.as_ref()]
            .into_iter()
            .flatten()
            .find(|route| route.target == *target)
            .cloned()
    }

    /// The `Idempotency-Key` of an event, a string in the sense of structured fields (RFC 8941). The
    /// same for each attempt, also after a restart; `role` tells apart what is sent to different
    /// receivers because of the same event.
    pub(crate) fn idempotency_key(&self, offset: Offset, role: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("\"{}{offset}{role}\"", self.key))
            .unwrap_or_else(|_| HeaderValue::from(offset))
    }

    /// The same without quotes and role, to be written down.
    pub(crate) fn delivery_key(&self, offset: Offset) -> String {
        format!("{}{offset}", self.key)
    }

    /// Stands in for the key of a kept dead letter that has none written down.
    pub(crate) fn dead_letter_key(&self, log: &str, offset: Offset) -> String {
        format!("{}{offset}", key_base(&self.config.uid, log))
    }
}

impl Roads {
    fn route(&self, config: &ConsumerConfig, target: &Target, idle: usize) -> Arc<Route> {
        let url: Arc<str> = target.uri.to_string().into();
        let subscriber = match target.uri.scheme_str() {
            Some("local") => {
                let name = target.uri.host().unwrap_or_default();
                self.locals
                    .get(name)
                    .ok_or_else(|| format!("there is no local subscriber {name:?}"))
            }
            _ => HttpSubscriber::new(target, idle, self.executor.clone())
                .map(|subscriber| Arc::new(subscriber) as Arc<dyn Subscriber>),
        };
        let subscriber = subscriber.unwrap_or_else(|reason| {
            warn!(consumer = %config.id, subscriber = &*url, error = reason, "deliveries will fail");
            Arc::new(Unavailable(reason))
        });
        Arc::new(Route {
            target: target.clone(),
            url,
            subscriber,
        })
    }
}

/// The part of idempotency keys that a consumer's events share: its uid, and a hash (FNV-1a) of
/// the log's name, which may have characters that a header may not have.
fn key_base(uid: &str, log: &str) -> String {
    let hash = fnv1a(log);
    let uid: String = uid
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    format!("{uid}-{hash:016x}-")
}

/// The hash FNV-1a: the same in every version and on every machine, unlike the standard library's.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
