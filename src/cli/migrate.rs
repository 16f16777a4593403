//! `heddle migrate`: moves a Broker's events to another store while it goes on.
//!
//! What moves them is the Broker's controller (`log.heddle.dev/store`, docs/migrate.md); this command asks
//! for it, and shows how far it is: the steps from the condition `LogMoved`, the logs from the Broker's
//! status, and what each Trigger still has to deliver from the admin listener.

use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::api::{AS_JSON, Api};
use super::http::Http;
use super::{Context, Failure, Format, Global, INTERRUPTED, apply, kinds, listen, manifest};

/// How often is looked how far it is.
const POLL: Duration = Duration::from_millis(250);
/// How often a refusal has to be seen: the controller may not have looked at what was asked for yet.
const REFUSALS: u32 = 12;

const STORE: &str = "log.heddle.dev/store";
const CONFIG: &str = "log.heddle.dev/store-config";

/// Move a Broker's events to another store while it goes on
#[derive(Args, Debug)]
#[command(override_usage = "heddle migrate [OPTIONS] --to STORE broker [NAMESPACE/]NAME")]
pub struct MigrateArgs {
    /// The kind, broker, or broker/NAME
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// The name, or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Where its events are to be kept
    #[arg(long, value_name = "STORE")]
    pub to: Store,
    /// The ConfigMap that says where that is [default: kafka-broker-config or config-nats in
    /// knative-eventing]
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub config: Option<String>,
    /// Wait until nothing is left in the store of before
    #[arg(long)]
    pub wait: bool,
    /// With --wait, how long at the most, like 10m [default: for ever]
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = listen::delay)]
    pub timeout: Option<Duration>,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// What keeps events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// The log in the data directory
    Segment,
    /// NATS JetStream
    #[value(name = "jetstream")]
    JetStream,
    /// Apache Kafka
    Kafka,
}

impl Store {
    fn word(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::JetStream => "jetstream",
            Self::Kafka => "kafka",
        }
    }
}

/// How far a move is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Progress {
    namespace: String,
    broker: String,
    to: Store,
    /// `Asked` until the controller has seen it, then the reason of the condition.
    state: String,
    message: String,
    /// The stores that events of the Broker are in, the oldest first.
    stores: Vec<String>,
    triggers: Vec<Trigger>,
}

/// Where a Trigger of the Broker stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Trigger {
    name: String,
    /// All below this offset is delivered; in the first partition of several.
    position: u64,
    backlog: u64,
}

/// The Broker that is moved, and where its state is found.
struct Move {
    api: Api,
    admin: Http,
    namespace: String,
    name: String,
    to: Store,
    config: Option<String>,
}

/// Asks for a move, and shows how it goes.
///
/// # Errors
///
/// When the API cannot be reached or has no such Broker; with `--wait` also when the Broker cannot be moved,
/// or has not been in time.
pub async fn run(args: MigrateArgs, context: &mut Context) -> Result<(), Failure> {
    let moving = Move::of(&args, context).await?;
    moving.ask().await?;
    if !args.wait {
        return moving.asked(context);
    }
    let now = tokio::time::Instant::now();
    let deadline = args.timeout.and_then(|timeout| now.checked_add(timeout));
    moving.follow(deadline, context).await
}

impl Move {
    async fn of(args: &MigrateArgs, context: &Context) -> Result<Self, Failure> {
        let (kind, namespace, name) = whose(args, &context.settings.namespace)?;
        if !matches!(kind.to_ascii_lowercase().as_str(), "broker" | "brokers") {
            let message = format!("a {kind} cannot be moved; a broker can");
            return Err(Failure::usage(message));
        }
        let config = args
            .config
            .as_ref()
            .map(|config| match config.contains('/') {
                true => config.clone(),
                false => format!("{namespace}/{config}"),
            });
        let parts = config.iter().flat_map(|config| config.split('/'));
        if !parts.clone().all(manifest::is_name) || parts.count() > 2 {
            let given = config.unwrap_or_default();
            return Err(Failure::usage(format!(
                "--config {given:?} is no NAME or NAMESPACE/NAME"
            )));
        }
        if config.is_some() && args.to == Store::Segment {
            let message = "--config is of no use with --to segment, which is the data directory";
            return Err(Failure::usage(message));
        }
        Ok(Self {
            api: context.api().await?,
            admin: Http::admin(&context.settings.admin)?,
            namespace,
            name,
            to: args.to,
            config,
        })
    }

    fn path(&self, plural: &str) -> String {
        let namespace = &self.namespace;
        format!("/apis/eventing.knative.dev/v1/namespaces/{namespace}/{plural}")
    }

    /// How messages call it.
    fn called(&self) -> String {
        format!("broker {}/{}", self.namespace, self.name)
    }

    async fn ask(&self) -> Result<(), Failure> {
        let annotations = json!({ STORE: self.to.word(), CONFIG: self.config });
        let patch = json!({ "metadata": { "annotations": annotations } });
        let path = format!("{}/{}", self.path("brokers"), self.name);
        let merge = "application/merge-patch+json";
        let client = self.api.client();
        let asked = apply::send(client, Method::PATCH, &path, merge, Some(&patch)).await;
        asked.map(drop).map_err(|error| match error {
            kube::Error::Api(status) if status.is_not_found() => {
                Failure::failed(format!("there is no {}", self.called()))
                    .with_hint("`heddle get brokers -A` lists those that there are")
            }
            error => self.api.failure(error),
        })
    }

    /// Says that it was asked for.
    fn asked(&self, context: &mut Context) -> Result<(), Failure> {
        let (called, to) = (self.called(), self.to.word());
        if context.settings.output == Some(Format::Json) {
            let progress = self.progress("Asked", String::new(), Vec::new());
            return print_json(&progress, context);
        }
        writeln!(context.out, "{called} is to be moved to {to}")?;
        writeln!(
            context.err,
            "see how far it is: kubectl get broker {} -n {} -o yaml, or run this again with --wait",
            self.name, self.namespace
        )?;
        Ok(())
    }

    /// Shows how far it is until it is done.
    async fn follow(
        &self,
        deadline: Option<tokio::time::Instant>,
        context: &mut Context,
    ) -> Result<(), Failure> {
        let stop = context.stop.clone();
        let mut shown = Shown::default();
        let mut refusals = 0;
        loop {
            let progress = self.look().await?;
            shown.show(&progress, context)?;
            match progress.state.as_str() {
                "Moved" => return self.moved(&progress, context),
                "CannotMove" => refusals += 1,
                _ => refusals = 0,
            }
            if refusals >= REFUSALS {
                return Err(self.refused(&progress));
            }
            if deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now()) {
                return Err(self.late(&progress));
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(POLL))
                .await
                .is_none()
            {
                writeln!(context.err, "interrupted; the move goes on")?;
                return Err(Failure::Reported { code: INTERRUPTED });
            }
        }
    }

    fn moved(&self, progress: &Progress, context: &mut Context) -> Result<(), Failure> {
        if context.settings.output == Some(Format::Json) {
            return Ok(());
        }
        for trigger in &progress.triggers {
            let Trigger {
                name,
                position,
                backlog,
            } = trigger;
            writeln!(
                context.out,
                "  trigger {name}: position {position}, {backlog} to deliver"
            )?;
        }
        Ok(())
    }

    fn refused(&self, progress: &Progress) -> Failure {
        let message = format!("{} stays where it is: {}", self.called(), progress.message);
        Failure::failed(message).with_hint(
            "it is moved as soon as that is mended; to take it back, migrate it to where it is",
        )
    }

    fn late(&self, progress: &Progress) -> Failure {
        let (called, state) = (self.called(), &progress.state);
        let mut message = format!("{called} is not moved yet ({state})");
        if !progress.message.is_empty() {
            message.push_str(": ");
            message.push_str(&progress.message);
        }
        Failure::failed(message).with_hint("the move goes on; run this again to see how far it is")
    }

    /// How far it is now.
    async fn look(&self) -> Result<Progress, Failure> {
        let path = format!("{}/{}", self.path("brokers"), self.name);
        let broker = self.api.get_opt(&path, AS_JSON).await?;
        let broker = broker.ok_or_else(|| Failure::failed(format!("{} is gone", self.called())))?;
        let parts = parts(&broker);
        let (status, reason, message) = condition(&broker);
        let there = matches!(parts.as_slice(), [part] if self.is_there(part));
        let state = match status {
            "True" if there => "Moved",
            // It speaks of a move of before.
            "True" | "" => "Asked",
            _ => reason,
        };
        let message = if state == "Asked" { "" } else { message };
        let text = |part: &Value| part["store"].as_str().unwrap_or_default().to_owned();
        let stores = parts.iter().map(text).collect();
        let mut progress = self.progress(state, message.to_owned(), stores);
        progress.triggers = self.triggers().await?;
        Ok(progress)
    }

    /// Whether a log is where events are to be kept.
    fn is_there(&self, part: &Value) -> bool {
        let config = self.config.as_deref();
        part["store"] == self.to.word()
            && config.is_none_or(|config| part["config"].as_str() == Some(config))
    }

    fn progress(&self, state: &str, message: String, stores: Vec<String>) -> Progress {
        Progress {
            namespace: self.namespace.clone(),
            broker: self.name.clone(),
            to: self.to,
            state: state.to_owned(),
            message,
            stores,
            triggers: Vec::new(),
        }
    }

    /// Where the Broker's Triggers stand. One that the admin listener knows nothing of is left out.
    async fn triggers(&self) -> Result<Vec<Trigger>, Failure> {
        let list = self.api.get(&self.path("triggers"), AS_JSON).await?;
        let items = list["items"].as_array().into_iter().flatten();
        let mut triggers = Vec::new();
        for item in items.filter(|item| item["spec"]["broker"] == self.name.as_str()) {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            let path = format!(
                "/api/v1/namespaces/{}/triggers/{name}/stats",
                self.namespace
            );
            let Ok(text) = self.admin.get_text(&path).await else {
                continue;
            };
            let stats: Value = serde_json::from_str(&text).unwrap_or_default();
            triggers.push(Trigger {
                name: name.to_owned(),
                position: stats["position"].as_u64().unwrap_or_default(),
                backlog: stats["backlog"].as_u64().unwrap_or_default(),
            });
        }
        Ok(triggers)
    }
}

/// What was shown last.
#[derive(Default)]
struct Shown(Option<Progress>);

impl Shown {
    /// Shows what is new: each step, and to programs also how much is left.
    fn show(&mut self, progress: &Progress, context: &mut Context) -> Result<(), Failure> {
        if self.0.as_ref() == Some(progress) {
            return Ok(());
        }
        let before = self.0.replace(progress.clone());
        if context.settings.output == Some(Format::Json) {
            return print_json(progress, context);
        }
        let step = |progress: &Progress| (progress.state.clone(), progress.message.clone());
        let clear = if context.err_is_terminal {
            "\r\x1b[K"
        } else {
            ""
        };
        if before.as_ref().map(step) != Some(step(progress)) {
            let Progress {
                namespace,
                broker,
                state,
                message,
                ..
            } = progress;
            let text = if message.is_empty() { "" } else { ": " };
            write!(context.err, "{clear}")?;
            writeln!(
                context.out,
                "broker {namespace}/{broker}: {state}{text}{message}"
            )?;
        }
        if context.err_is_terminal && progress.state != "Moved" {
            let left: u64 = progress
                .triggers
                .iter()
                .map(|trigger| trigger.backlog)
                .sum();
            write!(context.err, "{clear}{left} to deliver")?;
            context.err.flush()?;
        }
        Ok(())
    }
}

fn print_json(progress: &Progress, context: &mut Context) -> Result<(), Failure> {
    let text = serde_json::to_string(progress)
        .map_err(|error| Failure::failed(format!("cannot write the output: {error}")))?;
    writeln!(context.out, "{text}")?;
    Ok(())
}

/// The kind, the namespace and the name of what is to be moved.
fn whose(args: &MigrateArgs, namespace: &str) -> Result<(String, String, String), Failure> {
    let (mut namespace, mut name) = (namespace, args.name.as_deref());
    if let Some((before, after)) = name.and_then(|name| name.split_once('/')) {
        namespace = before;
        name = Some(after);
    }
    let names: Vec<String> = name.iter().map(|name| (*name).to_owned()).collect();
    let (kind, names) = kinds::kind_and_names(&args.kind, &names)?;
    let [name] = names.as_slice() else {
        let message = "which one? name it: heddle migrate --to STORE broker NAME";
        return Err(Failure::usage(message));
    };
    if !manifest::is_name(namespace) {
        let message = format!("{namespace:?} cannot be the name of a namespace");
        return Err(Failure::usage(message));
    }
    Ok((kind, namespace.to_owned(), name.clone()))
}

/// The logs that the Broker's status names.
fn parts(broker: &Value) -> Vec<Value> {
    let text = &broker["status"]["annotations"]["log.heddle.dev/parts"];
    let parts = text.as_str().map(serde_json::from_str).and_then(Result::ok);
    parts.unwrap_or_default()
}

/// The status, the reason and the message of the condition about the move.
fn condition(broker: &Value) -> (&str, &str, &str) {
    let conditions = broker["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == "LogMoved");
    let text = |field: &str| found.and_then(|found| found[field].as_str());
    let text = |field| text(field).unwrap_or_default();
    (text("status"), text("reason"), text("message"))
}
