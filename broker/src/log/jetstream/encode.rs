//! Appends as messages to the stream, in the bytes of the protocol.

use super::{message, wire};
use crate::event::Event;
use crate::log::AppendError;

/// Writes appends one after the other.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    /// The stream's subject.
    pub(super) subject: &'a str,
    /// Where answers go; the number of the message follows.
    pub(super) inbox: &'a str,
    /// When they were accepted, in nanoseconds since 1970.
    pub(super) accepted: &'a str,
    /// The largest message that the server takes, with its headers. It closes the connection of
    /// whoever sends it more.
    pub(super) max_payload: usize,
    /// Room for the headers of one message.
    pub(super) headers: &'a mut Vec<u8>,
    /// Where all of it goes.
    pub(super) out: &'a mut Vec<u8>,
}

/// A message is larger than the server takes.
struct Oversize;

impl Writer<'_> {
    /// Writes an append whose answer is to have the number `token`. It has `bytes` in the log's terms.
    ///
    /// # Errors
    ///
    /// It is too large, and nothing of it was written.
    pub(super) fn append(
        &mut self,
        events: &[Event],
        bytes: usize,
        token: u64,
    ) -> Result<(), AppendError> {
        let start = self.out.len();
        let written = match events {
            [event] => self.message(event, Some(token), true, &[]),
            events => self.batch(events, token),
        };
        written.map_err(|Oversize| {
            self.out.truncate(start);
            let limit = self.max_payload;
            AppendError::TooLarge { bytes, limit }
        })
    }

    /// An atomic batch (JetStream's ADR 50): the server keeps nothing before the last message, and then
    /// all. Its answer to the last one counts for all.
    fn batch(&mut self, events: &[Event], token: u64) -> Result<(), Oversize> {
        // Of this connection, of this log on it, and of this append: no other batch has it.
        let own = self.inbox.trim_start_matches(wire::INBOX).replace('.', "-");
        let id = format!("{own}-{token:x}");
        for (place, event) in (1..).zip(events) {
            let number = place.to_string();
            let headers = [
                ("Nats-Batch-Id", id.as_str()),
                ("Nats-Batch-Sequence", &number),
                ("Nats-Batch-Commit", "1"),
            ];
            if place < events.len() {
                self.message(event, None, false, &headers[..2])?;
            } else {
                self.message(event, Some(token), false, &headers)?;
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        event: &Event,
        token: Option<u64>,
        identified: bool,
        more: &[(&str, &str)],
    ) -> Result<(), Oversize> {
        let data = message::write(self.headers, event, self.accepted, identified, more);
        if self.headers.len() + data.len() > self.max_payload {
            return Err(Oversize);
        }
        let inbox = token.map(|token| (self.inbox, token));
        wire::publish(self.out, self.subject, inbox, self.headers, &data);
        Ok(())
    }
}
