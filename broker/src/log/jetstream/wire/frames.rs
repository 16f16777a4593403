//! The protocol's lines, as far as a publisher needs them: what it sends, and what it hears.
//!
//! Pure functions over bytes. What is heard is taken in place: nothing is copied that nobody keeps.

use std::io::Write as _;

/// The longest line that a server sends: its greeting, with the addresses of a large cluster.
const MAX_LINE: usize = 1 << 20;
/// The largest message that is taken: answers are a line of JSON.
const MAX_MESSAGE: usize = 1 << 20;

/// One thing that a server said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// It asks whether we are there.
    Ping,
    /// It answers that it is there.
    Pong,
    /// It is content.
    Ok,
    /// What it is, and can do, in JSON.
    Info(&'a [u8]),
    /// What it complains about.
    Error(&'a str),
    /// A message to us. A `status` comes instead of one, from the server itself.
    Message {
        subject: &'a str,
        status: Option<u16>,
        payload: &'a [u8],
    },
}

/// What a server said is not the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak the protocol of NATS")]
pub(super) struct Gibberish;

/// The first thing in `input` and how many bytes it takes; nothing where it is not complete yet.
pub(super) fn hear(input: &[u8]) -> Result<Option<(Heard<'_>, usize)>, Gibberish> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        let line = input.len() <= MAX_LINE;
        return line.then_some(None).ok_or(Gibberish);
    };
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    let (verb, rest) = match memchr::memchr(b' ', line) {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &[][..]),
    };
    let heard = match verb {
        b"MSG" | b"HMSG" => return message(verb == b"HMSG", rest, input, end + 1),
        b"PING" => Heard::Ping,
        b"PONG" => Heard::Pong,
        b"+OK" => Heard::Ok,
        b"INFO" => Heard::Info(rest),
        b"-ERR" => Heard::Error(text(rest)?.trim_matches([' ', '\''])),
        _ => return Err(Gibberish),
    };
    Ok(Some((heard, end + 1)))
}

/// A message, whose line ended before `at`: subject, number of the subscription, perhaps where to
/// answer, with headers their size, and the size of all.
fn message<'a>(
    headed: bool,
    line: &'a [u8],
    input: &'a [u8],
    at: usize,
) -> Result<Option<(Heard<'a>, usize)>, Gibberish> {
    let mut words = text(line)?.split_ascii_whitespace();
    let subject = words.next().ok_or(Gibberish)?;
    let mut size = |missing| -> Result<usize, Gibberish> {
        let word = words.next_back().ok_or(missing)?;
        word.parse().map_err(|_| missing)
    };
    let total = size(Gibberish)?;
    let head = if headed { size(Gibberish)? } else { 0 };
    if total > MAX_MESSAGE || head > total {
        return Err(Gibberish);
    }
    let Some(body) = input.get(at..at + total + 2) else {
        return Ok(None);
    };
    if !body.ends_with(b"\r\n") {
        return Err(Gibberish);
    }
    let status = if headed { status(&body[..head])? } else { None };
    let payload = &body[head..total];
    let message = Heard::Message {
        subject,
        status,
        payload,
    };
    Ok(Some((message, at + total + 2)))
}

/// The status in the first line of headers: `NATS/1.0 503`.
fn status(headers: &[u8]) -> Result<Option<u16>, Gibberish> {
    let line = headers.split(|byte| *byte == b'\r').next();
    let rest = line.and_then(|line| line.strip_prefix(b"NATS/1.0"));
    let word = text(rest.ok_or(Gibberish)?)?
        .split_ascii_whitespace()
        .next();
    word.map(str::parse).transpose().map_err(|_| Gibberish)
}

fn text(bytes: &[u8]) -> Result<&str, Gibberish> {
    std::str::from_utf8(bytes).map_err(|_| Gibberish)
}

/// Adds a message with headers. Where an answer is wanted, it goes to an inbox under a number.
pub(crate) fn publish(
    out: &mut Vec<u8>,
    subject: &str,
    inbox: Option<(&str, u64)>,
    headers: &[u8],
    data: &[u8],
) {
    let total = headers.len() + data.len();
    out.reserve(subject.len() + total + 96);
    out.extend_from_slice(b"HPUB ");
    out.extend_from_slice(subject.as_bytes());
    out.push(b' ');
    // Writing to a vector does not fail.
    if let Some((inbox, token)) = inbox {
        let _ = write!(out, "{inbox}.{token:x} ");
    }
    let _ = write!(out, "{} {total}\r\n", headers.len());
    out.extend_from_slice(headers);
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// Everything that a server may say to a publisher.
    const ALL: &[u8] = b"INFO {\"max_payload\":5}\r\n+OK\r\nPING\r\nPONG\r\n\
        MSG _INBOX.a.0.1 1 5\r\nhello\r\nMSG _INBOX.a.0.2 1 back 2\r\n\r\n\r\n\
        HMSG _INBOX.a.0.3 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n\
        HMSG _INBOX.a.0.4 1 18 20\r\nNATS/1.0\r\na: b\r\n\r\nhi\r\n\
        -ERR 'Slow Consumer'\r\n";

    fn told(input: &[u8]) -> Vec<String> {
        let mut at = 0;
        let mut all = Vec::new();
        while let Some((heard, length)) = hear(&input[at..]).unwrap() {
            all.push(format!("{heard:?}"));
            at += length;
        }
        assert!(at == input.len() || input.len() < ALL.len());
        all
    }

    #[test]
    fn what_a_server_says_is_understood() {
        let message = |subject, status, payload: &'static [u8]| {
            let heard = Heard::Message {
                subject,
                status,
                payload,
            };
            format!("{heard:?}")
        };
        let all = told(ALL);
        assert_eq!(all[0], format!("{:?}", Heard::Info(b"{\"max_payload\":5}")));
        assert_eq!(all[1..4], ["Ok", "Ping", "Pong"]);
        assert_eq!(all[4], message("_INBOX.a.0.1", None, b"hello"));
        assert_eq!(all[5], message("_INBOX.a.0.2", None, b"\r\n"));
        assert_eq!(all[6], message("_INBOX.a.0.3", Some(503), b""));
        assert_eq!(all[7], message("_INBOX.a.0.4", None, b"hi"));
        assert_eq!(all[8], "Error(\"Slow Consumer\")");
    }

    #[test]
    fn what_is_not_complete_is_waited_for() {
        let all = told(ALL);
        for end in 0..ALL.len() {
            let heard = told(&ALL[..end]);
            assert_eq!(heard, all[..heard.len()], "up to {end}");
        }
    }

    #[test]
    fn what_is_not_the_protocol_ends_it() {
        for input in [
            "HTTP/1.1 400 Bad Request\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 99999999999999999999\r\n",
            "MSG a 1 2000000\r\n",
            "MSG a 1 2\r\nhello\r\n",
            "HMSG a 1 9 5\r\nhello\r\n",
            "HMSG a 1 5 5\r\nhello\r\n",
            "MSG \u{fffd}",
        ] {
            let mut input = input.as_bytes().to_vec();
            if input.ends_with(&[0xbd]) {
                input.extend_from_slice(b"\xff 1 2\r\n");
            }
            assert_eq!(hear(&input), Err(Gibberish), "{input:?}");
        }
        assert_eq!(hear(&vec![b'x'; MAX_LINE + 1]), Err(Gibberish));
    }

    #[test]
    fn a_message_says_how_long_it_is() {
        let mut out = Vec::new();
        publish(
            &mut out,
            "s",
            Some(("in.box", 26)),
            b"NATS/1.0\r\n\r\n",
            b"data",
        );
        publish(&mut out, "s", None, b"NATS/1.0\r\n\r\n", b"");
        let text = String::from_utf8(out).unwrap();
        let one = "HPUB s in.box.1a 12 16\r\nNATS/1.0\r\n\r\ndata\r\n";
        assert_eq!(text, format!("{one}HPUB s 12 12\r\nNATS/1.0\r\n\r\n\r\n"));
    }
}
