//! Filters, run over the events in a log.
//!
//! `POST .../events/filter` takes `{"filters": [{"filter": ..., "filters": ...}]}`, one or two specs of
//! Triggers, and answers lines of JSON: `{"progress": ...}` now and then, at last `{"done": ...}` with
//! the counts and some events of each group. `from` and `limit` are as for reading events.
//!
//! The log is read up to where it was when the request came, batch by batch, so that a log of any
//! size costs the memory of one batch; other work goes on between batches, and at most
//! [`AT_ONCE`] requests are answered at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures::Stream;
use heddle_broker::control::admission;
use heddle_broker::event::Event;
use heddle_broker::filter::{Filter, JudgeError, Outcome, Subject};
use heddle_broker::log::{Log, Offset, ReadError, Record};
use heddle_crds::eventing::{Trigger, TriggerSpec};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::events::{BATCH, Range, find, single, start};
use super::{Admin, not_found};

/// The most requests that are answered at once.
pub(super) const AT_ONCE: usize = 2;
/// How often progress is told.
const INTERVAL: Duration = Duration::from_millis(200);
/// The most events that are shown of each group.
const MAX_SAMPLES: usize = 100;

/// What to judge with.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    /// One or two.
    filters: Vec<TriggerSpec>,
    /// How many events of each group to show.
    #[serde(default)]
    samples: usize,
}

/// One event of a group.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    offset: Offset,
    accepted: String,
    #[serde(rename = "type")]
    ty: String,
    source: String,
    id: String,
}

/// What one filter did.
#[derive(Clone, Debug, Default, Serialize)]
struct Tally {
    matched: u64,
    #[serde(rename = "notMatched")]
    not_matched: u64,
    errors: BTreeMap<String, u64>,
    samples: Vec<Sample>,
}

/// What one of two filters matched and the other did not, or both did.
#[derive(Clone, Debug, Default, Serialize)]
struct Group {
    count: u64,
    samples: Vec<Sample>,
}

/// What was found so far.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    judged: u64,
    /// The first offset that was looked at.
    from: Offset,
    /// Where the next event is.
    at: Offset,
    end: Offset,
    /// Offsets without an event: removed by retention, or damaged.
    missing: u64,
    filters: Vec<Tally>,
    #[serde(rename = "onlyFirst")]
    only_first: Group,
    #[serde(rename = "onlySecond")]
    only_second: Group,
    both: Group,
}

/// Answers one request.
pub(super) async fn judge(
    State(admin): State<Admin>,
    Extension(places): Extension<Arc<Semaphore>>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(range): Query<Range>,
    Json(request): Json<Request>,
) -> Response {
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason).into_response();
    let Some(logs) = find(&admin, &kind, &namespace, &name) else {
        return not_found(&kind, &namespace, &name, "does not exist, or is not ready");
    };
    let log = match single(&logs, &range) {
        Ok(log) => log,
        Err(reason) => return bad(reason),
    };
    if !(1..=2).contains(&request.filters.len()) {
        return bad("expected one or two filters\n".to_owned());
    }
    let mut filters = Vec::new();
    for spec in request.filters {
        match admission::filter(&Trigger::new("", spec)) {
            Ok(filter) => filters.push(filter),
            Err(errors) => {
                let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
                return bad(all.join("\n"));
            }
        }
    }
    let Ok(place) = places.try_acquire_owned() else {
        let reason = "other filters are being run; try again in a moment\n";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return (status, [(header::RETRY_AFTER, "1")], reason).into_response();
    };
    let from = match start(&*log, range.from()).await {
        Ok(from) => from,
        Err(reason) => return bad(reason),
    };
    let end = *log.tail().borrow();
    let run = Run {
        log,
        report: Report {
            from,
            at: from,
            end,
            filters: vec![Tally::default(); filters.len()],
            ..Report::default()
        },
        filters,
        left: range.limit(),
        samples: request.samples.min(MAX_SAMPLES),
        done: false,
        _place: place,
    };
    let body = Body::from_stream(lines(run));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

struct Run {
    log: Arc<dyn Log>,
    filters: Vec<Filter>,
    report: Report,
    left: u64,
    samples: usize,
    done: bool,
    /// Given back with the run.
    _place: OwnedSemaphorePermit,
}

fn lines(run: Run) -> impl Stream<Item = Result<Bytes, ReadError>> {
    futures::stream::try_unfold(run, |mut run| async move {
        if run.done {
            return Ok(None);
        }
        let began = Instant::now();
        while run.report.at < run.report.end && run.left > 0 && began.elapsed() < INTERVAL {
            run.step().await?;
            tokio::task::yield_now().await;
        }
        run.done = run.report.at >= run.report.end || run.left == 0;
        let line = if run.done {
            json!({ "done": run.report })
        } else {
            let Report {
                judged,
                from,
                at,
                end,
                ..
            } = run.report;
            json!({ "progress": {"judged": judged, "from": from, "at": at, "end": end} })
        };
        Ok(Some((Bytes::from(format!("{line}\n")), run)))
    })
}

impl Run {
    async fn step(&mut self) -> Result<(), ReadError> {
        let batch = self.log.read(self.report.at, BATCH).await?;
        for gap in &batch.gaps {
            let from = gap.offsets.start.max(self.report.from);
            self.report.missing += gap.offsets.end.min(self.report.end).saturating_sub(from);
        }
        for record in &batch.records {
            if self.left == 0 || record.offset >= self.report.end {
                self.report.at = record.offset;
                return Ok(());
            }
            self.left -= 1;
            self.look(record);
        }
        self.report.at = batch.next;
        Ok(())
    }

    fn look(&mut self, record: &Record) {
        let subject = Subject::new(&record.event);
        let report = &mut self.report;
        report.judged += 1;
        let mut matched = Vec::with_capacity(2);
        for (filter, tally) in self.filters.iter().zip(&mut report.filters) {
            let Outcome {
                matched: wants,
                error,
            } = filter.judge(&subject);
            matched.push(wants);
            if let Some(error) = error {
                *tally.errors.entry(kind_of(&error)).or_default() += 1;
            }
            if wants {
                tally.matched += 1;
                keep(&mut tally.samples, self.samples, record);
            } else {
                tally.not_matched += 1;
            }
        }
        let group = match matched.as_slice() {
            [true, true] => &mut report.both,
            [true, false] => &mut report.only_first,
            [false, true] => &mut report.only_second,
            _ => return,
        };
        group.count += 1;
        keep(&mut group.samples, self.samples, record);
    }
}

fn keep(samples: &mut Vec<Sample>, most: usize, record: &Record) {
    if samples.len() < most {
        let event: &Event = &record.event;
        samples.push(Sample {
            offset: record.offset,
            accepted: record.accepted.to_string(),
            ty: event.ty().to_owned(),
            source: event.source().to_owned(),
            id: event.id().to_owned(),
        });
    }
}

/// The kind of an error, of which there are few.
fn kind_of(error: &JudgeError) -> String {
    match error {
        JudgeError::Expression(error) => format!("{:?}", error.kind()),
        JudgeError::Data(error) => format!("Data{error:?}"),
    }
}
