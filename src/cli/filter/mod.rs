//! `heddle filter`: what a filter does, before it decides over deliveries.
//!
//! `heddle filter test` judges single events, and says why ([`explain`]); or the events that a broker
//! keeps, and counts ([`stored`]). Both use what the broker matches with.

mod explain;
mod stored;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use heddle_broker::control::admission;
use heddle_crds::eventing::Trigger;

use super::events::From;
use super::manifest::{self, Manifest, ManifestError};
use super::{Context, Failure, Global};

/// Try out filters
#[derive(Args, Debug)]
pub struct FilterArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: FilterCommand,
}

/// What to do with a filter.
#[derive(Debug, Subcommand)]
pub enum FilterCommand {
    /// Say which events pass the filter of a Trigger, and why
    ///
    /// With --event, each event is judged and the filter is printed with every clause marked. With
    /// --broker, the filter is run over the events that a broker keeps, which are counted; two
    /// Triggers are compared.
    #[command(
        after_help = "Examples:\n  heddle filter test -f trigger.yaml --event event.json\n  \
                      heddle filter test -f trigger.yaml --broker default --since 24h\n  \
                      heddle filter test -f old.yaml -f new.yaml --broker shop/orders"
    )]
    Test(TestArgs),
}

/// Arguments of `heddle filter test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// A file with one Trigger; `-` is the standard input. Two of them are compared
    #[arg(short, long, value_name = "FILE", required = true)]
    pub filename: Vec<PathBuf>,
    /// A file or directory of events in the structured form, as JSON or YAML, or of JSON lines as
    /// `heddle events -o json` prints them; `-` is the standard input
    #[arg(long, value_name = "FILE", conflicts_with = "broker")]
    pub event: Vec<PathBuf>,
    /// The broker whose events are judged: NAME or NAMESPACE/NAME
    #[arg(long, value_name = "BROKER", required_unless_present = "event")]
    pub broker: Option<String>,
    /// How far to go back, like 24h or 30m
    #[arg(
        long,
        value_name = "TIME",
        requires = "broker",
        conflicts_with = "from"
    )]
    pub since: Option<jiff::SignedDuration>,
    /// Where to start: earliest, an offset, or a time
    #[arg(long, value_name = "WHERE", requires = "broker")]
    pub from: Option<From>,
    /// Judge at most so many events
    #[arg(long, value_name = "N", requires = "broker")]
    pub limit: Option<u64>,
    /// How many events to show of each group
    #[arg(long, value_name = "N", requires = "broker", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(0..=100))]
    pub samples: u16,
    /// Exit with 1 if no event passes, like grep; with two Triggers, if they differ
    #[arg(long)]
    pub exit_code: bool,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// Judges what the arguments name.
///
/// # Errors
///
/// When a file cannot be used, or the broker's events cannot be read; and, where that was asked for,
/// when nothing passes.
pub async fn run(args: FilterArgs, context: &mut Context) -> Result<(), Failure> {
    let FilterCommand::Test(args) = args.command;
    if args.filename.len() > 2 {
        return Err(Failure::usage("at most two Triggers can be compared"));
    }
    let mut triggers = Vec::new();
    for path in &args.filename {
        triggers.push(Named::load(path, context)?);
    }
    let good = match &args.broker {
        Some(broker) => stored::run(&triggers, broker, &args, context).await?,
        None => explain::run(&triggers, &args.event, context)?,
    };
    if args.exit_code && !good {
        return Err(Failure::Reported { code: 1 });
    }
    Ok(())
}

/// A Trigger whose filter can be built.
struct Named {
    name: String,
    trigger: Trigger,
}

impl Named {
    fn load(path: &PathBuf, context: &mut Context) -> Result<Self, Failure> {
        let loaded = manifest::load_with(std::slice::from_ref(path), &mut context.stdin)?;
        let is_trigger = |manifest: &&Manifest| manifest.kind() == "Trigger";
        let mut triggers = loaded.resources.iter().filter(is_trigger);
        let (Some(manifest), None) = (triggers.next(), triggers.next()) else {
            let message = format!("{} does not hold exactly one Trigger", path.display());
            return Err(Failure::usage(message).with_hint("-f may be given twice, to compare two"));
        };
        let wrong = |field: &str, message: String| {
            let diagnostic = manifest.diagnostic(field, message);
            Failure::from(ManifestError::Invalid(vec![diagnostic]))
        };
        let trigger: Trigger = serde_json::from_value(manifest.object.clone())
            .map_err(|error| wrong("spec", error.to_string()))?;
        if let Err(errors) = admission::filter(&trigger) {
            let errors = errors
                .iter()
                .map(|error| manifest.diagnostic(&error.path, error.fault.to_string()));
            return Err(ManifestError::Invalid(errors.collect()).into());
        }
        Ok(Self {
            name: manifest.name().to_owned(),
            trigger,
        })
    }
}
