//! The command line: what a person types, and what they see.
//!
//! Every command is one file: its arguments (clap derive) and one `run` function that takes them
//! with a [`Context`]. Habits that hold for all of them:
//!
//! * data goes to the standard output, everything else to the standard error, so that pipes work;
//! * nothing is written but through [`Context::out`] and [`Context::err`], which tests replace;
//! * failures are [`Failure`]s: one line, a hint, and an exit code (0 done, 1 the operation
//!   failed, 64 wrong usage or input, 69 the server cannot be reached);
//! * the API is found by discovery, so that commands know no types.
//!
//! [`up`] has arguments only; what it does is wired elsewhere.

pub mod api;
pub mod apply;
pub mod completion;
pub mod context;
pub mod crds;
pub mod delete;
pub mod describe;
pub mod events;
pub mod failure;
pub mod filter;
pub mod get;
pub mod http;
pub mod json_text;
pub mod kinds;
pub mod kubeconfig;
pub mod listen;
pub mod log_level;
pub mod manifest;
pub mod merge;
pub mod migrate;
pub mod redrive;
pub mod selector;
pub mod send;
pub mod show_event;
pub mod table;
pub mod up;
pub mod version;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

pub use context::{Context, Settings};
pub use failure::Failure;
pub use up::UpArgs;

/// Heddle: an event broker with Knative's API, in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "heddle",
    version,
    about = "An event broker with Knative's API, in one binary",
    long_about = "An event broker with Knative's API, in one binary.\n\n\
                  `heddle up` starts everything on this machine; the other commands talk to it.",
    after_help = "Start here:\n  \
                  heddle up                                  start a broker on this machine\n  \
                  heddle listen                              print what a subscriber gets\n  \
                  heddle send --data '{\"hello\":\"world\"}'     send an event to it",
    propagate_version = false,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Options of all commands, before the command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The shared options, from before and after the command.
    #[must_use]
    pub fn shared(&self) -> Global {
        let inner = match &self.command {
            Command::Up(_) | Command::Completion(_) | Command::Crds(_) | Command::Kubeconfig(_) => {
                return self.global.clone();
            }
            Command::Apply(args) => &args.global,
            Command::Get(args) => &args.global,
            Command::Describe(args) => &args.global,
            Command::Delete(args) => &args.global,
            Command::Send(args) => &args.global,
            Command::Listen(args) => &args.global,
            Command::Events(args) => &args.global,
            Command::Filter(args) => {
                let filter::FilterCommand::Test(args) = &args.command;
                &args.global
            }
            Command::Redrive(args) => &args.global,
            Command::Migrate(args) => &args.global,
            Command::LogLevel(args) => &args.global,
            Command::Version(args) => &args.global,
        };
        inner.or(&self.global)
    }
}

/// What to do. Each variant is described by its arguments, which is what clap shows.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Command {
    Up(Box<up::UpArgs>),
    Apply(apply::ApplyArgs),
    Get(get::GetArgs),
    Describe(describe::DescribeArgs),
    Delete(delete::DeleteArgs),
    Send(Box<send::SendArgs>),
    Listen(listen::ListenArgs),
    Events(events::EventsArgs),
    Filter(Box<filter::FilterArgs>),
    Redrive(redrive::RedriveArgs),
    Migrate(migrate::MigrateArgs),
    Crds(crds::CrdsArgs),
    Kubeconfig(kubeconfig::KubeconfigArgs),
    Completion(completion::CompletionArgs),
    LogLevel(log_level::LogLevelArgs),
    Version(version::VersionArgs),
}

/// Options that most commands share. They may stand before or after the command; after wins.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Shared options")]
pub struct Global {
    /// Where the API is [env: HEDDLE_API] [default: as the kubeconfig says, or
    /// http://127.0.0.1:8081]
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,
    /// Where the API is and how it is entered [env: HEDDLE_KUBECONFIG] [default:
    /// ./heddle-data/kubeconfig where there is one]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the admin listener is [env: HEDDLE_ADMIN] [default: http://127.0.0.1:8082]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// The namespace [default: default]
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// When to use colour [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub color: Option<Color>,
}

impl Global {
    /// These options, with those of `outer` where this one leaves something out.
    #[must_use]
    pub fn or(&self, outer: &Self) -> Self {
        let Self {
            api,
            kubeconfig,
            admin,
            namespace,
            all_namespaces,
            output,
            color,
        } = self.clone();
        Self {
            api: api.or_else(|| outer.api.clone()),
            kubeconfig: kubeconfig.or_else(|| outer.kubeconfig.clone()),
            admin: admin.or_else(|| outer.admin.clone()),
            namespace: namespace.or_else(|| outer.namespace.clone()),
            all_namespaces: all_namespaces || outer.all_namespaces,
            output: output.or(outer.output),
            color: color.or(outer.color),
        }
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As the API keeps it, or one JSON document a line for events
    Json,
    /// The same, easier to read
    Yaml,
    /// A table with all columns
    Wide,
    /// Only kinds and names
    Name,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Exit code: ended by an interrupt, as shells count it.
const INTERRUPTED: u8 = 130;

/// Parses the arguments of the process.
///
/// # Errors
///
/// Help, version and completion end with 0, wrong usage with 64; the text has been printed then.
pub fn parse<I, T>(arguments: I) -> Result<Cli, ExitCode>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    try_parse(arguments).map_err(|error| {
        // Nobody is left to be told when even this cannot be printed.
        let _ = error.print();
        ExitCode::from(code_of(&error))
    })
}

fn try_parse<I, T>(arguments: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = Cli::try_parse_from(arguments)?;
    // To `up` these are addresses to listen at, and URLs to everything else: one that stands
    // before `up` would otherwise be dropped without a word.
    if matches!(cli.command, Command::Up(_))
        && (cli.global.api.is_some() || cli.global.admin.is_some())
    {
        let message = "--api and --admin are addresses for `up` and stand after it: \
                       heddle up --api 127.0.0.1:8081";
        return Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, message));
    }
    Ok(cli)
}

/// Help and version were asked for; everything else is wrong usage.
fn code_of(error: &clap::Error) -> u8 {
    if error.use_stderr() {
        failure::USAGE
    } else {
        0
    }
}

/// Runs any command but `up`, which its caller wires itself.
pub async fn run(cli: Cli) -> ExitCode {
    let global = cli.shared();
    let Cli { global: _, command } = cli;
    // These end in their own way when they are interrupted (they say what they did); a second
    // interrupt ends them too.
    let graceful = matches!(
        &command,
        Command::Send(_)
            | Command::Listen(_)
            | Command::Events(_)
            | Command::Get(_)
            | Command::Redrive(_)
            | Command::Migrate(_)
    );
    let mut context = Context::process(&global);
    let abandoned = if graceful {
        context.force.clone()
    } else {
        context.stop.clone()
    };
    let result = tokio::select! {
        result = run_command(command, &mut context) => result,
        () = abandoned.cancelled() => Err(Failure::Reported { code: INTERRUPTED }),
    };
    context.finish(result).await
}

async fn run_command(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Up(_) => Err(Failure::usage("`up` is not a client command")),
        Command::Apply(args) => apply::run(args, context).await,
        Command::Get(args) => get::run(args, context).await,
        Command::Describe(args) => describe::run(args, context).await,
        Command::Delete(args) => delete::run(args, context).await,
        Command::Send(args) => send::run(*args, context).await,
        Command::Listen(args) => listen::run(args, context).await,
        Command::Events(args) => events::run(args, context).await,
        Command::Filter(args) => filter::run(*args, context).await,
        Command::Redrive(args) => redrive::run(args, context).await,
        Command::Migrate(args) => migrate::run(args, context).await,
        Command::Crds(args) => crds::run(&args, context),
        Command::Kubeconfig(args) => kubeconfig::run(&args, context),
        Command::Completion(args) => completion::run(&args, context),
        Command::LogLevel(args) => log_level::run(args, context).await,
        Command::Version(args) => version::run(&args, context),
    }
}
