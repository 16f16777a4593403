//! JSON for people, without changing it: numbers, keys, their order and their escapes stay as they
//! were written; only white space and colour are added.

use serde::de::IgnoredAny;

const KEY: &str = "\x1b[34m";
const TEXT: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// The document with one value a line, or `None` where it is not JSON.
#[must_use]
pub fn pretty(text: &str, color: bool) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut rest = text.trim();
    // The text has been checked, so that only its tokens have to be told apart.
    while let Some(first) = rest.chars().next() {
        let (token, after) = rest.split_at(token_length(rest));
        rest = after.trim_start();
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => out.push(first),
            '{' | '[' => {
                depth += 1;
                out.push(first);
                new_line(&mut out, depth);
            }
            '}' | ']' => {
                if !out.ends_with(['{', '[']) {
                    depth = depth.saturating_sub(1);
                    new_line(&mut out, depth);
                }
                out.push(first);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' if color => {
                let paint = if rest.starts_with(':') { KEY } else { TEXT };
                out.push_str(paint);
                out.push_str(token);
                out.push_str(RESET);
            }
            _ => out.push_str(token),
        }
    }
    Some(out)
}

/// The length in bytes of the token at the start of a JSON text.
fn token_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b'"') => {
            let mut escaped = false;
            let end = bytes.iter().skip(1).position(|&byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            end.map_or(bytes.len(), |at| at + 2)
        }
        Some(b'{' | b'}' | b'[' | b']' | b',' | b':') => 1,
        _ => bytes
            .iter()
            .position(|byte| {
                matches!(byte, b',' | b'}' | b']' | b':') || byte.is_ascii_whitespace()
            })
            .unwrap_or(bytes.len()),
    }
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
}
