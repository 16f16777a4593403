//! `heddle kubeconfig`: how other clients find the API and enter it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{Context, Failure};

/// The name of the file in the data directory.
pub const FILE: &str = "kubeconfig";

/// Print where the kubeconfig is that `heddle up` writes
///
/// For kubectl and everything else that reads one:
/// `export KUBECONFIG=$(heddle kubeconfig)`.
#[derive(Args, Debug)]
pub struct KubeconfigArgs {
    /// The data directory of `heddle up`
    #[arg(long, value_name = "DIR", default_value = "./heddle-data")]
    pub data: PathBuf,
    /// Print what is in it instead, to take it to another machine
    #[arg(long)]
    pub raw: bool,
    /// With --raw: under which URL the API is reached from there
    #[arg(long, value_name = "URL", requires = "raw")]
    pub server: Option<String>,
}

/// Prints it.
///
/// # Errors
///
/// When there is none, or it cannot be read.
pub fn run(args: &KubeconfigArgs, context: &mut Context) -> Result<(), Failure> {
    let path = args.data.join(FILE);
    let path = path.canonicalize().map_err(|error| {
        Failure::failed(format!(
            "there is no kubeconfig at {}: {error}",
            path.display()
        ))
        .with_hint("`heddle up` writes it when it starts; was it given another --data?")
    })?;
    let text = if args.raw {
        content(&path, args.server.as_deref())?
    } else {
        path.display().to_string()
    };
    writeln!(context.out, "{}", text.trim_end())?;
    Ok(())
}

fn content(path: &Path, server: Option<&str>) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("{} cannot be read: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let Some(server) = server else {
        return Ok(text);
    };
    let mut config: Value = serde_saphyr::from_str(&text).map_err(|error| failed(&error))?;
    for cluster in config["clusters"].as_array_mut().into_iter().flatten() {
        cluster["cluster"]["server"] = Value::from(server);
    }
    serde_saphyr::to_string(&config).map_err(|error| failed(&error))
}
