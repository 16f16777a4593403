#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

//! Tests of what the commands share, and the harness that they run in.

mod api;
mod embedded;
mod fake;
mod help;
mod parts;

use std::io::Write;
use std::sync::Arc;

use heddle_broker::clock::ManualClock;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::context::{Context, Settings};
use super::{Cli, Command, Failure, run_command};

/// An output that is kept.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Kept {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

/// A context that touches nothing of the process.
pub(super) struct Harness {
    pub(super) context: Context,
    pub(super) out: Kept,
    pub(super) err: Kept,
}

impl Harness {
    /// For a command line that begins after `heddle`.
    pub(super) fn new(arguments: &[&str], stdin: &str) -> (Self, Command) {
        use clap::Parser as _;
        let line = std::iter::once("heddle").chain(arguments.iter().copied());
        let cli = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
        let (out, err) = (Kept::default(), Kept::default());
        let context = Context {
            settings: Settings::resolve(&cli.shared(), |_| None),
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            stdin: Box::new(std::io::Cursor::new(stdin.to_owned())),
            stdin_is_terminal: false,
            out_is_terminal: false,
            err_is_terminal: false,
            color: false,
            clock: ManualClock::new("2026-01-31T12:00:00Z".parse().unwrap()),
            stop: CancellationToken::new(),
            force: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        (Self { context, out, err }, cli.command)
    }

    /// Runs a command line to its end.
    pub(super) async fn run(arguments: &[&str], stdin: &str) -> (Result<(), Failure>, Self) {
        let (mut harness, command) = Self::new(arguments, stdin);
        let run = run_command(command, &mut harness.context);
        let result = tokio::time::timeout(std::time::Duration::from_secs(20), run)
            .await
            .expect("the command ends in time");
        (result, harness)
    }
}
