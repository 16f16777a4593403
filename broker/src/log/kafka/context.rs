//! What the clients of a cluster tell us.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tokio::sync::watch;

use super::access::Sasl;
use super::produce::Unit;
use crate::clock::Clock;

/// How long a token is used before it is asked for again. What it says itself is not looked at.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// Whether the cluster can be reached; or why not, for people.
#[derive(Debug)]
pub(super) struct Reach {
    servers: String,
    state: watch::Sender<Result<(), Arc<str>>>,
    /// Whether it was told that the servers are away, so that an outage is one line. Changes with `state`.
    told: AtomicBool,
}

impl Reach {
    pub(super) fn new(servers: &str) -> Self {
        let reason = format!("no connection to the Kafka servers {servers} has been made yet");
        Self {
            servers: servers.to_owned(),
            state: watch::Sender::new(Err(reason.into())),
            told: AtomicBool::new(false),
        }
    }

    pub(super) fn check(&self) -> Result<(), Arc<str>> {
        self.state.borrow().clone()
    }

    pub(super) fn found(&self) {
        let news = self.state.send_if_modified(|state| {
            let news = state.is_err();
            *state = Ok(());
            self.told.store(false, Ordering::Relaxed);
            news
        });
        if news {
            let servers = &self.servers;
            tracing::info!(servers, "the Kafka servers can be reached");
        }
    }

    /// Says that the cluster is away. Whoever finds that out first is heard.
    pub(super) fn lost(&self, reason: &str) {
        let news = self.state.send_if_modified(|state| {
            let news = !self.told.swap(true, Ordering::Relaxed);
            if news {
                *state = Err(self.away(reason));
            }
            news
        });
        if news {
            let servers = &self.servers;
            tracing::warn!(
                reason,
                servers,
                "the Kafka servers cannot be reached; events are refused until they can"
            );
        }
    }

    /// Says why there will be no connection.
    pub(super) fn refuse(&self, reason: &str) {
        self.state
            .send_modify(|state| *state = Err(self.away(reason)));
    }

    fn away(&self, reason: &str) -> Arc<str> {
        let servers = &self.servers;
        format!("the Kafka servers {servers} cannot be reached: {reason}").into()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Result<(), Arc<str>>> {
        self.state.subscribe()
    }
}

/// The context of every client of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) reach: Arc<Reach>,
    /// Whether this client's word counts when it says that no server is there: only that of the one
    /// that is in use all the time.
    pub(super) authority: bool,
    pub(super) sasl: Option<Arc<Sasl>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// The library repeats itself while servers are away; what matters of it comes as an error too.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::debug!(%error, reason, "librdkafka");
        let away = self.authority
            && matches!(
                error.rdkafka_error_code(),
                Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Authentication)
            );
        if away {
            self.reach.lost(reason);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let Some(sasl) = &self.sasl else {
            return Err("there is no token".into());
        };
        let end = self.clock.now() + TOKEN_LIFE;
        Ok(OAuthToken {
            token: sasl.password.clone(),
            principal_name: sasl.user.clone(),
            lifetime_ms: end.as_millisecond(),
        })
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Unit>;

    fn delivery(&self, result: &DeliveryResult<'_>, unit: Arc<Unit>) {
        unit.delivered(result);
    }
}
