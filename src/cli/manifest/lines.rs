//! Events line by line: what `heddle events -o json` and `heddle listen -o json` print, and other
//! programs that write one JSON object after the other.
//!
//! Such a text is no YAML, which would want a `---` between documents and takes fewer characters than
//! JSON does. Each line is JSON, and is judged as the broker judges it.

use std::sync::Arc;

use heddle_broker::event::json;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::event::EventDocument;
use super::source::{Diagnostic, Mark, Region, Source};

/// An event and where it is kept, as `heddle events` prints it.
#[derive(Deserialize)]
struct Kept<'t> {
    #[serde(rename = "offset")]
    _offset: u64,
    #[serde(borrow)]
    event: &'t RawValue,
}

/// A line that may be an event: whatever has a kind is a resource.
#[derive(Deserialize)]
struct Plain {
    kind: Option<IgnoredAny>,
}

/// The events of a text of JSON lines. `None` for any other text: a single object is a document
/// like others, unless it says where an event is kept.
pub(super) fn read(source: &Arc<Source>) -> Option<Result<Vec<EventDocument>, Vec<Diagnostic>>> {
    let lines = || {
        let numbered = source.text.lines().zip(1..);
        numbered.filter(|(line, _)| !line.trim().is_empty())
    };
    let many = lines().nth(1).is_some();
    let is_plain = |line: &str| {
        let parsed = serde_json::from_str::<Plain>(line);
        line.trim_start().starts_with('{') && parsed.is_ok_and(|line| line.kind.is_none())
    };
    let fits = |line: &str| many && is_plain(line) || kept(line).is_some();
    if lines().next().is_none() || !lines().all(|(line, _)| fits(line)) {
        return None;
    }
    let (mut events, mut wrong) = (Vec::new(), Vec::new());
    for (line, number) in lines() {
        let json = kept(line).unwrap_or_else(|| line.trim());
        match json::decode(json.as_bytes()) {
            Ok(_) => events.push(EventDocument {
                json: json.to_owned(),
                origin: format!("{}:{number}", source.name),
            }),
            Err(error) => wrong.push(Diagnostic {
                source: Arc::clone(source),
                region: whole(line, number),
                field: String::new(),
                message: error.to_string(),
            }),
        }
    }
    Some(if wrong.is_empty() {
        Ok(events)
    } else {
        Err(wrong)
    })
}

fn kept(line: &str) -> Option<&str> {
    let kept: Kept<'_> = serde_json::from_str(line).ok()?;
    Some(kept.event.get())
}

fn whole(line: &str, number: usize) -> Region {
    let mark = |column| Mark {
        line: number,
        column,
    };
    Region {
        start: mark(1),
        end: mark(line.chars().count() + 1),
    }
}
