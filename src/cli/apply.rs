//! `heddle apply`: makes the API hold what manifests say.
//!
//! [`apply_all`] is also what `heddle up -f` uses, with a client of the API in its own process.
//! Namespaces go first and ConfigMaps second, whatever the order of the files, because the others
//! need them.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use http::Method;
use kube::core::Status;
use serde_json::Value;

use super::api::{AS_JSON, Api, request};
use super::failure::{FAILED, Failure};
use super::http::root_cause;
use super::kinds::{self, Kind};
use super::manifest::{self, Diagnostic, Loaded, Manifest};
use super::{Context, Format, Global, merge};

/// How often an object that changes under our hands is tried.
const CONFLICTS_MAX: u32 = 5;

/// Create or change resources from manifests
///
/// Fields that a manifest had when it was last applied and does not have any more are removed;
/// what others have set stays.
#[derive(Args, Debug)]
pub struct ApplyArgs {
    /// A file, a directory, or - for the standard input
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub filename: Vec<PathBuf>,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not exist.
    Created,
    /// It was changed.
    Configured,
    /// Nothing differed.
    Unchanged,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        })
    }
}

/// One object that was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace, where its kind has them.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// What was done.
    pub outcome: Outcome,
    /// The object as the API keeps it now.
    pub object: Value,
}

impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.full_name();
        write!(f, "{kind}/{} {}", self.name, self.outcome)
    }
}

/// Why one object was not applied. `Display` shows it at its place in the manifest.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API refused it; each cause is shown at its field.
    #[error("{}", lines(.0))]
    Refused(Vec<Diagnostic>),
    /// The API could not be asked.
    #[error("{0}")]
    Client(#[source] Box<kube::Error>),
    /// It kept changing while it was applied.
    #[error("{}", .0.headline())]
    Conflict(Box<Diagnostic>),
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    let shown: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    shown.join("\n")
}

/// Applies manifests, each on its own: one that fails does not keep the others from being applied.
/// The results are in the order of the manifests. Objects without a namespace go to the client's
/// default namespace.
pub async fn apply_all(
    client: &kube::Client,
    manifests: &[Manifest],
) -> Vec<Result<Applied, ApplyError>> {
    let mut order: Vec<(usize, &Manifest)> = manifests.iter().enumerate().collect();
    order.sort_by_key(|(index, manifest)| (rank(manifest), *index));
    let mut groups = HashMap::new();
    let mut results = Vec::with_capacity(manifests.len());
    for (index, manifest) in order {
        let result = apply_one(client, manifest, &mut groups).await;
        results.push((index, result));
    }
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn rank(manifest: &Manifest) -> u8 {
    match manifest.kind() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "ConfigMap" | "Secret" => 2,
        _ => 3,
    }
}

async fn apply_one(
    client: &kube::Client,
    manifest: &Manifest,
    groups: &mut HashMap<String, Vec<Kind>>,
) -> Result<Applied, ApplyError> {
    let kind = find_kind(client, manifest, groups).await?;
    let namespace = kind.namespaced.then(|| {
        manifest
            .namespace()
            .unwrap_or_else(|| client.default_namespace())
            .to_owned()
    });
    let wanted = merge::prepare(&manifest.object, namespace.as_deref());
    let (outcome, object) = write(client, manifest, &kind, namespace.as_deref(), &wanted).await?;
    Ok(Applied {
        kind,
        namespace,
        name: manifest.name().to_owned(),
        outcome,
        object,
    })
}

/// Creates the object, or patches the one that is there.
async fn write(
    client: &kube::Client,
    manifest: &Manifest,
    kind: &Kind,
    namespace: Option<&str>,
    wanted: &Value,
) -> Result<(Outcome, Value), ApplyError> {
    let path = kind.path(namespace, Some(manifest.name()));
    for _ in 0..CONFLICTS_MAX {
        let live = match send(client, Method::GET, &path, AS_JSON, None).await {
            Ok(live) => live,
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                let collection = kind.path(namespace, None);
                match send(client, Method::POST, &collection, AS_JSON, Some(wanted)).await {
                    Ok(created) => return Ok((Outcome::Created, created)),
                    Err(kube::Error::Api(status)) if status.is_already_exists() => continue,
                    Err(error) => return Err(refused(manifest, error)),
                }
            }
            Err(error) => return Err(refused(manifest, error)),
        };
        let Some(patch) = merge::patch(wanted, &live) else {
            return Ok((Outcome::Unchanged, live));
        };
        let merge_patch = "application/merge-patch+json";
        match send(client, Method::PATCH, &path, merge_patch, Some(&patch)).await {
            Ok(changed) => {
                let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
                let same = version(&changed).is_some() && version(&changed) == version(&live);
                let outcome = if same {
                    Outcome::Unchanged
                } else {
                    Outcome::Configured
                };
                return Ok((outcome, changed));
            }
            // Deleted or changed in between: look again.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(refused(manifest, error)),
        }
    }
    let message = format!("others kept changing it; tried {CONFLICTS_MAX} times");
    Err(ApplyError::Conflict(Box::new(
        manifest.diagnostic("metadata.name", message),
    )))
}

/// Sends a JSON document, and gives the answer.
pub(super) async fn send(
    client: &kube::Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: Option<&Value>,
) -> Result<Value, kube::Error> {
    let body = body.map(|body| body.to_string().into());
    let mut request = request(method, path, AS_JSON, body)
        .map_err(|failure| kube::Error::Service(failure.to_string().into()))?;
    if let Ok(value) = http::HeaderValue::from_str(content_type) {
        request
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, value);
    }
    client.request(request).await
}

async fn find_kind(
    client: &kube::Client,
    manifest: &Manifest,
    groups: &mut HashMap<String, Vec<Kind>>,
) -> Result<Kind, ApplyError> {
    let api_version = manifest.api_version();
    if !groups.contains_key(api_version) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kinds = match kinds::of_group(client, group, version).await {
            Ok(kinds) => kinds,
            Err(kube::Error::Api(status)) if status.is_not_found() => Vec::new(),
            Err(error) => return Err(ApplyError::Client(Box::new(error))),
        };
        groups.insert(api_version.to_owned(), kinds);
    }
    let served = groups
        .get(api_version)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if let Some(kind) = served.iter().find(|kind| kind.kind == manifest.kind()) {
        return Ok(kind.clone());
    }
    let diagnostic = if served.is_empty() {
        let message = format!("the API has no version {api_version:?}");
        manifest.diagnostic("apiVersion", message)
    } else {
        let names: Vec<&str> = served.iter().map(|kind| kind.kind.as_str()).collect();
        let message = format!(
            "{api_version} has no kind {:?}; it has {}",
            manifest.kind(),
            names.join(", ")
        );
        manifest.diagnostic("kind", message)
    };
    Err(ApplyError::Refused(vec![diagnostic]))
}

/// Shows what the API says at the fields of the manifest.
fn refused(manifest: &Manifest, error: kube::Error) -> ApplyError {
    match error {
        kube::Error::Api(status) => ApplyError::Refused(diagnostics(manifest, &status)),
        error => ApplyError::Client(Box::new(error)),
    }
}

fn diagnostics(manifest: &Manifest, status: &Status) -> Vec<Diagnostic> {
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    if causes.is_empty() {
        let message = if status.message.is_empty() {
            format!("the API answered {}", status.code)
        } else {
            status.message.clone()
        };
        let field = if status.is_not_found() && manifest.namespace().is_some() {
            "metadata.namespace"
        } else {
            ""
        };
        return vec![manifest.diagnostic(field, message)];
    }
    let mut found: Vec<Diagnostic> = causes
        .iter()
        .map(|cause| manifest.diagnostic(&cause.field, cause.message.clone()))
        .collect();
    found.sort_by_key(|diagnostic| diagnostic.region.start);
    found
}

/// Applies what the arguments name.
///
/// # Errors
///
/// When a manifest is bad, the API cannot be reached, or it refuses one of them.
pub async fn run(args: ApplyArgs, context: &mut Context) -> Result<(), Failure> {
    let ApplyArgs {
        filename,
        global: _,
    } = args;
    let Loaded { resources, events } = manifest::load_with(&filename, &mut context.stdin)?;
    if let Some(event) = events.first() {
        let file = event
            .origin
            .rsplit_once(':')
            .map_or("FILE", |(file, _)| file);
        return Err(
            Failure::usage(format!("{} is a CloudEvent, not a resource", event.origin))
                .with_hint(format!("send it to a broker with `heddle send -f {file}`")),
        );
    }
    let api = context
        .api()
        .await?
        .with_default_namespace(&context.settings.namespace);
    let results = apply_all(api.client(), &resources).await;
    let mut failed = false;
    for result in results {
        match result {
            Ok(applied) => print(&applied, context)?,
            Err(ApplyError::Client(error)) => return Err(api.failure(*error)),
            Err(error) => {
                failed = true;
                writeln!(context.err, "{error}")?;
            }
        }
    }
    if failed {
        return Err(Failure::Reported { code: FAILED });
    }
    Ok(())
}

fn print(applied: &Applied, context: &mut Context) -> Result<(), Failure> {
    let out = &mut context.out;
    match context.settings.output {
        Some(Format::Json) => writeln!(out, "{}", applied.object)?,
        Some(Format::Yaml) => {
            let text = super::get::to_yaml(&applied.object)?;
            writeln!(out, "---\n{}", text.trim_end())?;
        }
        Some(Format::Name) => writeln!(out, "{}/{}", applied.kind.full_name(), applied.name)?,
        Some(Format::Wide) | None => writeln!(out, "{applied}")?,
    }
    Ok(())
}

impl Api {
    /// The same API with another default namespace for [`apply_all`].
    #[must_use]
    pub fn with_default_namespace(&self, namespace: &str) -> Self {
        let client = self.client().clone();
        let service = tower::service_fn(move |request| {
            let client = client.clone();
            async move { client.send(request).await }
        });
        Self::from_client(kube::Client::new(service, namespace), self.url())
    }
}

/// The text of an error of the client, for callers that have no [`Api`].
#[must_use]
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => root_cause(error),
    }
}
