//! Text to trees: the YAML parser's events, resolved by the core schema.
//!
//! Everything is bounded: nesting by the parser (255), the number of values of a file (aliases
//! counted as often as they are used) by [`NODES_MAX`].

use std::collections::HashMap;
use std::sync::Arc;

use serde_saphyr::granit_parser::{
    self as granit, ErrorKind, Event, Parser, ScalarStyle, ScanError,
};

use super::source::{Diagnostic, Mark, Region, Source};
use super::tree::{Entry, Node, Yaml};

/// The most values that one file may have.
const NODES_MAX: usize = 200_000;

/// Parses every document of a text. Documents without content are left out.
pub(super) fn parse(source: &Arc<Source>) -> Result<Vec<Node>, Vec<Diagnostic>> {
    let mut builder = Builder {
        source,
        parser: Parser::new_from_str(&source.text),
        anchors: HashMap::new(),
        nodes: 0,
        mistakes: Vec::new(),
    };
    match builder.documents() {
        Ok(documents) if builder.mistakes.is_empty() => Ok(documents),
        Ok(_) => Err(builder.mistakes),
        Err(fatal) => {
            builder.mistakes.push(*fatal);
            Err(builder.mistakes)
        }
    }
}

type Fatal = Box<Diagnostic>;

struct Builder<'s> {
    source: &'s Arc<Source>,
    parser: Parser<'s, granit::StrInput<'s>>,
    /// Finished nodes by the parser's anchor number, with the number of values in each.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    /// Mistakes that do not keep the rest from being read.
    mistakes: Vec<Diagnostic>,
}

impl<'s> Builder<'s> {
    fn documents(&mut self) -> Result<Vec<Node>, Fatal> {
        let mut documents = Vec::new();
        loop {
            let (event, region) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(documents),
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                content => {
                    let node = self.node(content, region, "")?;
                    if node.value != Yaml::Null {
                        documents.push(node);
                    }
                }
            }
        }
    }

    /// The next event that is not a comment.
    fn next(&mut self) -> Result<(Event<'s>, Region), Fatal> {
        loop {
            match self.parser.next_event() {
                None => return Ok((Event::StreamEnd, Region::default())),
                Some(Err(error)) => return Err(self.syntax(&error)),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok((event, span))) => return Ok((event, region(&span))),
            }
        }
    }

    fn node(&mut self, event: Event<'s>, region: Region, path: &str) -> Result<Node, Fatal> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.fatal(
                region,
                path,
                format!("more than {NODES_MAX} values in one file; split it"),
            ));
        }
        let before = self.nodes;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), region, path)?;
                (node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", region, path)?;
                (self.list(region, path)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", region, path)?;
                (self.map(region, path)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, region, path),
            _ => return Err(self.fatal(region, path, "expected a value".to_owned())),
        };
        if anchor != 0 {
            let size = self.nodes - before + 1;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, region: Region, path: &str) -> Result<Node, Fatal> {
        let Some((node, size)) = self.anchors.get(&id) else {
            let message = "this alias refers to a value that contains it".to_owned();
            return Err(self.fatal(region, path, message));
        };
        self.nodes += size;
        if self.nodes > NODES_MAX {
            let message = format!("aliases expand to more than {NODES_MAX} values");
            return Err(self.fatal(region, path, message));
        }
        let mut node = node.clone();
        node.region = region;
        Ok(node)
    }

    fn list(&mut self, start: Region, path: &str) -> Result<Node, Fatal> {
        let mut items = Vec::new();
        loop {
            let (event, region) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Node {
                    region: join(start, region),
                    value: Yaml::List(items),
                    plain: None,
                });
            }
            let item_path = format!("{path}[{}]", items.len());
            items.push(self.node(event, region, &item_path)?);
        }
    }

    fn map(&mut self, start: Region, path: &str) -> Result<Node, Fatal> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merges: Vec<Node> = Vec::new();
        loop {
            let (event, key_region) = self.next()?;
            let (key, is_merge) = match event {
                Event::MappingEnd => {
                    self.merge(&mut entries, merges, path)?;
                    return Ok(Node {
                        region: join(start, key_region),
                        value: Yaml::Map(entries),
                        plain: None,
                    });
                }
                Event::Scalar(text, style, 0, None) => {
                    let is_merge = style == ScalarStyle::Plain && text == "<<";
                    (text.into_owned(), is_merge)
                }
                _ => {
                    let message = "expected a plain text as the name of a field".to_owned();
                    return Err(self.fatal(key_region, path, message));
                }
            };
            let field = child(path, &key);
            let (event, region) = self.next()?;
            let value = self.node(event, region, &field)?;
            if is_merge {
                merges.push(value);
            } else if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let message = format!(
                    "this field is given twice; it stands in line {} already",
                    first.key_region.start.line
                );
                self.mistakes
                    .push(self.diagnostic(key_region, &field, message));
            } else {
                entries.push(Entry {
                    key,
                    key_region,
                    value,
                });
            }
        }
    }

    /// Adds the fields of `<<` that the mapping does not have itself.
    fn merge(&self, entries: &mut Vec<Entry>, merges: Vec<Node>, path: &str) -> Result<(), Fatal> {
        for merged in merges {
            let region = merged.region;
            let parts = match merged.value {
                Yaml::List(items) => items,
                value => vec![Node { value, ..merged }],
            };
            for part in parts {
                let Yaml::Map(fields) = part.value else {
                    let message = format!("\"<<\" merges mappings, found {}", part.describe());
                    return Err(self.fatal(region, path, message));
                };
                for field in fields {
                    if !entries.iter().any(|entry| entry.key == field.key) {
                        entries.push(field);
                    }
                }
            }
        }
        Ok(())
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&granit::Tag>,
        region: Region,
        path: &str,
    ) -> Result<Node, Fatal> {
        let string = || Yaml::Text(text.to_owned());
        let core = tag.map(|tag| (tag, tag.core_suffix()));
        let value = match core {
            None if style == ScalarStyle::Plain => {
                resolve(text).map_err(|message| self.fatal(region, path, message))?
            }
            None | Some((_, Some("str"))) => string(),
            Some((_, Some(wanted @ ("int" | "float" | "bool" | "null")))) => {
                let value = resolve(text).map_err(|message| self.fatal(region, path, message))?;
                let fits = match &value {
                    Yaml::Number(_) => matches!(wanted, "int" | "float"),
                    Yaml::Bool(_) => wanted == "bool",
                    Yaml::Null => wanted == "null",
                    _ => false,
                };
                if !fits {
                    let message = format!("the tag !!{wanted} does not fit {text:?}");
                    return Err(self.fatal(region, path, message));
                }
                value
            }
            Some((tag, _)) => return Err(self.unknown_tag(tag, region, path)),
        };
        let plain = (!matches!(value, Yaml::Text(_))).then(|| text.into());
        Ok(Node {
            region,
            value,
            plain,
        })
    }

    fn collection_tag(
        &self,
        tag: Option<&granit::Tag>,
        wanted: &str,
        region: Region,
        path: &str,
    ) -> Result<(), Fatal> {
        match tag {
            Some(tag) if tag.core_suffix() != Some(wanted) => {
                Err(self.unknown_tag(tag, region, path))
            }
            _ => Ok(()),
        }
    }

    fn unknown_tag(&self, tag: &granit::Tag, region: Region, path: &str) -> Fatal {
        let message = format!("the tag {} means nothing here; remove it", tag.original());
        self.fatal(region, path, message)
    }

    fn diagnostic(&self, region: Region, field: &str, message: String) -> Diagnostic {
        Diagnostic {
            source: Arc::clone(self.source),
            region,
            field: field.to_owned(),
            message,
        }
    }

    fn fatal(&self, region: Region, field: &str, message: String) -> Fatal {
        Box::new(self.diagnostic(region, field, message))
    }

    fn syntax(&self, error: &ScanError) -> Fatal {
        let marker = error.marker();
        // An error at the end of the text is shown on its last line.
        let lines = self.source.text.lines().count().max(1);
        let start = Mark {
            line: marker.line().clamp(1, lines),
            column: marker.col() + 1,
        };
        let region = Region { start, end: start };
        self.fatal(region, "", explain(error))
    }
}

/// What a syntax error means to the person who made it.
fn explain(error: &ScanError) -> String {
    match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => "a tab stands here; YAML is indented with spaces".into(),
        ErrorKind::UnclosedQuotedScalar => {
            "this quoted text is not closed before the file ends".into()
        }
        ErrorKind::InvalidQuotedScalarIndent => {
            "a quoted text is not closed on the line before, or goes on here without indentation"
                .into()
        }
        ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            "text follows a quoted text; is a comma missing, or a quote too many?".into()
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            "there is no such escape; write a backslash as \\\\".into()
        }
        ErrorKind::UnclosedFlowCollection { open } => {
            format!("a {open:?} is opened and not closed")
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            format!("{close:?} does not close {open:?}")
        }
        ErrorKind::ExpectedFlowMappingSeparator => "expected ',' or '}'".into(),
        ErrorKind::ExpectedFlowSequenceSeparator => "expected ',' or ']'".into(),
        ErrorKind::UnknownAnchor => "no \"&anchor\" of this name stands before it".into(),
        ErrorKind::MappingValueNotAllowed => {
            "a \": \" cannot stand here; check the indentation, or quote the text if it is part of \
             a value"
                .into()
        }
        ErrorKind::ExpectedBlockMappingKey => {
            "expected a field here; is this line indented like its neighbours?".into()
        }
        ErrorKind::InvalidIndentation => "this line is not indented like its neighbours".into(),
        ErrorKind::SimpleKeyExpected => "expected \": \" after the name of a field".into(),
        _ => error.info(),
    }
}

/// Resolves a plain scalar by the core schema (YAML 1.2.2, section 10.3.2).
fn resolve(text: &str) -> Result<Yaml, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Yaml::Null),
        "true" | "True" | "TRUE" => return Ok(Yaml::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Yaml::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return Err(no_json(text)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Err(no_json(text));
    }
    let radix = [("0x", 16), ("0o", 8)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((text.strip_prefix(prefix)?, radix)));
    if let Some((digits, radix)) = radix
        && digits.chars().all(|c| c.is_digit(radix))
        && let Ok(value) = u64::from_str_radix(digits, radix)
    {
        return Ok(Yaml::Number(value.to_string().into()));
    }
    match json_number(unsigned) {
        None => Ok(Yaml::Text(text.to_owned())),
        Some(Err(message)) => Err(message.replace("{text}", text)),
        Some(Ok(number)) => {
            let sign = if text.starts_with('-') { "-" } else { "" };
            Ok(Yaml::Number(format!("{sign}{number}").into()))
        }
    }
}

/// An unsigned decimal number of YAML as JSON writes it; `None` for anything else.
fn json_number(text: &str) -> Option<Result<String, String>> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let some_digits = !whole.is_empty() || fraction.is_some_and(|part| !part.is_empty());
    let exponent_digits = exponent.map(|part| part.strip_prefix(['-', '+']).unwrap_or(part));
    if !some_digits
        || !digits(whole)
        || !fraction.is_none_or(digits)
        || !exponent_digits.is_none_or(|part| !part.is_empty() && digits(part))
    {
        return None;
    }
    if whole.len() > 1 && whole.starts_with('0') {
        // YAML 1.1 reads this as octal, YAML 1.2 as decimal: only the author knows.
        return Some(Err(
            "the number {text} begins with a zero; quote it if it is text, \
             or write 0o... for an octal number"
                .to_owned(),
        ));
    }
    let mut json = if whole.is_empty() { "0" } else { whole }.to_owned();
    if let Some(fraction) = fraction.filter(|part| !part.is_empty()) {
        json.push('.');
        json.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        json.push('e');
        json.push_str(exponent);
    }
    Some(Ok(json))
}

fn no_json(text: &str) -> String {
    format!("{text} cannot be written as JSON; quote it if it is text")
}

/// The path of a field inside another.
pub(super) fn child(path: &str, key: &str) -> String {
    let simple = key
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    match (path.is_empty(), simple) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key}]"),
    }
}

fn mark(marker: &granit::Marker) -> Mark {
    Mark {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

fn region(span: &granit::Span) -> Region {
    Region {
        start: mark(&span.start),
        end: mark(&span.end),
    }
}

fn join(first: Region, last: Region) -> Region {
    Region {
        start: first.start,
        end: last.end.max(first.end),
    }
}
