//! A request's body: received whole, within bounds of size, of time and of memory.
//!
//! Memory is counted as it arrives, so whoever announces much and sends little takes little. What
//! was counted is given back with the last reference to the body, which is when the call is over.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::Call;
use super::error::ApiError;

/// Bytes of a request's body.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// What the bodies of the requests under way may take.
#[derive(Debug)]
pub(crate) struct Intake {
    /// A permit for each byte of all bodies.
    room: Arc<Semaphore>,
    /// How long one body may take to arrive.
    time: Duration,
}

/// A body, and the room that it takes.
struct Received {
    bytes: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Call<'_> {
    /// Receives the body of the call.
    pub(crate) async fn receive<B>(&self, body: B) -> Result<Bytes, ApiError>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let intake = &self.api.intake;
        tokio::time::timeout(intake.time, collect(&intake.room, body))
            .await
            .unwrap_or_else(|_| Err(ApiError::slow_body(intake.time)))
    }
}

impl Intake {
    /// Room for `bytes` of bodies, each of which arrives within `time`.
    pub(crate) fn new(bytes: usize, time: Duration) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(bytes)),
            time,
        })
    }
}

async fn collect<B>(room: &Arc<Semaphore>, body: B) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = std::pin::pin!(Limited::new(body, MAX_BODY));
    let mut received = Received {
        bytes: BytesMut::new(),
        room: None,
    };
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| refused(&*error))?.into_data() else {
            // Trailers say nothing that is used here.
            continue;
        };
        let more = take(room, data.len())?;
        match &mut received.room {
            Some(taken) => taken.merge(more),
            none => *none = Some(more),
        }
        received.bytes.extend_from_slice(&data);
    }
    Ok(Bytes::from_owner(received))
}

fn take(room: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    u32::try_from(bytes)
        .ok()
        .and_then(|bytes| Arc::clone(room).try_acquire_many_owned(bytes).ok())
        .ok_or_else(|| {
            ApiError::too_many_requests(
                "the bodies of the requests under way take too much memory; try again later",
            )
        })
}

fn refused(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ApiError {
    if error.is::<LengthLimitError>() {
        ApiError::too_large(MAX_BODY)
    } else {
        ApiError::bad_request(format!(
            "the body of the request did not arrive completely: {error}"
        ))
    }
}
