//! `heddle crds`: the CustomResourceDefinitions, for a cluster.

use clap::Args;

use super::{Context, Failure};

/// Print the CustomResourceDefinitions as YAML
///
/// For a cluster: `heddle crds | kubectl apply -f -`.
#[derive(Args, Debug)]
pub struct CrdsArgs {}

/// Prints them.
///
/// # Errors
///
/// When they cannot be written.
pub fn run(args: &CrdsArgs, context: &mut Context) -> Result<(), Failure> {
    let CrdsArgs {} = args;
    let yaml = heddle_crds::crds_yaml()
        .map_err(|error| Failure::failed(format!("cannot write the definitions: {error}")))?;
    writeln!(context.out, "{}", yaml.trim_end())?;
    Ok(())
}
