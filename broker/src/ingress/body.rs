//! The body of a request, within its limits: a size, a deadline, and a budget of memory that all
//! requests share.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, timeout_at};

use super::error::IngressError;

/// How often the largest body may fit into one that is thrown away.
const DISCARD_FACTOR: usize = 4;

/// The bytes that all unanswered requests may hold.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    used: Gauge,
}

impl Budget {
    /// `used` shows what is taken.
    pub(super) fn new(limit: usize, used: Gauge) -> Self {
        Self { limit, used }
    }

    /// Takes nothing yet.
    pub(super) fn reserve(&self) -> Reservation<'_> {
        Reservation {
            budget: self,
            size: 0,
        }
    }
}

/// A part of the budget. Given back on drop.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    budget: &'a Budget,
    size: usize,
}

impl Reservation<'_> {
    /// Takes more, up to `size` bytes altogether.
    fn grow_to(&mut self, size: usize) -> Result<(), IngressError> {
        let Some(more) = size.checked_sub(self.size) else {
            return Ok(());
        };
        let limit = self.budget.limit;
        let before = self.budget.used.inc_by(signed(more));
        if before.saturating_add(signed(more)) > signed(limit) {
            self.budget.used.dec_by(signed(more));
            return Err(IngressError::OverBudget { limit });
        }
        self.size = size;
        Ok(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.used.dec_by(signed(self.size));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Reads the whole body. A body whose Content-Length is too large is refused unread, one without
/// is refused as soon as it has become too long.
pub(super) async fn read<B>(
    mut body: Pin<&mut B>,
    limit: usize,
    deadline: Instant,
    room: &mut Reservation<'_>,
) -> Result<Bytes, IngressError>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limit {
        return Err(IngressError::TooLarge { limit });
    }
    room.grow_to(declared)?;
    let collect = async {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = next(body.as_mut()).await {
            let Ok(data) = broken(frame)?.into_data() else {
                continue;
            };
            let length = first.len() + all.len() + data.len();
            if length > limit {
                return Err(IngressError::TooLarge { limit });
            }
            room.grow_to(length)?;
            if all.is_empty() && first.is_empty() {
                first = data;
            } else {
                if all.is_empty() {
                    all.reserve(declared.max(length));
                    all.extend_from_slice(&std::mem::take(&mut first));
                }
                all.extend_from_slice(&data);
            }
        }
        // A body that came in one piece is not copied.
        Ok(if all.is_empty() { first } else { all.freeze() })
    };
    timeout_at(deadline, collect)
        .await
        .unwrap_or(Err(IngressError::BodyTimeout))
}

/// Reads a body of moderate size and throws it away.
pub(super) async fn discard<B>(mut body: Pin<&mut B>, limit: usize, deadline: Instant)
where
    B: Body<Data = Bytes>,
{
    let mut left = limit.saturating_mul(DISCARD_FACTOR);
    if body.is_end_stream() || body.size_hint().lower() > u64::try_from(left).unwrap_or(u64::MAX) {
        return;
    }
    let drain = async {
        while let Some(Ok(frame)) = next(body.as_mut()).await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Late or not: the answer follows.
    let _in_time = timeout_at(deadline, drain).await;
}

async fn next<B: Body>(mut body: Pin<&mut B>) -> Option<Result<Frame<B::Data>, B::Error>> {
    poll_fn(|cx| body.as_mut().poll_frame(cx)).await
}

fn broken<T, E: std::fmt::Display>(frame: Result<T, E>) -> Result<T, IngressError> {
    frame.map_err(|error| IngressError::BodyBroken {
        reason: super::error::cut(&error.to_string()),
    })
}
