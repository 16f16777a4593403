//! Takes out of an output what differs from run to run.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::table::Answer;

/// Patterns, and what stands in the table for what they match. `$1` is kept.
static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (r#"((?:resourceVersion|ResourceVersion|Resource Version)"?: *)"?[0-9]+"?"#, "$1<version>"),
        (r"[0-9]{4}-[01][0-9]-[0-3][0-9][ T][0-9:]{8}(?:\.[0-9]+)?(?:Z| ?[+-][0-9]{2}:?[0-9]{2}| UTC)?", "<time>"),
        (r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} [+-][0-9]{4}", "<time>"),
        // `generateName` in the tables is always this.
        (r"\bmade-[a-z0-9]{5}\b", "made-<random>"),
        // A column is as wide as the oldest of what it lists.
        (r"\bAGE {3,}", "AGE   "),
        // What `kubectl diff` and `kubectl edit` call their files.
        (r"/tmp/(LIVE|MERGED)-[0-9]+/", "/tmp/$1/"),
        (r"/tmp/kubectl-edit-[a-z0-9]+", "/tmp/kubectl-edit"),
    ]
    .map(|(pattern, stands)| (Regex::new(pattern).unwrap(), stands))
    .into()
});

/// An age in a column of its own, and the blanks that fill the column.
static AGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)(^|[ \t(]+)(?:[0-9]+[smhd]){1,2}( ago)?([ ]+|\)|$)").unwrap()
});

/// An answer as it stands in a table. `places` are what the run calls what the table calls
/// otherwise: addresses and folders.
pub(crate) fn normal(answer: &Answer, places: &[(String, &str)]) -> Answer {
    let mut answer = Answer {
        exit: answer.exit,
        stdout: text(&answer.stdout, places),
        stderr: text(&answer.stderr, places),
    };
    answer.tidy();
    answer
}

/// The blanks beside an age, as if its column had one width.
fn column(blanks: &str) -> &str {
    if blanks.len() > 1 { "   " } else { blanks }
}

fn text(text: &str, places: &[(String, &str)]) -> String {
    let mut text = text.to_owned();
    for (place, stands) in places {
        text = text.replace(place, stands);
    }
    for (pattern, stands) in PATTERNS.iter() {
        text = pattern.replace_all(&text, *stands).into_owned();
    }
    text = AGE
        .replace_all(&text, |found: &Captures<'_>| {
            let (ago, end) = (found.get(2).map_or("", |m| m.as_str()), &found[3]);
            format!("{}<age>{ago}{}", column(&found[1]), column(end))
        })
        .into_owned();
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    // A cluster gives causes in any order.
    for causes in lines.chunk_by_mut(|one, next| one.starts_with("* ") && next.starts_with("* ")) {
        causes.sort_unstable();
    }
    lines.join("\n")
}
