//! The task of a connection: writes what it is given, and hands out what it hears.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::dial::Dialed;
use super::frames::{Gibberish, Heard, hear};
use super::{Answer, Ears, State};
use crate::log::jetstream::{PING, ack};

/// Pings that a server may miss.
const MISSES: u32 = 2;
/// Room for what comes in at once: some hundred acknowledgements.
const READ: usize = 32 << 10;

/// A connection has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the server closed the connection")]
    Closed,
    #[error("the server does not answer")]
    Silent,
    #[error(transparent)]
    Gibberish(#[from] Gibberish),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves a connection until it is lost or nobody holds it any more.
pub(super) async fn run(dialed: Dialed, state: Arc<State>, mut parcels: mpsc::Receiver<Vec<u8>>) {
    let ended = talk(dialed, &state, &mut parcels).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to a NATS server was lost");
    }
    // In this order: whoever sees that a lane has ended finds that the connection has.
    drop(parcels);
    state.end();
}

async fn talk(
    dialed: Dialed,
    state: &State,
    parcels: &mut mpsc::Receiver<Vec<u8>>,
) -> Result<(), Lost> {
    let Dialed {
        stream, mut input, ..
    } = dialed;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut out = Bytes::from(format!("SUB {}.> 1\r\n", state.inbox));
    let mut sending = true;
    let mut ears = Listener::default();
    let mut pings = tokio::time::interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            sent = push(&mut writer, &mut out), if sending => {
                sent?;
                sending = false;
            }
            read = async { input.reserve(READ); reader.read_buf(&mut input).await } => {
                if read? == 0 {
                    return Err(Lost::Closed);
                }
                ears.listen(state, &mut input)?;
            }
            _ = pings.tick() => ears.ask()?,
            parcel = parcels.recv(), if !sending => match parcel {
                Some(parcel) => {
                    out = parcel.into();
                    sending = true;
                }
                None => return Ok(()),
            },
        }
        if !sending && !ears.replies.is_empty() {
            out = std::mem::take(&mut ears.replies).into();
            sending = true;
        }
    }
}

/// Sends all of `out`. May be dropped and called again.
async fn push(writer: &mut (impl AsyncWrite + Unpin), out: &mut Bytes) -> io::Result<()> {
    while out.has_remaining() {
        if writer.write_buf(out).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    writer.flush().await
}

/// What there is to do about what was heard.
#[derive(Debug, Default)]
struct Listener {
    /// Lines for the server.
    replies: Vec<u8>,
    /// Pings that were not answered yet.
    asked: u32,
}

impl Listener {
    /// Asks the server whether it is there.
    fn ask(&mut self) -> Result<(), Lost> {
        if self.asked > MISSES {
            return Err(Lost::Silent);
        }
        self.asked += 1;
        self.replies.extend_from_slice(b"PING\r\n");
        Ok(())
    }

    /// Takes everything that is complete out of `input`.
    fn listen(&mut self, state: &State, input: &mut BytesMut) -> Result<(), Gibberish> {
        let mut at = 0;
        let mut post = Post::default();
        while let Some((heard, length)) = hear(&input[at..])? {
            at += length;
            match heard {
                Heard::Ping => self.replies.extend_from_slice(b"PONG\r\n"),
                Heard::Pong => self.asked = 0,
                Heard::Ok => {}
                Heard::Info(info) => state.informed(info),
                Heard::Error(error) => state.complained(error),
                Heard::Message {
                    subject,
                    status,
                    payload,
                } => post.take(state, subject, status, payload),
            }
        }
        post.deliver();
        input.advance(at);
        Ok(())
    }
}

/// Answers that were heard one after the other for the same lane: they are handed over together.
#[derive(Debug, Default)]
struct Post {
    lane: u64,
    ears: Option<Arc<Ears>>,
    answers: Vec<Answer>,
}

impl Post {
    fn take(&mut self, state: &State, subject: &str, status: Option<u16>, payload: &[u8]) {
        let Some((lane, token)) = state.addressee(subject) else {
            return;
        };
        if self.ears.is_none() || self.lane != lane {
            self.deliver();
            self.lane = lane;
            self.ears = state.ears(lane);
        }
        if let Some(ears) = &self.ears {
            let said = ack::read(status, payload, &ears.stream);
            self.answers.push(Answer { token, said });
        }
    }

    fn deliver(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let answers = std::mem::take(&mut self.answers);
        if let Some(ears) = &self.ears {
            // There is room for as many as there can be; a lane that is gone does not want them.
            let _ = ears.answers.try_send(answers);
        }
    }
}
