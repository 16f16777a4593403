//! What a consumer does for one event, one step at a time: send it, route its reply, bury it, or
//! read it again. A job changes nothing but what it talks to; its consumer decides what follows.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use heddle_broker::clock::Clock;
use heddle_broker::event::{Event, EventError};
use heddle_broker::log::{AppendError, Log, LogStore, Offset, OpenError, ReadLimit};
use http::HeaderValue;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::{Ends, Shared};
use crate::cursor::Cursor;
use crate::delivery::{Action, Delivery as Machine, End, Failure, Outcome, dead_letter};
use crate::reply;
use crate::route::{ReplyRoute, Route, Routes};
use crate::subscriber::Delivery;
use crate::window::{Budget, Window};

/// One step for one event.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) offset: Offset,
    pub(crate) event: Event,
    pub(crate) task: Task,
    pub(crate) routes: Arc<Routes>,
    pub(crate) shared: Arc<Shared>,
    /// The key of the delivery that this one repeats; `None` where `offset` is the event's place in
    /// the consumer's source.
    pub(crate) repeats: Option<Arc<str>>,
}

impl Job {
    /// The `Idempotency-Key` of what is sent in this role.
    fn key(&self, role: &str) -> HeaderValue {
        let Some(repeats) = &self.repeats else {
            return self.routes.idempotency_key(self.offset, role);
        };
        HeaderValue::from_str(&format!("\"{repeats}{role}\""))
            .unwrap_or_else(|_| self.routes.idempotency_key(self.offset, role))
    }

    /// The key of the delivery, to be written down.
    fn delivery_key(&self) -> String {
        match &self.repeats {
            Some(repeats) => repeats.to_string(),
            None => self.routes.delivery_key(self.offset),
        }
    }
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Task {
    Send,
    Reply(Box<Event>),
    DeadLetter(Failure),
    Keep(Failure),
}

/// What an action comes to.
#[derive(Debug)]
pub(crate) enum Next {
    Do(Task),
    Wait(Timestamp),
    End(End),
}

impl Next {
    /// What an action of the delivery's machine comes to.
    pub(crate) fn of(action: Action, delivery: &Machine) -> Self {
        match action {
            Action::Send => Self::Do(Task::Send),
            Action::Reply(reply) => Self::Do(Task::Reply(reply)),
            Action::DeadLetter => Self::Do(Task::DeadLetter(delivery.reason())),
            Action::Keep => Self::Do(Task::Keep(delivery.reason())),
            Action::WaitUntil(due) => Self::Wait(due),
            Action::Done(end) => Self::End(end),
        }
    }
}

/// Which kind of step it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Send,
    Reply,
    DeadLetter,
    Keep,
}

/// What all consumers work with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dead_letters: Arc<dyn LogStore>,
    /// Runs all tasks.
    pub(crate) tracker: TaskTracker,
    /// Counts the tasks of consumers.
    pub(crate) running: TaskTracker,
    pub(crate) ends: Ends,
    pub(crate) budget: Arc<Budget>,
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

/// How an event goes on whose turn it is.
pub(crate) enum Turn {
    /// With what its delivery's machine says.
    Act(Action),
    /// Its bytes had been given back: it has to be read again first.
    Read(BoxFuture<'static, Done>),
}

impl Turn {
    /// The turn of an event in the window, which came from `log`; `sink` says whether there is a
    /// dead letter sink. `None` where the window does not have it.
    pub(crate) fn of(
        offset: Offset,
        window: &mut Window,
        log: &Arc<dyn Log>,
        sink: bool,
    ) -> Option<Self> {
        let item = window.item(offset)?;
        Some(if item.event.is_some() {
            Self::Act(item.delivery.resume(sink))
        } else {
            Self::Read(Box::pin(read_again(Arc::clone(log), offset)))
        })
    }
}

/// Does a job.
pub(crate) async fn perform(job: Job) -> Done {
    let started = Instant::now();
    let offset = job.offset;
    let (step, outcome, dropped_reply) = match &job.task {
        Task::Send => (Step::Send, send(&job).await, false),
        Task::Reply(reply) => match send_reply(reply, &job).await {
            Ok(dropped) => (Step::Reply, Outcome::Taken, dropped),
            Err(failure) => (Step::Reply, Outcome::Failed(reply::refused(failure)), false),
        },
        Task::DeadLetter(failure) => {
            let letter = dead_letter::dead_letter(&job.event, failure);
            let letter = letter.unwrap_or_else(|error| without_reason(&job.event, &error));
            let outcome = match &job.routes.dead_letter {
                Some(route) => post(route, &job, letter, "-dlq").await,
                // It went away while the job was made; the machine asks for the log next.
                None => Outcome::Failed(refusal("", 500, "there is no dead letter sink".into())),
            };
            (Step::DeadLetter, outcome, false)
        }
        Task::Keep(failure) => {
            let letter = dead_letter::kept(&job.event, failure, &job.delivery_key());
            let letter = letter.unwrap_or_else(|error| without_reason(&job.event, &error));
            let outcome = match keep(&job.shared, letter).await {
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
async fn read_again(log: Arc<dyn Log>, offset: Offset) -> Done {
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

async fn send(job: &Job) -> Outcome {
    let routes = &job.routes;
    let wants_reply = routes.reply.is_some();
    let delivery = Delivery {
        event: job.event.clone(),
        format: routes.config.policy.format,
        skip: &[reply::TTL],
        namespace: routes.namespace(),
        idempotency_key: job.key(""),
        wants_reply,
        timeout: routes.config.policy.timeout,
    };
    let outcome = routes.subscriber.subscriber.deliver(delivery).await;
    reply::judge(
        outcome,
        &*routes.subscriber,
        wants_reply,
        job.shared.tools.clock.now(),
    )
}

/// Posts an event of ours to a target whose replies are not wanted.
async fn post(route: &Route, job: &Job, event: Event, role: &str) -> Outcome {
    let routes = &job.routes;
    let delivery = Delivery {
        event,
        format: routes.config.policy.format,
        skip: &[],
        namespace: routes.namespace(),
        idempotency_key: job.key(role),
        wants_reply: false,
        timeout: routes.config.policy.timeout,
    };
    let outcome = route.subscriber.deliver(delivery).await;
    reply::judge(outcome, route, false, job.shared.tools.clock.now())
}

/// Sends a reply to where replies go. True when it was dropped because its TTL was used up.
async fn send_reply(reply: &Event, job: &Job) -> Result<bool, Failure> {
    let (original, routes) = (&job.event, &job.routes);
    let url = &*routes.subscriber;
    let unfit = |error: EventError| refusal(url, 502, error.to_string());
    match &routes.reply {
        None => Ok(false),
        Some(ReplyRoute::Log(logs)) => {
            let now = job.shared.tools.clock.now();
            let Some(reply) = reply::into_broker(reply, original, now).map_err(unfit)? else {
                return Ok(true);
            };
            append(&**logs.of(&reply), reply)
                .await
                .map_err(|error| refusal(url, code_of(&error), error.to_string()))?;
            Ok(false)
        }
        Some(ReplyRoute::Route(route)) => {
            let Some(reply) = reply::to_address(reply.clone(), original).map_err(unfit)? else {
                return Ok(true);
            };
            match post(route, job, reply, "-reply").await {
                Outcome::Taken | Outcome::Replied(_) => Ok(false),
                Outcome::Failed(failure) => Err(failure),
            }
        }
    }
}

/// A dead letter that has no room for the reason goes as it is: the event matters more.
fn without_reason(event: &Event, error: &EventError) -> Event {
    warn!(%error, "a dead letter does not say why it is one");
    event.clone()
}

async fn keep(shared: &Shared, letter: Event) -> Result<(), String> {
    let log = open_dead_letters(shared)
        .await
        .map_err(|error| error.to_string())?;
    append(&*log, letter)
        .await
        .map_err(|error| error.to_string())
}

/// The consumer's dead letter log, opened when it is first needed.
pub(crate) async fn open_dead_letters(shared: &Shared) -> Result<Arc<dyn Log>, OpenError> {
    let opened = &shared.whole.dead_letters;
    if let Some(log) = opened.get() {
        return Ok(Arc::clone(log));
    }
    let tools = &shared.tools;
    let name = dead_letter::log_name(shared.id());
    let store = Arc::clone(&tools.dead_letters);
    let for_task = name.clone();
    let open = tools
        .tracker
        .spawn_blocking(move || store.open(&for_task, dead_letter::RETENTION));
    let failed = |error: tokio::task::JoinError| Err(OpenError::failed(&name, error.to_string()));
    let log = open.await.unwrap_or_else(failed)?;
    let first = || {
        let tail = log.stats().next;
        let floor = shared.position.update(|state| {
            if state.redriven().next() > tail {
                // It was made for a log that is not there any more.
                *state.redriven_mut() = Cursor::default();
            }
            state.redriven().floor()
        });
        log.release(floor);
        log
    };
    Ok(Arc::clone(opened.get_or_init(first)))
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

fn refusal(destination: impl Display, code: u16, reason: String) -> Failure {
    Failure {
        destination: destination.to_string(),
        code,
        data: reason.as_bytes().to_vec(),
        reason,
        retriable: true,
        retry_after: None,
    }
}
