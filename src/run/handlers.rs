//! The subscribers that live in this process, by the names that `local://` addresses give them.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use heddle_dispatcher::subscriber::{
    Answer, Completeness, Delivery, LocalSubscribers, Outcome, Problem, Subscriber,
};
use http::{HeaderMap, StatusCode};

use crate::cli::show_event::{Shown, Style};

/// `local://event-display`: prints events on the standard output.
pub(super) const EVENT_DISPLAY: &str = "event-display";

/// All handlers.
pub(super) fn all() -> LocalSubscribers {
    let mut handlers = LocalSubscribers::default();
    handlers.insert(EVENT_DISPLAY, Arc::new(EventDisplay));
    handlers
}

#[derive(Debug)]
struct EventDisplay;

#[async_trait]
impl Subscriber for EventDisplay {
    async fn deliver(&self, delivery: Delivery) -> Outcome {
        let terminal = std::io::stdout().is_terminal();
        let style = Style::Text {
            pretty: terminal,
            color: terminal,
        };
        let shown = Shown::from_event(&delivery.event.without(delivery.skip));
        let printed = {
            let mut out = std::io::stdout().lock();
            shown.write(&mut out, style).and_then(|()| out.flush())
        };
        match printed {
            Ok(()) => Outcome::Answer(Answer {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: Bytes::new(),
                completeness: Completeness::Whole,
            }),
            Err(error) => Outcome::Problem(Problem::Connection(format!(
                "the standard output cannot be written: {error}"
            ))),
        }
    }
}
