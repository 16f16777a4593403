//! `heddle delete`.

use std::path::PathBuf;

use clap::Args;

use super::api::Api;
use super::failure::{FAILED, Failure};
use super::kinds::{self, Kind};
use super::manifest::{self, Loaded};
use super::{Context, Global};

/// Delete resources
#[derive(Args, Debug)]
#[command(override_usage = "heddle delete [OPTIONS] KIND NAME...\n       \
                            heddle delete [OPTIONS] -f FILE|DIR|-")]
pub struct DeleteArgs {
    /// The kind, by any of its names, or KIND/NAME
    #[arg(value_name = "KIND", required_unless_present = "filename")]
    pub kind: Option<String>,
    /// The names
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Delete what these manifests describe, the last first
    #[arg(
        short,
        long = "filename",
        value_name = "FILE|DIR|-",
        conflicts_with_all = ["kind", "names"]
    )]
    pub filename: Vec<PathBuf>,
    /// Do not fail when there is nothing to delete
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// Deletes what the arguments name.
///
/// # Errors
///
/// When the API cannot be reached, or something is not there.
pub async fn run(args: DeleteArgs, context: &mut Context) -> Result<(), Failure> {
    let DeleteArgs {
        kind,
        names,
        filename,
        ignore_not_found,
        global: _,
    } = args;
    let api = context.api().await?;
    let namespace = context.settings.namespace.clone();
    let mut targets: Vec<(Kind, String, String)> = Vec::new();
    if let Some(kind) = kind {
        let (kind, names) = kinds::kind_and_names(&kind, &names)?;
        if names.is_empty() {
            return Err(Failure::usage(
                "which one? name it: heddle delete KIND NAME",
            ));
        }
        let served = kinds::discover(api.client())
            .await
            .map_err(|error| api.failure(error))?;
        for kind in kinds::resolve(&served, &kind)? {
            for name in &names {
                targets.push((kind.clone(), namespace.clone(), name.clone()));
            }
        }
    } else {
        let Loaded { resources, .. } = manifest::load_with(&filename, &mut context.stdin)?;
        let served = kinds::discover(api.client())
            .await
            .map_err(|error| api.failure(error))?;
        for manifest in resources.iter().rev() {
            let (group, version) = manifest
                .api_version()
                .split_once('/')
                .unwrap_or_else(|| ("", manifest.api_version()));
            let found = served.iter().find(|kind| {
                kind.kind == manifest.kind() && kind.group == group && kind.version == version
            });
            let Some(kind) = found else {
                let message = format!(
                    "{} has no kind {:?}",
                    manifest.api_version(),
                    manifest.kind()
                );
                let diagnostic = manifest.diagnostic("kind", message);
                return Err(Failure::Input(diagnostic.to_string()));
            };
            let namespace = manifest.namespace().unwrap_or(&namespace).to_owned();
            targets.push((kind.clone(), namespace, manifest.name().to_owned()));
        }
    }
    delete_all(&api, &targets, ignore_not_found, context).await
}

async fn delete_all(
    api: &Api,
    targets: &[(Kind, String, String)],
    ignore_not_found: bool,
    context: &mut Context,
) -> Result<(), Failure> {
    let mut failed = false;
    for (kind, namespace, name) in targets {
        let path = kind.path(Some(namespace), Some(name));
        let label = kind.full_name();
        match api.delete(&path).await {
            Ok(()) => writeln!(context.out, "{label}/{name} deleted")?,
            Err(kube::Error::Api(status)) if status.is_not_found() && ignore_not_found => {}
            Err(kube::Error::Api(status)) => {
                failed = true;
                writeln!(context.err, "error: {}", status.message)?;
            }
            Err(error) => return Err(api.failure(error)),
        }
    }
    if failed {
        return Err(Failure::Reported { code: FAILED });
    }
    Ok(())
}
