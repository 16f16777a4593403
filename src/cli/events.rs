//! `heddle events`: reads the log of a broker, from anywhere, once or as it grows.
//!
//! The admin listener answers `GET /api/v1/namespaces/{namespace}/brokers/{name}/events` with one
//! JSON document a line: `{"offset":N,"accepted":TIME,"event":{...}}`.

use std::io::Write;
use std::str::FromStr;

use clap::Args;
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::http::{Http, query_encode};
use super::show_event::{Shown, Style};
use super::{Context, Failure, Format, Global};

/// Read the events that a broker keeps
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// The broker: NAME or NAMESPACE/NAME
    #[arg(value_name = "BROKER", default_value = "default")]
    pub broker: String,
    /// Where to start: earliest, latest, an offset, a time (2026-01-31T12:00:00Z), or a time ago
    /// (-10m)
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "earliest",
        allow_hyphen_values = true
    )]
    pub from: From,
    /// End after so many events
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on and print what is accepted
    #[arg(short, long)]
    pub follow: bool,
    /// Print attributes and data of each event instead of one line
    #[arg(long)]
    pub full: bool,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// A position in the log, as users write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The oldest event that is kept.
    Earliest,
    /// After the newest.
    Latest,
    /// That event.
    Offset(u64),
    /// The first that was accepted then or later.
    Time(Timestamp),
    /// So long ago.
    Ago(SignedDuration),
}

/// Why a text is not a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected earliest, latest, an offset, a time like 2026-01-31T12:00:00Z, or a time ago like -10m"
)]
pub struct FromError;

impl FromStr for From {
    type Err = FromError;

    fn from_str(text: &str) -> Result<Self, FromError> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "earliest" | "beginning" => return Ok(Self::Earliest),
            "latest" | "end" => return Ok(Self::Latest),
            _ => {}
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(Self::Offset).map_err(|_| FromError);
        }
        if let Some(ago) = text.strip_prefix('-') {
            let ago: SignedDuration = ago.parse().map_err(|_| FromError)?;
            return if ago.is_negative() {
                Err(FromError)
            } else {
                Ok(Self::Ago(ago))
            };
        }
        text.parse().map(Self::Time).map_err(|_| FromError)
    }
}

impl From {
    /// The position as the server takes it: a time ago becomes a time.
    #[must_use]
    pub fn query(self, now: Timestamp) -> String {
        match self {
            Self::Earliest => "earliest".to_owned(),
            Self::Latest => "latest".to_owned(),
            Self::Offset(offset) => offset.to_string(),
            Self::Time(time) => time.to_string(),
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN).to_string(),
        }
    }
}

/// One line of the answer.
#[derive(Deserialize)]
struct Line<'a> {
    offset: u64,
    accepted: String,
    #[serde(borrow)]
    event: &'a RawValue,
}

/// Takes NAME or NAMESPACE/NAME.
///
/// # Errors
///
/// When a part cannot be a name.
pub(crate) fn broker_name(text: &str, namespace: &str) -> Result<(String, String), Failure> {
    let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
    if super::manifest::is_label_name(namespace) && super::manifest::is_name(name) {
        Ok((namespace.to_owned(), name.to_owned()))
    } else {
        Err(Failure::usage(format!(
            "{text:?} is not a broker; write NAME or NAMESPACE/NAME"
        )))
    }
}

/// Prints the events that the arguments ask for.
///
/// # Errors
///
/// When the server cannot be reached or has no such broker.
pub async fn run(args: EventsArgs, context: &mut Context) -> Result<(), Failure> {
    let EventsArgs {
        broker,
        from,
        limit,
        follow,
        full,
        global: _,
    } = args;
    let (namespace, name) = broker_name(&broker, &context.settings.namespace)?;
    let from = query_encode(&from.query(context.clock.now()));
    let mut path = format!("/api/v1/namespaces/{namespace}/brokers/{name}/events?from={from}");
    if let Some(limit) = limit {
        path.push_str(&format!("&limit={limit}"));
    }
    if follow {
        path.push_str("&follow=true");
    }
    let http = Http::admin(&context.settings.admin)?;
    let mut lines = std::pin::pin!(http.get_lines(&path).await?);
    let stop = context.stop.clone();
    let mut printer = Printer::new(full);
    while limit.is_none_or(|limit| printer.printed < limit) {
        let line = tokio::select! {
            () = stop.cancelled() => break,
            line = lines.next() => line,
        };
        let Some(line) = line else { break };
        printer.print(&line?, context)?;
    }
    if printer.printed == 0 && !follow {
        writeln!(context.err, "broker {namespace}/{name} has no events there")?;
    }
    Ok(())
}

struct Printer {
    full: bool,
    printed: u64,
}

impl Printer {
    fn new(full: bool) -> Self {
        Self { full, printed: 0 }
    }

    fn print(&mut self, line: &str, context: &mut Context) -> Result<(), Failure> {
        if line.is_empty() {
            return Ok(());
        }
        let color = context.color;
        let out = &mut context.out;
        if context.settings.output == Some(Format::Json) {
            writeln!(out, "{line}")?;
        } else {
            let parsed: Result<Line<'_>, _> = serde_json::from_str(line);
            let Ok((line, event)) = parsed.map(|line| {
                let event = Shown::from_json(line.event.get());
                (line, event)
            }) else {
                let message = "the admin listener answered something that is not an event";
                return Err(Failure::failed(message));
            };
            let event = event.unwrap_or_default();
            if self.full {
                let pretty = context.out_is_terminal;
                if self.printed > 0 {
                    writeln!(out)?;
                }
                writeln!(out, "offset {}, accepted {}", line.offset, line.accepted)?;
                event.write(out, Style::Text { pretty, color })?;
            } else {
                if self.printed == 0 {
                    write_line(out, "OFFSET", "ACCEPTED", "TYPE", "SOURCE", "ID")?;
                }
                let of = |name| event.attribute(name).unwrap_or_default();
                let offset = line.offset.to_string();
                write_line(
                    out,
                    &offset,
                    &line.accepted,
                    of("type"),
                    of("source"),
                    of("id"),
                )?;
            }
        }
        self.printed += 1;
        Ok(out.flush()?)
    }
}

/// One line of the list. Rows come one by one, so that widths are fixed.
fn write_line(
    out: &mut dyn Write,
    offset: &str,
    accepted: &str,
    ty: &str,
    source: &str,
    id: &str,
) -> std::io::Result<()> {
    writeln!(out, "{offset:<9} {accepted:<30} {ty:<32} {source:<32} {id}")
}
