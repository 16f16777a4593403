//! Tables of command lines and what they answer: the text format, read and written.
//!
//! A file starts with what it is about. A row starts with `=== title`. Lines `@ word ...` say where
//! it is run (see [`Row::conditions`]). The lines up to the first answer are a shell script. An
//! answer starts with `>>> exit CODE`, followed by what was written to the output; `>>> stderr`
//! starts what was written to the error stream. An answer `>>> VERSION exit CODE` is that of one
//! version of the client, where it differs from the newest one's.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A table: what it says of itself, and its rows in the order in which they run.
#[derive(Debug)]
pub(crate) struct Table {
    head: String,
    pub(crate) rows: Vec<Row>,
}

/// A script and what it answers.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) title: String,
    conditions: Vec<String>,
    pub(crate) script: String,
    /// By version of the client; the empty one is for all others.
    answers: BTreeMap<String, Answer>,
}

/// What a script did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Table {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.split("\n=== ");
        let head = parts.next().unwrap().trim_end().to_owned();
        let rows = parts.map(Row::parse).collect();
        Self { head, rows }
    }

    pub(crate) fn print(&self) -> String {
        let mut text = format!("{}\n", self.head);
        for row in &self.rows {
            row.print(&mut text);
        }
        text
    }
}

impl Row {
    fn parse(part: &str) -> Self {
        let mut lines = part.lines().peekable();
        let title = lines.next().unwrap_or_default().to_owned();
        let mut conditions = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("@ ")) {
            conditions.push(line[2..].to_owned());
        }
        let mut script = String::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with(">>> ")) {
            writeln!(script, "{line}").unwrap();
        }
        let mut answers: BTreeMap<String, Answer> = BTreeMap::new();
        let mut version = String::new();
        let mut in_stderr = false;
        for line in lines {
            let Some(mark) = line.strip_prefix(">>> ") else {
                let answer = answers.get_mut(&version).expect("a stream follows an exit");
                let stream = if in_stderr {
                    &mut answer.stderr
                } else {
                    &mut answer.stdout
                };
                writeln!(stream, "{line}").unwrap();
                continue;
            };
            in_stderr = mark == "stderr";
            if in_stderr {
                continue;
            }
            let (before, exit) = mark.split_once("exit ").expect("`exit` and a number");
            before.trim().clone_into(&mut version);
            let exit = exit.parse().expect("a number follows `exit`");
            let answer = Answer {
                exit,
                ..Answer::default()
            };
            answers.insert(version.clone(), answer);
        }
        for answer in answers.values_mut() {
            answer.tidy();
        }
        Self {
            title,
            conditions,
            script: script.trim_end().to_owned(),
            answers,
        }
    }

    fn print(&self, text: &mut String) {
        writeln!(text, "\n=== {}", self.title).unwrap();
        for condition in &self.conditions {
            writeln!(text, "@ {condition}").unwrap();
        }
        writeln!(text, "{}", self.script).unwrap();
        for (version, answer) in &self.answers {
            let space = if version.is_empty() { "" } else { " " };
            writeln!(text, ">>> {version}{space}exit {}", answer.exit).unwrap();
            text.push_str(&answer.stdout);
            if !answer.stderr.is_empty() {
                writeln!(text, ">>> stderr\n{}", answer.stderr.trim_end()).unwrap();
            }
        }
    }

    /// What follows the condition `word`, if the row has it:
    /// - `since 1.23`: the clients that have the command, by their version;
    /// - `heddle`: only where the product runs, since its controllers must have acted;
    /// - `differs ...`: where a cluster answers otherwise, and why.
    pub(crate) fn condition(&self, word: &str) -> Option<&str> {
        self.conditions.iter().find_map(|condition| {
            let rest = condition.strip_prefix(word)?;
            (rest.is_empty() || rest.starts_with(' ')).then_some(rest.trim())
        })
    }

    /// The answer that is expected of a version of the client.
    pub(crate) fn expected(&self, version: &str) -> Option<&Answer> {
        self.answers.get(version).or_else(|| self.answers.get(""))
    }

    /// Takes `found`, by version with the newest first, as what is expected from now on.
    pub(crate) fn record(&mut self, found: &[(String, Answer)]) {
        for (version, _) in found {
            self.answers.remove(version);
        }
        let mut found = found.iter();
        let Some((_, newest)) = found.next() else {
            return;
        };
        self.answers.insert(String::new(), newest.clone());
        for (version, answer) in found.filter(|(_, answer)| answer != newest) {
            self.answers.insert(version.clone(), answer.clone());
        }
    }
}

impl Answer {
    /// Without blank lines at the ends, and with one line feed at the end of what is not empty.
    pub(crate) fn tidy(&mut self) {
        for stream in [&mut self.stdout, &mut self.stderr] {
            let text = stream.trim_matches('\n').trim_end();
            *stream = if text.is_empty() {
                String::new()
            } else {
                format!("{text}\n")
            };
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ">>> exit {}\n{}", self.exit, self.stdout)?;
        if !self.stderr.is_empty() {
            write!(f, ">>> stderr\n{}", self.stderr)?;
        }
        Ok(())
    }
}
