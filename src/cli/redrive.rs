//! `heddle redrive`: has the dead letters that a Trigger keeps delivered once more.
//!
//! `POST {admin}/api/v1/namespaces/{namespace}/{kind}/{name}/redrive` answers with the progress, one
//! JSON document a line. The redrive ends when this end of it does.

use clap::Args;
use futures::StreamExt as _;
use heddle_dispatcher::redrive::{Progress, State};

use super::failure::FAILED;
use super::http::Http;
use super::{Context, Failure, Format, Global, INTERRUPTED, kinds};

/// Deliver the dead letters that a Trigger keeps once more
#[derive(Args, Debug)]
#[command(override_usage = "heddle redrive [OPTIONS] trigger|subscription NAME")]
pub struct RedriveArgs {
    /// The kind, trigger or subscription, or KIND/NAME
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// The name
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Redrive at most so many, the oldest first
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// Whose dead letters they are.
struct Whose {
    kind: &'static str,
    namespace: String,
    name: String,
}

impl Whose {
    fn of(args: &RedriveArgs, namespace: &str) -> Result<Self, Failure> {
        let names: Vec<String> = args.name.iter().cloned().collect();
        let (kind, names) = kinds::kind_and_names(&args.kind, &names)?;
        let lower = kind.to_ascii_lowercase();
        let kind = match lower.split('.').next().unwrap_or_default() {
            "trigger" | "triggers" => "trigger",
            "subscription" | "subscriptions" | "sub" => "subscription",
            _ => {
                return Err(Failure::usage(format!(
                    "{kind:?} keeps no dead letters; a trigger or a subscription does"
                )));
            }
        };
        let [name] = names.as_slice() else {
            let message = format!("which one? name it: heddle redrive {kind} NAME");
            return Err(Failure::usage(message));
        };
        Ok(Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.clone(),
        })
    }

    fn path(&self, limit: Option<u64>) -> String {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        let query = limit.map_or_else(String::new, |limit| format!("?limit={limit}"));
        format!("/api/v1/namespaces/{namespace}/{kind}s/{name}/redrive{query}")
    }
}

/// Redrives, and tells how it went.
///
/// # Errors
///
/// When the server cannot be reached or refuses, or something is left that was to be redriven.
pub async fn run(args: RedriveArgs, context: &mut Context) -> Result<(), Failure> {
    let whose = Whose::of(&args, &context.settings.namespace)?;
    let http = Http::admin(&context.settings.admin)?;
    let mut progress = follow(&http, &whose.path(args.limit), context).await?;
    let interrupted = context.stop.is_cancelled();
    if progress.state == State::Running {
        progress.state = State::Stopped;
    }
    if context.settings.output == Some(Format::Json) {
        let text = serde_json::to_string(&progress)
            .map_err(|error| Failure::failed(format!("cannot write the output: {error}")))?;
        writeln!(context.out, "{text}")?;
    } else {
        summary(&whose, &progress, context)?;
    }
    if interrupted {
        return Err(Failure::Reported { code: INTERRUPTED });
    }
    if progress.left() == 0 && progress.state == State::Finished {
        return Ok(());
    }
    if context.settings.output == Some(Format::Json) {
        return Err(Failure::Reported { code: FAILED });
    }
    Err(left(&whose, &progress))
}

/// Reads the progress to its end, or to an interrupt, and shows it to a person meanwhile.
async fn follow(http: &Http, path: &str, context: &mut Context) -> Result<Progress, Failure> {
    let mut lines = std::pin::pin!(http.post_lines(path, &serde_json::json!({})).await?);
    let stop = context.stop.clone();
    let mut last = Progress::default();
    let mut shown = false;
    loop {
        let line = tokio::select! {
            () = stop.cancelled() => break,
            line = lines.next() => line,
        };
        let Some(line) = line else { break };
        last = serde_json::from_str(&line?).map_err(|error| {
            Failure::failed(format!(
                "the admin listener answered something that is not the progress: {error}"
            ))
        })?;
        if context.err_is_terminal && last.state == State::Running {
            let Progress {
                total,
                failed,
                waiting,
                ..
            } = last;
            let done = total - last.left();
            write!(
                context.err,
                "\r\x1b[K{done} of {total} redriven, {failed} failed, {waiting} wait for a retry"
            )?;
            context.err.flush()?;
            shown = true;
        }
    }
    if shown {
        write!(context.err, "\r\x1b[K")?;
    }
    Ok(last)
}

fn summary(whose: &Whose, progress: &Progress, context: &mut Context) -> Result<(), Failure> {
    let Whose {
        kind,
        namespace,
        name,
    } = whose;
    let out = &mut context.out;
    if progress.total == 0 && progress.state == State::Finished {
        writeln!(out, "{kind} {namespace}/{name} keeps no dead letters")?;
        return Ok(());
    }
    let Progress {
        total,
        delivered,
        dead_lettered,
        failed,
        expired,
        kept,
        ..
    } = progress;
    writeln!(
        out,
        "{kind} {namespace}/{name}: {total} dead letters to redrive"
    )?;
    let rows = [
        ("Taken by the subscriber", delivered),
        ("Taken by the dead letter sink", dead_lettered),
        ("Failed again", failed),
        ("Gone before their turn", expired),
        ("Kept now", kept),
    ];
    for (row, (label, value)) in rows.into_iter().enumerate() {
        if *value > 0 || row == 0 {
            writeln!(out, "  {label}: {value}")?;
        }
    }
    Ok(())
}

/// Something is left: what happened, and what to do.
fn left(whose: &Whose, progress: &Progress) -> Failure {
    let Whose {
        kind,
        namespace,
        name,
    } = whose;
    let mut message = format!("{} dead letters are left", progress.left());
    if progress.state == State::Stopped {
        message.push_str("; the redrive was stopped before its end");
    }
    if let Some(error) = &progress.last_error {
        message.push_str("; the last failure: ");
        message.push_str(error);
    }
    Failure::failed(message).with_hint(format!(
        "they stay kept; see `heddle describe {kind} {name} -n {namespace}`, mend the subscriber, and \
         run `heddle redrive {kind} {name} -n {namespace}` again"
    ))
}
