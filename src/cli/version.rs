//! `heddle version`.

use clap::Args;

use super::{Context, Failure, Format, Global};

/// Print the version
#[derive(Args, Debug)]
pub struct VersionArgs {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// Prints the version of this binary, and what it speaks.
///
/// # Errors
///
/// When it cannot be written.
pub fn run(args: &VersionArgs, context: &mut Context) -> Result<(), Failure> {
    let VersionArgs { global: _ } = args;
    let version = env!("CARGO_PKG_VERSION");
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    let out = &mut context.out;
    match context.settings.output {
        Some(Format::Json) => {
            let text = serde_json::json!({
                "version": version,
                "platform": platform,
                "cloudevents": ["1.0", "0.3"],
            });
            writeln!(out, "{text}")?;
        }
        Some(Format::Yaml) => writeln!(
            out,
            "version: {version}\nplatform: {platform}\ncloudevents:\n- \"1.0\"\n- \"0.3\""
        )?,
        Some(Format::Name) => writeln!(out, "{version}")?,
        Some(Format::Wide) | None => writeln!(out, "heddle {version} ({platform})")?,
    }
    Ok(())
}
