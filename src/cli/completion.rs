//! `heddle completion`: scripts that complete commands and flags in a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Context, Failure};

/// Print a completion script for a shell
///
/// For bash: `source <(heddle completion bash)`; for zsh and fish put the output where the shell
/// looks for completions.
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// Which shell
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// When it cannot be written.
pub fn run(args: &CompletionArgs, context: &mut Context) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "heddle", &mut script);
    context.out.write_all(&script)?;
    Ok(())
}
