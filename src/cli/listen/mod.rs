//! `heddle listen`: a subscriber that prints what it gets and answers as it is told.
//!
//! Connections hand what arrives to one printer through a bounded queue, so that a slow terminal
//! slows the senders down instead of filling memory. Every event of a batch is printed; a request
//! that is not a CloudEvent is answered 400 and shown as such.

mod server;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::StatusCode;
use jiff::SignedDuration;
use tokio::net::TcpListener;

use super::show_event::{Shown, Style};
use super::{Context, Failure, Format, Global, manifest};
use server::{Answers, Arrival, Served, serve};

/// How many arrivals wait for the printer.
const QUEUE: usize = 64;

/// Be a subscriber: print what arrives and answer as told
#[derive(Args, Debug)]
pub struct ListenArgs {
    /// The port; 0 takes one that is free
    #[arg(short, long, value_name = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// The address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Answer with this status [default: 202, or 200 with --reply]
    #[arg(long, value_name = "CODE", value_parser = status)]
    pub status: Option<StatusCode>,
    /// Wait so long before each answer (50ms, 2s)
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub delay: Option<Duration>,
    /// Reply with the CloudEvent in this file (JSON or YAML)
    #[arg(long, value_name = "FILE")]
    pub reply: Option<PathBuf>,
    /// Answer the first N requests with 503
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fail_first: u64,
    /// Print nothing but a summary at the end
    #[arg(short, long)]
    pub quiet: bool,
    /// End after N requests, whatever they were answered
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

fn status(text: &str) -> Result<StatusCode, String> {
    match text.parse::<StatusCode>() {
        Ok(status) if status.as_u16() >= 200 && status.as_u16() < 600 => Ok(status),
        _ => Err("expected a status from 200 to 599".to_owned()),
    }
}

/// A time like `50ms`.
pub(super) fn delay(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time like 50ms or 2s".to_owned();
    let delay: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(delay).map_err(|_| wrong())
}

/// Listens until the command is stopped or has seen enough.
///
/// # Errors
///
/// When the address is taken, or the reply is not an event.
pub async fn run(args: ListenArgs, context: &mut Context) -> Result<(), Failure> {
    let ListenArgs {
        port,
        bind,
        status,
        delay,
        reply,
        fail_first,
        quiet,
        count,
        global: _,
    } = args;
    let reply = match reply {
        Some(path) => Some(read_reply(&path, context)?),
        None => None,
    };
    let default_status = if reply.is_some() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let answers = Answers {
        status: status.unwrap_or(default_status),
        delay: delay.unwrap_or_default(),
        reply,
        fail_first,
        limit: count,
    };
    let address = SocketAddr::new(bind, port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!("cannot listen at {address}: {error}"))
            .with_hint("take another port with --port, or a free one with --port 0")
    })?;
    let address = listener.local_addr()?;
    write_banner(address, context)?;
    let (sender, mut arrivals) = tokio::sync::mpsc::channel(QUEUE);
    let stop = context.stop.child_token();
    let tracker = context.tracker.clone();
    let served = Served {
        answers: Arc::new(answers),
        arrivals: sender,
        stop: stop.clone(),
        tracker: tracker.clone(),
    };
    tracker.spawn(serve(listener, served));
    let style = match context.settings.output {
        Some(Format::Json) => Style::JsonLines,
        _ => Style::Text {
            pretty: context.out_is_terminal,
            color: context.color,
        },
    };
    let mut summary = Summary::default();
    while let Some(arrival) = arrivals.recv().await {
        summary.add(&arrival);
        if !quiet && let Err(error) = print(&arrival, style, context) {
            stop.cancel();
            return Err(error.into());
        }
        if count.is_some_and(|count| summary.requests >= count) {
            stop.cancel();
        }
    }
    writeln!(context.err, "{summary}")?;
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    requests: u64,
    events: u64,
    answered_well: u64,
}

impl Summary {
    fn add(&mut self, arrival: &Arrival) {
        self.requests += 1;
        self.events += arrival.events.len() as u64;
        self.answered_well += u64::from(arrival.status.is_success());
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "got {} requests with {} events; answered {} with success",
            self.requests, self.events, self.answered_well
        )
    }
}

fn print(arrival: &Arrival, style: Style, context: &mut Context) -> std::io::Result<()> {
    let out = &mut context.out;
    for event in &arrival.events {
        if style != Style::JsonLines {
            let status = arrival.status.as_u16();
            let title = format!("event {} (answered {status})", arrival.number);
            let title = if context.color {
                format!("\x1b[2m{title}\x1b[0m")
            } else {
                title
            };
            writeln!(out, "{title}")?;
        }
        event.write(out, style)?;
        if style != Style::JsonLines {
            writeln!(out)?;
        }
    }
    if let Some(problem) = &arrival.problem {
        writeln!(context.err, "request {}: {problem}", arrival.number)?;
    }
    context.out.flush()
}

/// Says where it listens, and how a broker is told.
fn write_banner(address: SocketAddr, context: &mut Context) -> std::io::Result<()> {
    let host = if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port())
    } else {
        address
    };
    let namespace = &context.settings.namespace;
    writeln!(
        context.err,
        "listening at http://{host}\n\n\
         To get events from a broker, apply this:\n\n\
         apiVersion: eventing.knative.dev/v1\n\
         kind: Trigger\n\
         metadata:\n  \
           name: listen\n  \
           namespace: {namespace}\n\
         spec:\n  \
           broker: default\n  \
           subscriber:\n    \
             uri: http://{host}\n"
    )
}

/// Reads the one event of a file.
fn read_reply(path: &std::path::Path, context: &mut Context) -> Result<Shown, Failure> {
    let loaded = manifest::load_with(&[path.to_owned()], &mut context.stdin)?;
    let ([event], []) = (loaded.events.as_slice(), loaded.resources.as_slice()) else {
        return Err(Failure::usage(format!(
            "{} does not hold one CloudEvent and nothing else",
            path.display()
        )));
    };
    Shown::from_json(&event.json).ok_or_else(|| Failure::usage("the reply is not a CloudEvent"))
}
