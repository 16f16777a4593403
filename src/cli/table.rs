//! Tables: columns that line up, and the API's own tables.

use std::io::Write;

use jiff::Timestamp;
use serde_json::Value;

/// The gap between columns.
const GAP: &str = "   ";

/// A table that is printed at once or row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The headings.
    pub columns: Vec<String>,
    /// The rows; each has as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Takes the API's table; `wide` shows every column, otherwise those with priority 0.
    /// With `namespaces`, the first column is the namespace. `None` where it is not a table.
    #[must_use]
    pub fn from_api(table: &Value, wide: bool, namespaces: bool) -> Option<Self> {
        if table.get("kind").and_then(Value::as_str) != Some("Table") {
            return None;
        }
        let definitions = table.get("columnDefinitions").and_then(Value::as_array);
        let definitions = definitions.map(Vec::as_slice).unwrap_or_default();
        let shown: Vec<bool> = definitions
            .iter()
            .map(|column| wide || column.get("priority").and_then(Value::as_i64).unwrap_or(0) == 0)
            .collect();
        let mut columns: Vec<String> = Vec::new();
        if namespaces {
            columns.push("NAMESPACE".to_owned());
        }
        let headings = definitions.iter().zip(&shown).filter(|(_, shown)| **shown);
        columns.extend(headings.map(|(column, _)| heading(column)));
        let rows = table.get("rows").and_then(Value::as_array);
        let rows = rows.into_iter().flatten().map(|row| {
            let mut cells = Vec::with_capacity(columns.len());
            if namespaces {
                let namespace = row.pointer("/object/metadata/namespace");
                cells.push(namespace.map(cell).unwrap_or_default());
            }
            let values = row.get("cells").and_then(Value::as_array);
            let values = values.into_iter().flatten().zip(&shown);
            cells.extend(
                values
                    .filter(|(_, shown)| **shown)
                    .map(|(value, _)| cell(value)),
            );
            cells.resize(columns.len(), String::new());
            cells
        });
        Some(Self {
            rows: rows.collect(),
            columns,
        })
    }

    /// A table of objects for which the API has none: name, readiness and age.
    #[must_use]
    pub fn from_objects(objects: &[Value], namespaces: bool, now: Timestamp) -> Self {
        let mut columns = vec!["NAME", "READY", "REASON", "AGE"];
        if namespaces {
            columns.insert(0, "NAMESPACE");
        }
        let text =
            |object: &Value, pointer: &str| object.pointer(pointer).map(cell).unwrap_or_default();
        let rows = objects.iter().map(|object| {
            let ready = object
                .pointer("/status/conditions")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
            let of_ready = |name: &str| {
                ready
                    .and_then(|ready| ready.get(name))
                    .map(cell)
                    .unwrap_or_default()
            };
            let created = text(object, "/metadata/creationTimestamp");
            let mut cells = vec![
                text(object, "/metadata/name"),
                of_ready("status"),
                of_ready("reason"),
                created
                    .parse()
                    .map_or_else(|_| "<unknown>".to_owned(), |created| age(created, now)),
            ];
            if namespaces {
                cells.insert(0, text(object, "/metadata/namespace"));
            }
            cells
        });
        Self {
            rows: rows.collect(),
            columns: columns.into_iter().map(str::to_owned).collect(),
        }
    }

    /// How wide each column is, at least as wide as in `before`.
    #[must_use]
    pub fn widths(&self, before: &[usize]) -> Vec<usize> {
        let width = |text: &String| text.chars().count();
        (0..self.columns.len())
            .map(|index| {
                let cells = self.rows.iter().filter_map(|row| row.get(index));
                let own = self.columns.get(index).into_iter().chain(cells).map(width);
                let least = before.get(index).copied().unwrap_or_default();
                own.max().unwrap_or_default().max(least)
            })
            .collect()
    }

    /// Prints the headings (where asked for) and the rows. The last column is not padded.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn print(
        &self,
        out: &mut dyn Write,
        widths: &[usize],
        headings: bool,
        color: bool,
    ) -> std::io::Result<()> {
        if headings {
            print_row(out, &self.columns, widths, &|_, text| text.to_owned())?;
        }
        for row in &self.rows {
            let paint = |index: usize, text: &str| match (color, self.columns.get(index)) {
                (true, Some(heading)) if heading == "READY" || heading == "STATUS" => {
                    paint_status(text)
                }
                _ => text.to_owned(),
            };
            print_row(out, row, widths, &paint)?;
        }
        Ok(())
    }
}

fn print_row(
    out: &mut dyn Write,
    cells: &[String],
    widths: &[usize],
    paint: &dyn Fn(usize, &str) -> String,
) -> std::io::Result<()> {
    // Nothing stands after the last cell that has a text.
    let last = cells.iter().rposition(|cell| !cell.is_empty());
    let mut line = String::new();
    for (index, cell) in cells
        .iter()
        .enumerate()
        .take(last.map_or(0, |last| last + 1))
    {
        line.push_str(&paint(index, cell));
        if Some(index) != last {
            let width = widths.get(index).copied().unwrap_or_default();
            let missing = width.saturating_sub(cell.chars().count());
            line.push_str(&" ".repeat(missing));
            line.push_str(GAP);
        }
    }
    writeln!(out, "{line}")
}

/// Green for what is well, red for what is not, yellow for what is not known.
#[must_use]
pub fn paint_status(text: &str) -> String {
    let color = match text {
        "True" => "32",
        "False" => "31",
        "Unknown" => "33",
        _ => return text.to_owned(),
    };
    format!("\x1b[{color}m{text}\x1b[0m")
}

fn heading(column: &Value) -> String {
    let name = column.get("name").and_then(Value::as_str);
    name.unwrap_or_default().to_uppercase()
}

/// A value in one cell: on one line, without control characters.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().any(char::is_control) {
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    } else {
        text
    }
}

/// How long ago something was, as Kubernetes writes it: two units at most (`3d4h`, `5m`, `42s`).
#[must_use]
pub fn age(since: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(since).as_secs().max(0))
}

/// A number of seconds in at most two units.
#[must_use]
pub fn span(seconds: i64) -> String {
    let (minute, hour, day) = (60, 3600, 86400);
    let two = |big: i64, big_name: &str, small: i64, small_name: &str| {
        let (whole, rest) = (seconds / big, seconds % big / small);
        if rest == 0 {
            format!("{whole}{big_name}")
        } else {
            format!("{whole}{big_name}{rest}{small_name}")
        }
    };
    match seconds {
        s if s < 2 * minute => format!("{s}s"),
        s if s < 10 * minute => two(minute, "m", 1, "s"),
        s if s < 3 * hour => format!("{}m", s / minute),
        s if s < 8 * hour => two(hour, "h", minute, "m"),
        s if s < 2 * day => format!("{}h", s / hour),
        s if s < 8 * day => two(day, "d", hour, "h"),
        s if s < 730 * day => format!("{}d", s / day),
        s => format!("{}y", s / (365 * day)),
    }
}
