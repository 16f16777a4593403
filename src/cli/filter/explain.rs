//! Single events: whether each passes, and why.

use std::io::Write;
use std::path::PathBuf;

use heddle_broker::control::admission;
use heddle_broker::event::{Event, json};
use heddle_broker::filter::Subject;
use heddle_broker::filter::explain::{Clause, Verdict};
use serde_json::json;

use super::Named;
use crate::cli::manifest;
use crate::cli::{Context, Failure, Format};

/// Judges events in files. Whether one of them passes.
pub(super) fn run(
    triggers: &[Named],
    paths: &[PathBuf],
    context: &mut Context,
) -> Result<bool, Failure> {
    let loaded = manifest::load_with(paths, &mut context.stdin)?;
    if let Some(other) = loaded.resources.first() {
        let message = format!("a {} is not a CloudEvent", other.kind());
        return Err(Failure::usage(message).with_hint("Triggers are given with -f"));
    }
    let mut passed = false;
    for document in &loaded.events {
        let event = json::decode(document.json.as_bytes())
            .map_err(|error| Failure::Input(format!("{}: {error}", document.origin)))?;
        for Named { name, trigger } in triggers {
            let clause = admission::explain(trigger, &Subject::new(&event)).map_err(|errors| {
                let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
                Failure::Input(all.join("\n"))
            })?;
            passed |= clause.verdict == Verdict::Pass;
            write(name, &document.origin, &event, &clause, context)?;
        }
    }
    Ok(passed)
}

fn write(
    trigger: &str,
    origin: &str,
    event: &Event,
    clause: &Clause,
    context: &mut Context,
) -> Result<(), Failure> {
    let passes = clause.verdict == Verdict::Pass;
    if context.settings.output == Some(Format::Json) {
        let line = json!({
            "trigger": trigger,
            "origin": origin,
            "event": {"type": event.ty(), "source": event.source(), "id": event.id()},
            "passes": passes,
            "filter": clause,
        });
        writeln!(context.out, "{line}")?;
        return Ok(());
    }
    let says = if passes { "passes" } else { "does not pass" };
    let (ty, source, id) = (event.ty(), event.source(), event.id());
    writeln!(
        context.out,
        "{origin}: {ty} {source} {id}: {says} Trigger {trigger}"
    )?;
    write_clause(&mut context.out, clause, 0, context.color)
}

/// One clause, with those in it below. Recurses as deep as the filter is nested, which is bounded.
fn write_clause(
    out: &mut dyn Write,
    clause: &Clause,
    depth: usize,
    color: bool,
) -> Result<(), Failure> {
    let Clause {
        clause: text,
        verdict,
        notes,
        position,
        clauses,
    } = clause;
    let (mark, paint) = match verdict {
        Verdict::Pass => ("pass ", "\x1b[32m"),
        Verdict::Fail => ("FAIL ", "\x1b[31m"),
        Verdict::Error => ("ERROR", "\x1b[31m"),
        Verdict::NotEvaluated => ("-    ", "\x1b[2m"),
    };
    let (paint, reset) = if color { (paint, "\x1b[0m") } else { ("", "") };
    let indent = "  ".repeat(depth);
    let head = format!("  {paint}{mark}{reset} {indent}");
    let blank = format!("        {indent}");
    let notes = notes.join("; ");
    // The position is one of the expression, which stands behind `cesql: `.
    let at = position.map(|position| position + text.len() - expression(text).len());
    let mut start = 0;
    for (number, line) in text.split('\n').enumerate() {
        let before = if number == 0 { &head } else { &blank };
        let end = start + line.len();
        match at.filter(|at| (start..=end).contains(at)) {
            Some(at) => {
                writeln!(out, "{before}{line}")?;
                let column = line.get(..at - start).unwrap_or_default().chars().count();
                writeln!(out, "{blank}{}^ {notes}", " ".repeat(column))?;
            }
            None if at.is_none() && end == text.len() && !notes.is_empty() => {
                writeln!(out, "{before}{line}  <- {notes}")?;
            }
            None => writeln!(out, "{before}{line}")?,
        }
        start = end + 1;
    }
    for part in clauses {
        write_clause(out, part, depth + 1, color)?;
    }
    Ok(())
}

fn expression(text: &str) -> &str {
    text.strip_prefix("cesql: ").unwrap_or(text)
}
