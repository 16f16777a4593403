//! Where a document came from, and how a mistake in it is shown.
//!
//! A [`Diagnostic`] names file, line, column and field and says what was expected; its `Display`
//! adds the line itself and points at the place. Columns count characters, from 1, as editors do.

use std::fmt;
use std::sync::Arc;

/// Lines longer than this many characters are shown as a window around the place.
const LINE_SHOWN_MAX: usize = 120;

/// A text that was read, and the name that messages call it by.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as the user gave it, or `<stdin>`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A place in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// A part of a text, the end excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region {
    /// The first character.
    pub start: Mark,
    /// The place after the last character.
    pub end: Mark,
}

/// One mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The text that the mistake is in.
    pub source: Arc<Source>,
    /// Where.
    pub region: Region,
    /// The path of the field, like `spec.delivery.retry`; empty for the document itself.
    pub field: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Diagnostic {
    /// The message on one line: `file:line:column: field: message`.
    #[must_use]
    pub fn headline(&self) -> String {
        let Mark { line, column } = self.region.start;
        let separator = if self.field.is_empty() { "" } else { ": " };
        format!(
            "{}:{line}:{column}: {}{separator}{}",
            self.source.name, self.field, self.message
        )
    }

    /// The line and a row of carets under the place, or nothing where the text has no such line.
    fn excerpt(&self) -> Option<String> {
        let Region { start, end } = self.region;
        let line: Vec<char> = self
            .source
            .text
            .lines()
            .nth(start.line.checked_sub(1)?)?
            .chars()
            .collect();
        let from = start.column.saturating_sub(1).min(line.len());
        let to = if end.line == start.line {
            end.column.saturating_sub(1).clamp(from, line.len())
        } else {
            line.len()
        };
        let window = from.saturating_sub(LINE_SHOWN_MAX / 2);
        let window_end = line.len().min(window + LINE_SHOWN_MAX);
        // A tab stays a tab in the row of carets, so that both rows are equally wide.
        let shown: String = line.get(window..window_end)?.iter().collect();
        let pad: String = line
            .get(window..from)?
            .iter()
            .map(|&c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let carets = "^".repeat(to.min(window_end).saturating_sub(from).max(1));
        let number = start.line.to_string();
        let gutter = " ".repeat(number.len());
        Some(format!(
            "{gutter} |\n{number} | {}\n{gutter} | {pad}{carets}",
            shown.trim_end()
        ))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        match self.excerpt() {
            Some(excerpt) => write!(f, "\n{excerpt}"),
            None => Ok(()),
        }
    }
}
