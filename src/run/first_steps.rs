//! What a new process does before anybody asks: the first Broker, the manifests, their events.

use anyhow::Context;
use heddle_crds::eventing::{Broker, BrokerSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::cli::apply::apply_all;
use crate::cli::manifest::{EventDocument, Manifest};

/// Makes the Broker `default` in the namespace `default`. One that is there is left as it is.
pub(super) async fn create_default_broker(client: &Client) -> anyhow::Result<()> {
    let api: Api<Broker> = Api::namespaced(client.clone(), "default");
    let broker = Broker::new("default", BrokerSpec::default());
    match api.create(&PostParams::default(), &broker).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error).context("the Broker default/default cannot be made"),
    }
}

/// Applies all manifests; the first that is refused ends the process, since its author is watching.
pub(super) async fn apply(client: &Client, manifests: &[Manifest]) -> anyhow::Result<()> {
    for applied in apply_all(client, manifests).await {
        let applied = applied?;
        tracing::info!(%applied, "manifest applied");
    }
    Ok(())
}

/// Sends the events that were among the manifests to the Broker `default` of the namespace `default`.
pub(super) async fn send(ingress: String, events: Vec<EventDocument>) -> anyhow::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let url = format!("{ingress}/default/default");
    let client = reqwest::Client::builder().no_proxy().build()?;
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
