//! What a consumer does for one event, one step at a time: send it, route its reply, bury it, or
//! read it again. A job changes nothing but what it talks to; its consumer decides what follows.

use std::sync::Arc;
use std::time::Duration;

use heddle_broker::clock::Clock;
use heddle_broker::event::Event;
use heddle_broker::log::{AppendError, Log, LogStore, Offset, OpenError, ReadLimit};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::Shared;
use crate::delivery::{Failure, Outcome, dead_letter};
use crate::reply;
use crate::route::{ReplyRoute, Route, Routes};
use crate::subscriber::Delivery;

/// One step for one event.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) offset: Offset,
    pub(crate) event: Event,
    pub(crate) task: Task,
    pub(crate) routes: Arc<Routes>,
    pub(crate) tools: Arc<Tools>,
    pub(crate) shared: Arc<Shared>,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Task {
    Send,
    Reply(Box<Event>),
    DeadLetter(Failure),
    Keep(Failure),
}

/// Which kind of step it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Send,
    Reply,
    DeadLetter,
    Keep,
}

/// What jobs work with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dead_letters: Arc<dyn LogStore>,
    pub(crate) tracker: TaskTracker,
}

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Done {
    Step {
        offset: Offset,
        step: Step,
        outcome: Outcome,
        took: Duration,
        /// A reply was dropped because its TTL was used up.
        dropped_reply: bool,
    },
    /// The event was read again.
    Read { offset: Offset, event: Event },
    /// The log does not have it any more.
    Gone { offset: Offset },
    /// The log could not be read.
    Unreadable { offset: Offset, reason: String },
}

/// Does a job.
pub(crate) async fn perform(job: Job) -> Done {
    let started = Instant::now();
    let offset = job.offset;
    let (step, outcome, dropped_reply) = match job.task {
        Task::Send => (Step::Send, send(job).await, false),
        Task::Reply(reply) => {
            let sent = send_reply(*reply, &job.event, &job.routes, &job.tools, offset).await;
            match sent {
                Ok(dropped) => (Step::Reply, Outcome::Taken, dropped),
                Err(failure) => (Step::Reply, Outcome::Failed(reply::refused(failure)), false),
            }
        }
        Task::DeadLetter(ref failure) => {
            let letter = letter(&job.event, failure);
            let outcome = match &job.routes.dead_letter {
                Some(route) => post(route, &job.routes, &job.tools, letter, offset, "-dlq").await,
                // It went away while the job was made; the machine asks for the log next.
                None => Outcome::Failed(refusal("", 500, "there is no dead letter sink".into())),
            };
            (Step::DeadLetter, outcome, false)
        }
        Task::Keep(ref failure) => {
            let letter = letter(&job.event, failure);
            let outcome = match keep(&job.shared, &job.tools, letter).await {
                Ok(()) => Outcome::Taken,
                Err(reason) => Outcome::Failed(refusal("", 507, reason)),
            };
            (Step::Keep, outcome, false)
        }
    };
    Done::Step {
        offset,
        step,
        outcome,
        took: started.elapsed(),
        dropped_reply,
    }
}

/// Reads an event again whose bytes had been given back.
pub(crate) async fn read_again(log: Arc<dyn Log>, offset: Offset) -> Done {
    let limit = ReadLimit {
        records: 1,
        bytes: 1,
    };
    match log.read(offset, limit).await {
        Ok(batch) => match batch.records.into_iter().next() {
            Some(record) if record.offset == offset => Done::Read {
                offset,
                event: record.event,
            },
            _ => Done::Gone { offset },
        },
        Err(error) => Done::Unreadable {
            offset,
            reason: error.to_string(),
        },
    }
}

async fn send(job: Job) -> Outcome {
    let routes = &job.routes;
    let wants_reply = routes.reply.is_some();
    let delivery = Delivery {
        event: job.event,
        format: routes.config.policy.format,
        skip: &[reply::TTL],
        namespace: routes.namespace.clone(),
        idempotency_key: routes.idempotency_key(job.offset, ""),
        wants_reply,
        timeout: routes.config.policy.timeout,
    };
    let outcome = routes.subscriber.subscriber.deliver(delivery).await;
    reply::judge(
        outcome,
        &routes.subscriber.url,
        wants_reply,
        job.tools.clock.now(),
    )
}

/// Posts an event of ours to a target whose replies are not wanted.
async fn post(
    route: &Route,
    routes: &Routes,
    tools: &Tools,
    event: Event,
    offset: Offset,
    role: &str,
) -> Outcome {
    let delivery = Delivery {
        event,
        format: routes.config.policy.format,
        skip: &[],
        namespace: routes.namespace.clone(),
        idempotency_key: routes.idempotency_key(offset, role),
        wants_reply: false,
        timeout: routes.config.policy.timeout,
    };
    let outcome = route.subscriber.deliver(delivery).await;
    reply::judge(outcome, &route.url, false, tools.clock.now())
}

/// Sends a reply to where replies go. True when it was dropped because its TTL was used up.
async fn send_reply(
    reply: Event,
    original: &Event,
    routes: &Routes,
    tools: &Tools,
    offset: Offset,
) -> Result<bool, Failure> {
    let url = &routes.subscriber.url;
    let unfit = |error: heddle_broker::event::EventError| refusal(url, 502, error.to_string());
    match &routes.reply {
        None => Ok(false),
        Some(ReplyRoute::Log(log)) => {
            let now = tools.clock.now();
            let Some(reply) = reply::into_broker(&reply, original, now).map_err(unfit)? else {
                return Ok(true);
            };
            append(&**log, reply)
                .await
                .map_err(|error| refusal(url, code_of(&error), error.to_string()))?;
            Ok(false)
        }
        Some(ReplyRoute::Route(route)) => {
            let Some(reply) = reply::to_address(reply, original).map_err(unfit)? else {
                return Ok(true);
            };
            match post(route, routes, tools, reply, offset, "-reply").await {
                Outcome::Taken | Outcome::Replied(_) => Ok(false),
                Outcome::Failed(failure) => Err(failure),
            }
        }
    }
}

/// The dead letter for an event. One that has no room for the reason goes as it is: the event
/// matters more.
fn letter(event: &Event, failure: &Failure) -> Event {
    dead_letter::dead_letter(event, failure).unwrap_or_else(|error| {
        warn!(%error, "a dead letter does not say why it is one");
        event.clone()
    })
}

async fn keep(shared: &Shared, tools: &Tools, letter: Event) -> Result<(), String> {
    let log = open_dead_letters(shared, tools)
        .await
        .map_err(|error| error.to_string())?;
    append(&*log, letter)
        .await
        .map_err(|error| error.to_string())
}

/// The consumer's dead letter log, opened when it is first needed.
pub(crate) async fn open_dead_letters(
    shared: &Shared,
    tools: &Tools,
) -> Result<Arc<dyn Log>, OpenError> {
    if let Some(log) = shared.dead_letters.get() {
        return Ok(Arc::clone(log));
    }
    let name = dead_letter::log_name(&shared.id);
    let store = Arc::clone(&tools.dead_letters);
    let for_task = name.clone();
    let opened = tools
        .tracker
        .spawn_blocking(move || store.open(&for_task, dead_letter::RETENTION))
        .await;
    let log = opened.unwrap_or_else(|error| {
        let reason = error.to_string();
        Err(OpenError { name, reason })
    })?;
    Ok(Arc::clone(shared.dead_letters.get_or_init(|| log)))
}

async fn append(log: &dyn Log, event: Event) -> Result<(), AppendError> {
    log.append(vec![event])?.await.map(|_| ())
}

fn code_of(error: &AppendError) -> u16 {
    match error {
        AppendError::Busy { .. }
        | AppendError::Full { .. }
        | AppendError::Unavailable { .. }
        | AppendError::Closed { .. } => 503,
        AppendError::DiskFull => 507,
        AppendError::TooLarge { .. } | AppendError::TooMany { .. } => 413,
    }
}

fn refusal(destination: &str, code: u16, reason: String) -> Failure {
    Failure {
        destination: destination.to_owned(),
        code,
        data: reason.as_bytes().to_vec(),
        reason,
        retriable: true,
        retry_after: None,
    }
}
