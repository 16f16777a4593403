//! The `heddle` binary.

use std::io::IsTerminal;
use std::process::ExitCode;

use heddle::cli::manifest::ManifestError;
use heddle::cli::{self, Command, Failure};
use heddle::{run, telemetry};

/// Events are allocated on one thread and freed on another, in blocks of about 1 KiB: what the C
/// library's allocator does worst. docs/performance.md has the figures.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if matches!(cli.command, Command::Up(_)) {
        // Before there is a thread that makes files: all are their owner's alone, also those that the
        // embedded database makes.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    }
    // Whoever makes a TLS connection finds the one provider that is built in.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime cannot be started: {error}")),
    };
    if !matches!(cli.command, Command::Up(_)) {
        return runtime.block_on(cli::run(cli));
    }
    let Command::Up(args) = cli.command else {
        return ExitCode::FAILURE;
    };
    let log_level = match telemetry::install(&args.log, args.log_format) {
        Ok(log_level) => log_level,
        Err(error) => {
            return fail(&format!(
                "--log {:?} is not a log filter: {error}",
                args.log
            ));
        }
    };
    let error = match runtime.block_on(run::up::up(*args, log_level)) {
        Ok(code) => return code,
        Err(error) => error,
    };
    match error.downcast::<ManifestError>() {
        Ok(error) => report(&Failure::from(error)),
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Shows what is wrong with what the user gave, at its place.
fn report(failure: &Failure) -> ExitCode {
    let mut stderr = std::io::stderr();
    let color = stderr.is_terminal();
    // Nobody is left to be told when even this cannot be printed.
    let _printed = failure.report(&mut stderr, color);
    ExitCode::from(failure.exit_code())
}

/// Says in one line why nothing runs.
#[allow(clippy::print_stderr)]
fn fail(message: &str) -> ExitCode {
    eprintln!("heddle: {message}");
    ExitCode::FAILURE
}
