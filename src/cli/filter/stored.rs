//! The events that a broker keeps: how many pass, and where two filters differ.
//!
//! The broker's process judges them, so that no event travels for it; see `crate::admin::filter`.

use std::io::Write;

use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Named, TestArgs};
use crate::cli::events::{From, broker_name};
use crate::cli::http::{Http, query_encode};
use crate::cli::{Context, Failure, Format};

/// The width of the bar, in characters.
const BAR: u64 = 30;

#[derive(Deserialize)]
struct Progress {
    judged: u64,
    from: u64,
    at: u64,
    end: u64,
}

#[derive(Deserialize)]
struct Sample {
    offset: u64,
    accepted: String,
    #[serde(rename = "type")]
    ty: String,
    source: String,
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tally {
    matched: u64,
    not_matched: u64,
    errors: Map<String, Value>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Group {
    count: u64,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    judged: u64,
    from: u64,
    at: u64,
    missing: u64,
    filters: Vec<Tally>,
    only_first: Group,
    only_second: Group,
    both: Group,
}

/// Runs filters over a broker's events. Whether one of them matched something; for two, whether they
/// agree.
pub(super) async fn run(
    triggers: &[Named],
    broker: &str,
    args: &TestArgs,
    context: &mut Context,
) -> Result<bool, Failure> {
    let (namespace, name) = broker_name(broker, &context.settings.namespace)?;
    let from = match (args.since, args.from) {
        (Some(since), _) if since.is_negative() => {
            return Err(Failure::usage("--since goes back: write 24h, not -24h"));
        }
        (Some(since), _) => From::Ago(since),
        (None, from) => from.unwrap_or(From::Earliest),
    };
    let from = query_encode(&from.query(context.clock.now()));
    let mut path =
        format!("/api/v1/namespaces/{namespace}/brokers/{name}/events/filter?from={from}");
    if let Some(limit) = args.limit {
        path.push_str(&format!("&limit={limit}"));
    }
    let specs = triggers.iter().map(|named| {
        let spec = &named.trigger.spec;
        json!({"filter": spec.filter, "filters": spec.filters})
    });
    let request = json!({"filters": specs.collect::<Vec<_>>(), "samples": args.samples});
    let http = Http::admin(&context.settings.admin)?;
    let mut lines = std::pin::pin!(http.post_lines(&path, &request).await?);
    let broken = || Failure::failed("the admin listener broke off before it was done");
    loop {
        let line = lines.next().await.ok_or_else(broken)??;
        let mut line: Map<String, Value> = serde_json::from_str(&line).map_err(|_| broken())?;
        if let Some(progress) = line.remove("progress") {
            let progress = serde_json::from_value(progress).map_err(|_| broken())?;
            show(&progress, context)?;
        } else {
            clear(context)?;
            let done = line.remove("done").ok_or_else(broken)?;
            if context.settings.output == Some(Format::Json) {
                writeln!(context.out, "{done}")?;
            }
            let report: Report = serde_json::from_value(done).map_err(|_| broken())?;
            if context.settings.output != Some(Format::Json) {
                write(&report, triggers, context)?;
            }
            return Ok(match report.filters.as_slice() {
                [only] => only.matched > 0,
                _ => report.only_first.count + report.only_second.count == 0,
            });
        }
    }
}

/// How far it has come, where a person watches.
fn show(progress: &Progress, context: &mut Context) -> Result<(), Failure> {
    if !context.err_is_terminal {
        return Ok(());
    }
    let Progress {
        judged,
        from,
        at,
        end,
    } = *progress;
    let all = end.saturating_sub(from).max(1);
    let done = at.saturating_sub(from).min(all);
    let full = done.saturating_mul(BAR).checked_div(all).unwrap_or(BAR);
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
    let bar = "#".repeat(usize::try_from(full).unwrap_or_default());
    let rest = ".".repeat(usize::try_from(BAR - full).unwrap_or_default());
    write!(
        context.err,
        "\r[{bar}{rest}] {percent:>3}%  {judged} events"
    )?;
    Ok(context.err.flush()?)
}

fn clear(context: &mut Context) -> Result<(), Failure> {
    if context.err_is_terminal {
        write!(context.err, "\r\x1b[K")?;
        context.err.flush()?;
    }
    Ok(())
}

fn write(report: &Report, triggers: &[Named], context: &mut Context) -> Result<(), Failure> {
    let Report {
        judged,
        from,
        at,
        missing,
        filters,
        only_first,
        only_second,
        both,
    } = report;
    let out = &mut context.out;
    write!(out, "{judged} events judged, from offset {from} to {at}")?;
    if *missing > 0 {
        write!(out, "; {missing} are not kept any more")?;
    }
    writeln!(out)?;
    for (named, tally) in triggers.iter().zip(filters) {
        let Tally {
            matched,
            not_matched,
            errors,
            samples,
        } = tally;
        let name = &named.name;
        writeln!(out, "{name}: {matched} matched, {not_matched} not matched")?;
        for (kind, count) in errors {
            writeln!(out, "  {count} with the error {kind}")?;
        }
        if filters.len() == 1 {
            write_samples(out, samples)?;
        }
    }
    if let [first, second] = triggers {
        for (what, group) in [
            (format!("only {}", first.name), only_first),
            (format!("only {}", second.name), only_second),
            ("both".to_owned(), both),
        ] {
            writeln!(out, "{what}: {}", group.count)?;
            write_samples(out, &group.samples)?;
        }
    }
    Ok(())
}

fn write_samples(out: &mut dyn Write, samples: &[Sample]) -> Result<(), Failure> {
    for sample in samples {
        let Sample {
            offset,
            accepted,
            ty,
            source,
            id,
        } = sample;
        writeln!(out, "  offset {offset}, {accepted}: {ty} {source} {id}")?;
    }
    Ok(())
}
