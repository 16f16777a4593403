//! What a command runs in: its settings, its outputs, the clock, and how it is stopped.
//!
//! Tests replace all of it; nothing in a command reaches for the process.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use heddle_broker::clock::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::Api;
use super::failure::{FAILED, Failure};
use super::{Color, Format, Global};

const ADMIN: &str = "http://127.0.0.1:8082";

/// The shared options with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the API is, if that was said.
    pub api: Option<String>,
    /// The kubeconfig that says where the API is and how it is entered, if that was said.
    pub kubeconfig: Option<PathBuf>,
    /// Where the admin listener is.
    pub admin: String,
    /// The namespace.
    pub namespace: String,
    /// All namespaces instead.
    pub all_namespaces: bool,
    /// How to print; `None` is each command's own way.
    pub output: Option<Format>,
}

impl Settings {
    /// Fills in what was not given: from the environment (an empty variable is none), then with
    /// the defaults.
    pub fn resolve(global: &Global, env: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name| env(name).filter(|text| !text.is_empty());
        let address = |given: &Option<String>, name| {
            let address = given.clone().or_else(|| variable(name))?;
            let address = address.trim_end_matches('/');
            Some(if address.contains("://") {
                address.to_owned()
            } else {
                format!("http://{address}")
            })
        };
        Self {
            api: address(&global.api, "HEDDLE_API"),
            kubeconfig: global
                .kubeconfig
                .clone()
                .or_else(|| variable("HEDDLE_KUBECONFIG").map(PathBuf::from)),
            admin: address(&global.admin, "HEDDLE_ADMIN").unwrap_or_else(|| ADMIN.to_owned()),
            namespace: global
                .namespace
                .clone()
                .unwrap_or_else(|| "default".to_owned()),
            all_namespaces: global.all_namespaces,
            output: global.output,
        }
    }
}

/// What a command runs in.
pub struct Context {
    /// The shared options.
    pub settings: Settings,
    /// Where data goes.
    pub out: Box<dyn Write + Send>,
    /// Where everything else goes.
    pub err: Box<dyn Write + Send>,
    /// Where input comes from.
    pub stdin: Box<dyn Read + Send>,
    /// Whether a person types at the input.
    pub stdin_is_terminal: bool,
    /// Whether a person reads the data.
    pub out_is_terminal: bool,
    /// Whether a person reads the rest.
    pub err_is_terminal: bool,
    /// Whether data is coloured.
    pub color: bool,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Cancelled when the command shall end.
    pub stop: CancellationToken,
    /// Cancelled when it shall end at once.
    pub force: CancellationToken,
    /// Where tasks run.
    pub tracker: TaskTracker,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The context of the process. An interrupt (Ctrl-C) cancels `stop`, a second one `force`.
    #[must_use]
    pub fn process(global: &Global) -> Self {
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let force = CancellationToken::new();
        tracker.spawn(interrupts(stop.clone(), force.clone()));
        let out_is_terminal = std::io::stdout().is_terminal();
        let env = |name: &str| std::env::var(name).ok();
        Self {
            settings: Settings::resolve(global, env),
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            stdin: Box::new(std::io::stdin()),
            stdin_is_terminal: std::io::stdin().is_terminal(),
            out_is_terminal,
            err_is_terminal: std::io::stderr().is_terminal(),
            color: use_color(global.color.unwrap_or_default(), out_is_terminal, env),
            clock: Arc::new(SystemClock),
            stop,
            force,
            tracker,
        }
    }

    /// A client of the API that the settings name.
    ///
    /// # Errors
    ///
    /// When the address is not a URL, or the kubeconfig cannot be used.
    pub async fn api(&self) -> Result<Api, Failure> {
        let Settings {
            api, kubeconfig, ..
        } = &self.settings;
        Api::locate(api.as_deref(), kubeconfig.as_deref()).await
    }

    /// Reports the result, waits for the tasks, and gives the exit code.
    pub async fn finish(mut self, result: Result<(), Failure>) -> ExitCode {
        let result = match (result, self.out.flush()) {
            (Ok(()), Err(error)) => Err(error.into()),
            (result, _) => result,
        };
        self.stop.cancel();
        self.force.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                let color = self.color && self.err_is_terminal;
                match failure.report(&mut self.err, color) {
                    Ok(()) => ExitCode::from(failure.exit_code()),
                    Err(_) => ExitCode::from(FAILED),
                }
            }
        }
    }
}

/// Turns the first interrupt into `stop` and the second into `force`.
async fn interrupts(stop: CancellationToken, force: CancellationToken) {
    for token in [&stop, &force] {
        tokio::select! {
            () = force.cancelled() => return,
            _ = tokio::signal::ctrl_c() => token.cancel(),
        }
    }
}

/// Whether to colour: as asked, else on a terminal unless `NO_COLOR` is set or it is dumb.
pub fn use_color(color: Color, terminal: bool, env: impl Fn(&str) -> Option<String>) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            terminal
                && env("NO_COLOR").is_none_or(|value| value.is_empty())
                && env("TERM").is_none_or(|term| term != "dumb")
        }
    }
}
