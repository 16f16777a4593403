//! One request, from its head to its answer.

use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_ENCODING, EXPECT};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Body;
use tokio::time::{Instant, timeout};

use super::admit::{Admission, TraceContext};
use super::error::{IngressError, METHODS, cut};
use super::wake::{Mailbox, Through};
use super::{Ingress, body, route};
use crate::event::Event;
use crate::event::http::decode;
use crate::log::Partitions;

/// How a request that is not refused is answered.
enum Answer {
    /// All of its events are kept.
    Accepted,
    /// The webhook handshake (CloudEvents HTTP webhooks, section 4).
    Handshake,
}

impl Ingress {
    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        self.serve_one(request, None).await
    }

    /// Answers one request. What it waits for of other threads wakes it through `wakes`.
    pub(super) async fn serve_one<B>(
        &self,
        request: Request<B>,
        wakes: Option<&Arc<Mailbox>>,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let (head, body) = request.into_parts();
        let mut body = pin!(body);
        let start = Instant::now();
        let error = match self.accept(&head, body.as_mut(), start, wakes).await {
            Ok(answer) => return self.answer(&answer),
            Err(error) => error,
        };
        self.metrics.answered(error.outcome());
        let mut response = error.response();
        if matches!(error, IngressError::BodyTimeout) {
            close(&head, &mut response);
        } else if !expects_continue(&head) {
            let deadline = start + self.options.body_timeout;
            body::discard(body, self.options.max_body_bytes, deadline).await;
        }
        response
    }

    async fn accept<B>(
        &self,
        head: &Parts,
        body: Pin<&mut B>,
        start: Instant,
        wakes: Option<&Arc<Mailbox>>,
    ) -> Result<Answer, IngressError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        match head.method {
            Method::POST => {}
            Method::OPTIONS => return Ok(Answer::Handshake),
            _ => {
                return Err(IngressError::Method {
                    method: cut(head.method.as_str()),
                });
            }
        }
        self.check_head(head)?;
        let entry = route::find(&self.directory.load(), head)?;
        check_coding(head)?;

        let mut room = self.budget.reserve();
        let deadline = start + self.options.body_timeout;
        let body = body::read(body, self.options.max_body_bytes, deadline, &mut room).await?;
        let decoded = decode(&head.headers, &body)?;

        let admission = Admission {
            kind: entry.kind,
            trace: &TraceContext::of(&head.headers),
            now: self.clock.now(),
            broker_ttl: self.options.broker_ttl,
        };
        let events = admission
            .admit(decoded)
            .map_err(|(element, refusal)| IngressError::Refused { element, refusal })?;

        // The events are copies. The connection can use the body's memory again.
        drop(body);

        let count = events.len();
        if count > 0 {
            self.keep(&entry.logs, events, wakes).await?;
            self.metrics
                .kept(&entry, count, start.elapsed().as_secs_f64());
        }
        Ok(Answer::Accepted)
    }

    /// Refuses a head over the limits. The HTTP library does that for HTTP/1.1.
    fn check_head(&self, head: &Parts) -> Result<(), IngressError> {
        if head.version < Version::HTTP_2 {
            return Ok(());
        }
        let fields = head.headers.iter();
        // What RFC 9113, section 6.5.2, counts: 32 bytes for each field besides its text.
        let size: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        if head.headers.len() <= self.options.max_headers && size <= self.options.head_limit() {
            return Ok(());
        }
        Err(IngressError::HeadTooLarge {
            headers: self.options.max_headers,
            limit: self.options.head_limit(),
        })
    }

    /// Gives the events to the log, and returns when it has kept them. A batch whose keys lead to several
    /// partitions is an append to each of them: when one of those fails, the others may be kept.
    async fn keep(
        &self,
        logs: &Partitions,
        events: Vec<Event>,
        wakes: Option<&Arc<Mailbox>>,
    ) -> Result<(), IngressError> {
        let kept = async {
            if let [event] = &*events {
                let log = logs.of(event);
                Through::new(wakes, log.append(events)?).await?;
                return Ok(());
            }
            let mut commits = Vec::new();
            for (log, events) in logs.spread(events) {
                commits.push(Through::new(wakes, log.append(events)?));
            }
            for commit in commits {
                commit.await?;
            }
            Ok(())
        };
        match timeout(self.options.commit_timeout, kept).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(IngressError::CommitTimeout),
        }
    }

    fn answer(&self, answer: &Answer) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::new()));
        match answer {
            Answer::Accepted => {
                self.metrics.accepted.inc();
                *response.status_mut() = StatusCode::ACCEPTED;
            }
            Answer::Handshake => {
                self.metrics.answered("handshake");
                let headers = response.headers_mut();
                headers.insert(ALLOW, HeaderValue::from_static(METHODS));
                headers.insert("webhook-allowed-origin", HeaderValue::from_static("*"));
                headers.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
            }
        }
        response
    }

    /// Answers a request on a connection for which there is no room.
    pub(super) fn turn_away<B>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        let (head, _body) = request.into_parts();
        self.metrics.answered(IngressError::Crowded.outcome());
        let mut response = IngressError::Crowded.response();
        close(&head, &mut response);
        response
    }
}

/// A coding would be lost between here and the subscriber, who would get bytes that the
/// content type does not describe.
fn check_coding(head: &Parts) -> Result<(), IngressError> {
    match head.headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let coding = cut(&String::from_utf8_lossy(coding.as_bytes()));
            Err(IngressError::ContentCoding { coding })
        }
        _ => Ok(()),
    }
}

fn expects_continue(head: &Parts) -> bool {
    head.headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Ends the connection with this answer. HTTP/2 has no header for that.
fn close(head: &Parts, response: &mut Response<Full<Bytes>>) {
    if head.version <= Version::HTTP_11 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
