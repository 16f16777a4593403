//! What the HTTP library answers by itself, with our words.
//!
//! The library refuses a request that is not HTTP, and a head over its limits, before any code of
//! ours sees it, with a status and no body. This adapter stands between the library and the
//! socket, and recognises such an answer as it is written: the status line of a refusal, and no
//! body behind it, which no answer of ours is. It writes a problem document in its place and then
//! takes what the producer still sends, within a bound: closing a socket that has unread bytes
//! resets the connection, and the answer would be lost.
//!
//! For all other writes it compares a few bytes. An answer that the library wrote together with
//! the end of an earlier one (a producer that pipelines and does not read) is passed on as it is.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use memchr::memmem;

use super::Ingress;
use super::error::IngressError;

/// The header of an answer without a body.
const NO_BODY: &[u8] = b"\r\ncontent-length: 0\r\n";
/// How much is read after a refusal and thrown away, in bytes.
const DISCARDED: usize = 1 << 20;

/// A socket whose refusals carry a problem document.
#[derive(Debug)]
pub(super) struct Explained<T> {
    socket: T,
    ingress: Arc<Ingress>,
    refusal: Refusal,
}

#[derive(Debug)]
enum Refusal {
    /// The library has refused nothing.
    None,
    /// This is being written in place of what the library wrote; so much of it has been.
    Writing(Vec<u8>, usize),
    /// It is written. So many bytes may still be taken from the producer.
    Written(usize),
}

impl<T> Explained<T> {
    pub(super) fn new(socket: T, ingress: Arc<Ingress>) -> Self {
        Self {
            socket,
            ingress,
            refusal: Refusal::None,
        }
    }

    /// What to write in place of these bytes, if they are a refusal of the library.
    fn replacement(&self, written: &[u8]) -> Option<Vec<u8>> {
        let (start, rest) = written.split_at_checked(12)?;
        let options = &self.ingress.options;
        let error = match start.strip_prefix(b"HTTP/1.")?.split_at_checked(2)?.1 {
            b"400" => IngressError::NotHttp,
            b"414" => IngressError::AddressTooLong,
            b"431" => IngressError::HeadTooLarge {
                headers: options.max_headers,
                limit: options.head_limit(),
            },
            _ => return None,
        };
        let at = start.len() + memmem::find(rest, NO_BODY)?;
        if !written.ends_with(b"\r\n\r\n") {
            return None;
        }
        let (before, after) = written.split_at_checked(at)?;
        self.ingress.metrics.answered(error.outcome());
        let body = error.problem();
        let header = format!(
            "\r\ncontent-type: {}\r\ncontent-length: {}\r\n",
            IngressError::MEDIA_TYPE,
            body.len()
        );
        Some(
            [
                before,
                header.as_bytes(),
                after.get(NO_BODY.len()..)?,
                &body,
            ]
            .concat(),
        )
    }
}

impl<T: Write + Unpin> Explained<T> {
    /// Goes on with a refusal, or begins one if `written` is one. None where there is none.
    fn poll_refusal(
        &mut self,
        cx: &mut Context<'_>,
        written: &[u8],
    ) -> Option<Poll<io::Result<usize>>> {
        if matches!(self.refusal, Refusal::None) {
            if !written.starts_with(b"HTTP/1.") || written.get(9) != Some(&b'4') {
                return None;
            }
            self.refusal = Refusal::Writing(self.replacement(written)?, 0);
        }
        let Refusal::Writing(answer, done) = &mut self.refusal else {
            return None;
        };
        while let Some(rest) = answer.get(*done..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.socket).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => {
                    return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(more)) => *done += more,
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        self.refusal = Refusal::Written(DISCARDED);
        Some(Poll::Ready(Ok(written.len())))
    }
}

impl<T: Read + Unpin> Read for Explained<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<T: Read + Write + Unpin> Write for Explained<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.poll_refusal(cx, bytes) {
            Some(outcome) => outcome,
            None => Pin::new(&mut self.socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A refusal has no body, and so one part.
        let first = parts.first().map_or(&[][..], |part| part);
        match self.poll_refusal(cx, first) {
            Some(outcome) => outcome,
            None => Pin::new(&mut self.socket).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
        let this = &mut *self;
        while let Refusal::Written(left) = &mut this.refusal {
            let mut space = [MaybeUninit::uninit(); 4096];
            let mut buffer = ReadBuf::uninit(&mut space);
            let outcome = ready!(Pin::new(&mut this.socket).poll_read(cx, buffer.unfilled()));
            let count = buffer.filled().len();
            *left = left.saturating_sub(count);
            if outcome.is_err() || count == 0 || *left == 0 {
                this.refusal = Refusal::None;
            }
        }
        Poll::Ready(Ok(()))
    }
}
