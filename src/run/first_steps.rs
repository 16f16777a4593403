//! What a new process does before anybody asks: the first Broker, the manifests, their events.

use std::time::Duration;

use anyhow::Context;
use heddle_crds::eventing::{Broker, BrokerSpec};
use heddle_crds::kube::writer::resource_of;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DynamicObject, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};

use crate::cli::apply::apply_all;
use crate::cli::http::client as http_client;
use crate::cli::manifest::{EventDocument, Manifest};

/// What tells this installation from others that share servers with it: by Kubernetes' custom, the
/// uid of the namespace `kube-system` is that of the cluster. The first twelve digits are enough.
pub(super) async fn installation(client: &Client) -> anyhow::Result<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = namespaces.get("kube-system").await?.uid();
    let digits = uid
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(12)
        .collect();
    Ok(digits)
}

/// Makes the Broker `default` in the namespace `default`. One that is there is left as it is.
pub(super) async fn create_default_broker(client: &Client) -> anyhow::Result<()> {
    let api: Api<Broker> = Api::namespaced(client.clone(), "default");
    let broker = Broker::new("default", BrokerSpec::default());
    match api.create(&PostParams::default(), &broker).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error).context("the Broker default/default cannot be made"),
    }
    // Ready means that events are taken.
    match judged(client, "Broker", Some("default"), "default").await {
        None => Ok(()),
        Some(reason) => anyhow::bail!("the Broker default/default is not ready: {reason}"),
    }
}

/// How long the controllers may take to look at what was applied.
const LOOK: Duration = Duration::from_secs(10);

/// Applies all manifests, and waits until the controllers have judged them; the first that is refused
/// ends the process, since its author is watching. One that is not ready is reported, no more: what
/// it waits for may come later. The manifests end here: with their places in the files they take
/// more than all else that an idle process keeps of the resources, and nobody asks for them again.
pub(super) async fn apply(client: &Client, manifests: Vec<Manifest>) -> anyhow::Result<()> {
    let results = apply_all(client, &manifests).await;
    drop(manifests);
    let mut applied = Vec::with_capacity(results.len());
    for result in results {
        applied.push(result?);
    }
    for one in &applied {
        let kind = one.object["kind"].as_str().unwrap_or_default();
        match judged(client, kind, one.namespace.as_deref(), &one.name).await {
            Some(reason) => tracing::warn!(applied = %one, reason, "not ready"),
            None => tracing::info!(applied = %one, "ready"),
        }
    }
    Ok(())
}

/// Waits until the controllers have looked at an object; tells why it is not ready, if so. Kinds
/// that are only stored are ready at once.
async fn judged(
    client: &Client,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
) -> Option<String> {
    let namespace = namespace.filter(|_| kind != "ConfigMap")?;
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &resource_of(kind));
    let seen = await_condition(api.clone(), name, |object: Option<&DynamicObject>| {
        object.is_some_and(|object| ready(object).is_some())
    });
    if tokio::time::timeout(LOOK, seen).await.is_err() {
        return Some("the controllers have not looked at it yet".to_owned());
    }
    let object = api.get(name).await.ok()?;
    let (status, reason) = ready(&object)?;
    (status != "True").then_some(reason)
}

/// The status and the message of an object's Ready condition, once it is about the newest generation.
fn ready(object: &DynamicObject) -> Option<(String, String)> {
    let status = object.data.get("status")?;
    if status.get("observedGeneration")?.as_i64() != object.metadata.generation {
        return None;
    }
    let conditions = status.get("conditions")?.as_array()?;
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")?;
    let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
    let status = text("status");
    (status != "Unknown").then(|| (status, format!("{}: {}", text("reason"), text("message"))))
}

/// Sends the events that were among the manifests to the Broker `default` of the namespace `default`.
pub(super) async fn send(ingress: String, events: Vec<EventDocument>) -> anyhow::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let url = format!("{ingress}/default/default");
    let client = http_client(&ingress, "--listen", 1).map_err(|failure| {
        anyhow::anyhow!("the events of the manifests cannot be sent: {failure:?}")
    })?;
    for event in events {
        let answer = client
            .post(&url)
            .header(http::header::CONTENT_TYPE, "application/cloudevents+json")
            .body(event.json)
            .send()
            .await
            .with_context(|| format!("{}: {url} did not answer", event.origin))?;
        let status = answer.status();
        if !status.is_success() {
            let reason = answer.text().await.unwrap_or_default();
            anyhow::bail!("{}: {url} answered {status}: {reason}", event.origin);
        }
    }
    Ok(())
}
