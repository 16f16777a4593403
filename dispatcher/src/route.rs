//! A consumer's configuration, made ready for use: addresses have become subscribers.
//!
//! A configuration that cannot be used in part (certificates that are not valid, a handler that
//! does not exist) is used all the same: its attempts fail with the reason, and are retried and
//! kept like those at a subscriber that is down.

use std::fmt::{self, Write};
use std::sync::Arc;

use ::http::HeaderValue;
use heddle_broker::log::{Offset, Partitions};
use tracing::warn;

use crate::config::{ConsumerConfig, ReplyTo, Target};
use crate::subscriber::http::{Executor, HttpSubscriber};
use crate::subscriber::local::Unavailable;
use crate::subscriber::{LocalSubscribers, Subscriber};

/// Somewhere to deliver to.
#[derive(Debug)]
pub(crate) struct Route {
    /// None stands in for an address that is not known.
    target: Option<Arc<Target>>,
    pub(crate) subscriber: Arc<dyn Subscriber>,
}

impl Route {
    /// Stands in for an address that is not known. Nothing is started towards it; what was started
    /// before fails, and waits.
    fn unknown() -> Arc<Self> {
        Arc::new(Self {
            target: None,
            subscriber: Arc::new(Unavailable(
                "the subscriber's address is not known".to_owned(),
            )),
        })
    }
}

/// The URL, as dead letters name it.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(target) => target.uri.fmt(f),
            None => Ok(()),
        }
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
    /// A hash of the name of the log.
    log: u64,
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
        let route = |target: &Arc<Target>| {
            before
                .and_then(|before| before.find(target, idle))
                .unwrap_or_else(|| roads.route(&config, target, idle))
        };
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
            dead_letter: config.dead_letter.as_ref().map(route),
            log: fnv1a(&config.source.name),
            config,
        }
    }

    /// Whether events have to wait, because nobody is known to take them.
    pub(crate) fn is_held(&self) -> bool {
        self.config.subscriber.is_none()
    }

    fn find(&self, target: &Arc<Target>, idle: usize) -> Option<Arc<Route>> {
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
            .find(|route| route.target.as_ref() == Some(target))
            .cloned()
    }

    /// `Kn-Namespace`: where the resource lives.
    pub(crate) fn namespace(&self) -> HeaderValue {
        HeaderValue::from_str(&self.config.id.namespace)
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The `Idempotency-Key` of an event, a string in the sense of structured fields (RFC 8941). The
    /// same for each attempt, also after a restart; `role` tells apart what is sent to different
    /// receivers because of the same event.
    pub(crate) fn idempotency_key(&self, offset: Offset, role: &str) -> HeaderValue {
        let key = KeyBase(&self.config.uid, self.log);
        HeaderValue::from_str(&format!("\"{key}{offset}{role}\""))
            .unwrap_or_else(|_| HeaderValue::from(offset))
    }

    /// The same without quotes and role, to be written down.
    pub(crate) fn delivery_key(&self, offset: Offset) -> String {
        format!("{}{offset}", KeyBase(&self.config.uid, self.log))
    }

    /// Stands in for the key of a kept dead letter that has none written down.
    pub(crate) fn dead_letter_key(&self, log: &str, offset: Offset) -> String {
        format!("{}{offset}", KeyBase(&self.config.uid, fnv1a(log)))
    }
}

impl Roads {
    fn route(&self, config: &ConsumerConfig, target: &Arc<Target>, idle: usize) -> Arc<Route> {
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
            warn!(consumer = %config.id, subscriber = %target.uri, error = reason, "deliveries will fail");
            Arc::new(Unavailable(reason))
        });
        Arc::new(Route {
            target: Some(Arc::clone(target)),
            subscriber,
        })
    }
}

/// The part of idempotency keys that a consumer's events share: its uid, and a hash (FNV-1a) of
/// the log's name, which may have characters that a header may not have.
struct KeyBase<'a>(&'a str, u64);

impl fmt::Display for KeyBase<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(uid, log) = self;
        for c in uid.chars() {
            if c.is_ascii_alphanumeric() || c == '-' {
                f.write_char(c)?;
            }
        }
        write!(f, "-{log:016x}-")
    }
}

/// The hash FNV-1a: the same in every version and on every machine, unlike the standard library's.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
