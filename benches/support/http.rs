//! As much HTTP/1.1 as the benchmarks need: a prebuilt event, the end of an answer, and one
//! blocking request for the control plane.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use memchr::memmem;

use super::Result;

/// An id is two numbers of fixed width: the turn, and the index in its record.
const ID_LEN: usize = 4 + 1 + 10;

/// A CloudEvent in the binary mode, ready to be sent once its id is written in.
#[derive(Clone, Debug)]
pub(crate) struct EventRequest {
    bytes: Vec<u8>,
    id_at: usize,
}

impl EventRequest {
    /// An event of that type with that many bytes of data, for `POST <path>`.
    pub(crate) fn new(host: SocketAddr, path: &str, kind: &str, data: usize) -> Self {
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nce-specversion: 1.0\r\nce-type: {kind}\r\n\
             ce-source: /benchmark/generator\r\ncontent-type: application/octet-stream\r\n\
             content-length: {data}\r\nce-id: "
        )
        .into_bytes();
        let id_at = head.len();
        head.extend_from_slice(&[b'0'; ID_LEN]);
        head.extend_from_slice(b"\r\n\r\n");
        head.extend(noise(data));
        Self { bytes: head, id_at }
    }

    /// The request with that id.
    pub(crate) fn with_id(&mut self, run: u64, index: usize) -> &[u8] {
        let id = &mut self.bytes[self.id_at..self.id_at + ID_LEN];
        digits(&mut id[..4], run);
        id[4] = b'-';
        digits(&mut id[5..], index as u64);
        &self.bytes
    }
}

/// Bytes that do not compress.
pub(crate) fn noise(count: usize) -> impl Iterator<Item = u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

/// The id of an event.
pub(crate) fn id(run: u64, index: usize) -> String {
    format!("{run:04}-{index:010}")
}

fn digits(into: &mut [u8], mut value: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    (!digits.is_empty()).then_some(value)
}

/// The turn and the index in an id that [`EventRequest::with_id`] wrote.
pub(crate) fn parse_id(id: &[u8]) -> Option<(u64, usize)> {
    if id.len() != ID_LEN || id[4] != b'-' {
        return None;
    }
    Some((number(&id[..4])?, usize::try_from(number(&id[5..])?).ok()?))
}

/// A complete message at the start of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// The length of start line, headers and blank line.
    pub(crate) head: usize,
    /// The length of all of it.
    pub(crate) total: usize,
}

/// Where the first message ends, once all of it is there.
pub(crate) fn message(bytes: &[u8]) -> Result<Option<Message>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = end + 4;
    let body = match header(&bytes[..head], b"content-length") {
        Some(value) => number(value).context("a content-length that is no number")? as usize,
        None if header(&bytes[..head], b"transfer-encoding").is_some() => {
            bail!("a chunked message, which this benchmark does not read")
        }
        None => 0,
    };
    Ok((bytes.len() >= head + body).then_some(Message {
        head,
        total: head + body,
    }))
}

/// The value of a header, by its lower-case name.
pub(crate) fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.len() > name.len()
            && line[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name)
        {
            return Some(line[name.len() + 1..].trim_ascii());
        }
    }
    None
}

/// The status code of an answer.
pub(crate) fn status(head: &[u8]) -> Result<u16> {
    let digits = head.get(9..12).context("an answer without a status line")?;
    Ok(number(digits).context("a status that is no number")? as u16)
}

/// One request on its own connection, for the control plane.
pub(crate) fn call(
    addr: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, String)> {
    let timeout = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&addr, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end =
        memmem::find(&answer, b"\r\n\r\n").context("an answer without an end of headers")? + 4;
    let (head, body) = answer.split_at(end);
    let chunked = header(head, b"transfer-encoding").is_some();
    let body = if chunked {
        unchunk(body)?
    } else {
        body.to_vec()
    };
    Ok((status(head)?, String::from_utf8_lossy(&body).into_owned()))
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(end) = memmem::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end])?.trim(), 16)?;
        if size == 0 {
            break;
        }
        let from = end + 2;
        whole.extend_from_slice(
            rest.get(from..from + size)
                .context("a chunk that is cut short")?,
        );
        rest = rest
            .get(from + size + 2..)
            .context("a chunk without an end")?;
    }
    Ok(whole)
}
