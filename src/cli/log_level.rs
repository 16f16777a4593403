//! `heddle log-level`: what a running server logs, shown or changed.
//!
//! `GET {admin}/log-level` answers with the filter as text; `PUT` takes one.

use clap::Args;

use super::http::Http;
use super::{Context, Failure, Global};

/// Show or change what a running server logs
#[derive(Args, Debug)]
pub struct LogLevelArgs {
    /// The filter: a level, or levels of modules (warn,heddle_broker=debug). Without it, the
    /// present one is shown
    pub filter: Option<String>,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// Shows or changes the filter.
///
/// # Errors
///
/// When the server cannot be reached or does not take the filter.
pub async fn run(args: LogLevelArgs, context: &mut Context) -> Result<(), Failure> {
    let LogLevelArgs { filter, global: _ } = args;
    let http = Http::admin(&context.settings.admin)?;
    match filter {
        Some(filter) => {
            http.put_text("/log-level", filter.clone()).await?;
            writeln!(context.err, "the server logs {filter}")?;
        }
        None => {
            let text = http.get_text("/log-level").await?;
            writeln!(context.out, "{}", text.trim_end())?;
        }
    }
    Ok(())
}
