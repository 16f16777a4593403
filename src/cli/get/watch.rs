//! `heddle get -w`: a row, a document or a name for every change.
//!
//! A watch that the server ends is taken up again where it ended; one that is too old for the
//! server (410) begins afresh with everything that is there.

use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _};
use serde_json::Value;

use super::{Query, items, print_change, to_table, version_of};
use crate::cli::api::{AS_JSON, AS_TABLE, Api};
use crate::cli::{Context, Failure, Format};

/// The wait before a watch that the server ended is taken up again, so that a server that ends
/// watches at once is not asked in a tight loop.
const REWATCH_DELAY: Duration = Duration::from_millis(250);

/// A watch and how far it has come.
pub(super) struct Watch<'a> {
    api: &'a Api,
    query: &'a Query<'a>,
    /// What has been seen.
    version: String,
    /// The columns: the API tells them once, and leaves them out of later tables.
    columns: Option<Value>,
    /// How wide they are, so that later rows stand below earlier ones.
    widths: Vec<usize>,
}

/// Why the lines of one request came to their end.
enum End {
    Stopped,
    ByServer,
    TooOld,
}

impl<'a> Watch<'a> {
    pub(super) fn new(api: &'a Api, query: &'a Query<'a>, version: String) -> Self {
        Self {
            api,
            query,
            version,
            columns: None,
            widths: Vec::new(),
        }
    }

    /// Goes on below a table that has been printed.
    pub(super) fn with_table(mut self, columns: Option<Value>, widths: Vec<usize>) -> Self {
        self.columns = columns;
        self.widths = widths;
        self
    }

    /// Prints what changes until the command is stopped.
    pub(super) async fn run(mut self, context: &mut Context) -> Result<(), Failure> {
        loop {
            match self.follow(context).await? {
                End::Stopped => return Ok(()),
                End::ByServer => tokio::time::sleep(REWATCH_DELAY).await,
                End::TooOld => {
                    tokio::time::sleep(REWATCH_DELAY).await;
                    self.begin_afresh(context).await?;
                }
            }
        }
    }

    async fn follow(&mut self, context: &mut Context) -> Result<End, Failure> {
        let accept = if as_documents(context) {
            AS_JSON
        } else {
            AS_TABLE
        };
        let path = self.query.watch_path(&self.version);
        let stream = self.api.stream(&path, accept).await?;
        let mut lines = std::pin::pin!(stream.lines());
        let stop = context.stop.clone();
        loop {
            let line = tokio::select! {
                () = stop.cancelled() => return Ok(End::Stopped),
                line = lines.next() => line,
            };
            let line = match line {
                None => return Ok(End::ByServer),
                Some(Ok(line)) => line,
                Some(Err(error)) => {
                    let (url, cause) = (self.api.url(), error.to_string());
                    return Err(Failure::unreachable("the API", url, "--api", &cause));
                }
            };
            let Ok(mut change) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let object = change
                .get_mut("object")
                .map(Value::take)
                .unwrap_or_default();
            let what = change.get("type").and_then(Value::as_str);
            match what.unwrap_or_default() {
                "ERROR" => return Ok(End::TooOld),
                "BOOKMARK" => self.note_version(&object),
                what => {
                    self.note_version(&object);
                    self.print(what, object, context)?;
                }
            }
            context.out.flush()?;
        }
    }

    /// Shows everything that is there, because changes have been missed.
    async fn begin_afresh(&mut self, context: &mut Context) -> Result<(), Failure> {
        let accept = if as_documents(context) {
            AS_JSON
        } else {
            AS_TABLE
        };
        let list = self.api.get(&self.query.path(""), accept).await?;
        self.version = version_of(&list);
        if as_documents(context) {
            for object in items(list, self.query.kind) {
                self.print("ADDED", object, context)?;
            }
            return Ok(());
        }
        self.print("ADDED", list, context)
    }

    /// Prints an object, or the rows of a table.
    fn print(&mut self, what: &str, object: Value, context: &mut Context) -> Result<(), Failure> {
        if as_documents(context) {
            return print_change(what, &object, self.query.kind, context);
        }
        let mut object = object;
        if let Some(told) = object.get_mut("columnDefinitions") {
            if told.as_array().is_some_and(|columns| !columns.is_empty()) {
                self.columns = Some(told.clone());
            } else if let Some(columns) = &self.columns {
                *told = columns.clone();
            }
        }
        let table = to_table(object, self.query, context);
        self.widths = table.widths(&self.widths);
        table.print(&mut context.out, &self.widths, false, context.color)?;
        Ok(())
    }

    /// Remembers the version of an object, or of a table of one.
    fn note_version(&mut self, object: &Value) {
        let version = object
            .pointer("/metadata/resourceVersion")
            .or_else(|| object.pointer("/rows/0/object/metadata/resourceVersion"))
            .and_then(Value::as_str);
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            self.version = version.to_owned();
        }
    }
}

fn as_documents(context: &Context) -> bool {
    matches!(
        context.settings.output,
        Some(Format::Json | Format::Yaml | Format::Name)
    )
}
