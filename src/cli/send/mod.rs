//! `heddle send`: posts CloudEvents to a broker, one or many.
//!
//! * [`message`]: events as HTTP messages.
//! * `compose`: which events, from flags, files and the standard input.
//! * `work`: the connections, the pace, and waiting when the broker asks for it.
//! * [`latency`]: what answering took.

mod compose;
pub mod latency;
pub mod message;
mod work;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::api::AS_JSON;
use super::events::broker_name;
use super::failure::FAILED;
use super::{Context, Failure, Format, Global, kinds};
use work::{Plan, Tally};

/// Send events to a broker
///
/// Data comes from --data, --data-file, or the standard input where it is not a terminal; whole
/// events from -f. Attributes that are not given are made up: a fresh id, the type
/// dev.heddle.event, the source /heddle/send.
#[derive(Args, Debug)]
pub struct SendArgs {
    /// The broker: NAME or NAMESPACE/NAME
    #[arg(value_name = "BROKER", default_value = "default")]
    pub broker: String,
    /// The event's type
    #[arg(long = "type", value_name = "TYPE")]
    pub ty: Option<String>,
    /// The event's source
    #[arg(long, value_name = "URI")]
    pub source: Option<String>,
    /// The event's id; with --count, -1, -2, ... follow it
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// The event's subject
    #[arg(long, value_name = "TEXT")]
    pub subject: Option<String>,
    /// Another attribute; may be given several times
    #[arg(long = "ext", value_name = "NAME=VALUE", value_parser = compose::extension)]
    pub ext: Vec<(String, String)>,
    /// The data
    #[arg(short, long, value_name = "TEXT", group = "payload")]
    pub data: Option<String>,
    /// The data, from a file (- for the standard input)
    #[arg(long, value_name = "FILE", group = "payload")]
    pub data_file: Option<PathBuf>,
    /// Whole events, from a file of structured JSON or YAML, or of JSON lines as `heddle events -o
    /// json` prints them (- for the standard input)
    #[arg(short, long = "filename", value_name = "FILE", group = "payload")]
    pub filename: Option<PathBuf>,
    /// The media type of the data; found out where it is not given
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Send the event so many times, each with an id of its own
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub count: u64,
    /// Send at most so many events a second
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// How many connections to send over, at the same time
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    pub connections: u16,
    /// The content mode
    #[arg(long, value_name = "MODE", default_value = "binary")]
    pub format: Mode,
    /// Send to this URL, without asking the API where the broker is
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// The content mode of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Attributes in headers
    Binary,
    /// Everything in one JSON document
    Structured,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.trim_end_matches("/s").parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("expected a number of events a second, like 100 or 0.5".to_owned()),
    }
}

/// Sends what the arguments say.
///
/// # Errors
///
/// When the input is bad, the broker cannot be found or reached, or it refuses an event.
pub async fn run(args: SendArgs, context: &mut Context) -> Result<(), Failure> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => broker_url(&args.broker, context).await?,
    };
    let flag = if args.url.is_some() { "--url" } else { "--api" };
    let connections = usize::from(args.connections);
    let client = super::http::client(&url, flag, connections)?;
    let single_id = args.id.clone();
    let (mode, count, rate) = (args.format, args.count, args.rate);
    let events = compose::events(&args, context)?;
    let total = count.saturating_mul(events.len() as u64);
    let plan = Plan {
        client,
        url,
        mode,
        events,
        single_id,
        total,
        interval: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
    };
    let bar = progress(total, context);
    let tally = work::run(Arc::new(plan), connections, bar, context).await;
    report(&tally, total, context)
}

/// Where the broker is, as its status says.
async fn broker_url(broker: &str, context: &Context) -> Result<String, Failure> {
    let (namespace, name) = broker_name(broker, &context.settings.namespace)?;
    let api = context.api().await?;
    let kinds = kinds::of_group(api.client(), "eventing.knative.dev", "v1")
        .await
        .map_err(|error| api.failure(error))?;
    let Some(kind) = kinds.iter().find(|kind| kind.kind == "Broker") else {
        return Err(Failure::failed("this API serves no Brokers"));
    };
    let path = kind.path(Some(&namespace), Some(&name));
    let Some(object) = api.get_opt(&path, AS_JSON).await? else {
        let list = api.get(&kind.path(Some(&namespace), None), AS_JSON).await?;
        let items = list.get("items").and_then(Value::as_array);
        let names: Vec<&str> = items
            .into_iter()
            .flatten()
            .filter_map(|item| item.pointer("/metadata/name")?.as_str())
            .collect();
        let hint = if names.is_empty() {
            format!("namespace {namespace} has no brokers; make one with `heddle apply`")
        } else {
            format!("namespace {namespace} has {}", names.join(", "))
        };
        return Err(
            Failure::failed(format!("there is no broker {namespace}/{name}")).with_hint(hint),
        );
    };
    let url = object
        .pointer("/status/address/url")
        .and_then(Value::as_str);
    url.map(str::to_owned).ok_or_else(|| {
        Failure::failed(format!("broker {namespace}/{name} has no address yet")).with_hint(format!(
            "`heddle describe broker {name} -n {namespace}` says why"
        ))
    })
}

/// A progress bar, where somebody watches and there is something to watch.
fn progress(total: u64, context: &Context) -> Option<indicatif::ProgressBar> {
    if !context.err_is_terminal || total < 2 {
        return None;
    }
    let target = indicatif::ProgressDrawTarget::stderr_with_hz(10);
    let bar = indicatif::ProgressBar::with_draw_target(Some(total), target);
    let template = "{bar:40} {pos}/{len} events, {per_sec}, {eta} left {msg}";
    if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    Some(bar)
}

fn report(tally: &Tally, total: u64, context: &mut Context) -> Result<(), Failure> {
    if context.settings.output == Some(Format::Json) {
        writeln!(context.out, "{}", tally.to_json())?;
    } else {
        write!(context.err, "{}", tally.text(total))?;
    }
    if let Some(cause) = &tally.unreachable
        && tally.accepted == 0
    {
        return Err(Failure::Unreachable {
            message: cause.clone(),
            hint: Some("start it with `heddle up`".to_owned()),
        });
    }
    if tally.accepted < total {
        return Err(Failure::Reported { code: FAILED });
    }
    Ok(())
}
