//! Resources and events, as a user would write them.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::{Heddle, Response, wait};

/// A Trigger of `broker` that sends to `uri`. `spec` is merged in, and may hold `annotations`,
/// which move to the metadata.
pub(crate) fn trigger(name: &str, broker: &str, uri: &str, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"broker": broker, "subscriber": {"uri": uri}},
    });
    if let Value::Object(fields) = spec {
        for (field, value) in fields {
            let place = if field == "annotations" {
                &mut object["metadata"]
            } else {
                &mut object["spec"]
            };
            place[field] = value;
        }
    }
    object
}

/// A delivery specification that retries fast, so that no test waits.
pub(crate) fn fast_retries(retry: u32) -> Value {
    json!({"retry": retry, "backoffPolicy": "linear", "backoffDelay": "PT0.01S"})
}

impl Heddle {
    /// The URL of all resources of a kind in the namespace `default`.
    pub(crate) fn resources(&self, plural: &str) -> String {
        let group = match plural {
            "configmaps" | "secrets" => "/api/v1".to_owned(),
            "kafkasinks" => "/apis/eventing.knative.dev/v1alpha1".to_owned(),
            "kafkasources" => "/apis/sources.knative.dev/v1beta1".to_owned(),
            "channels" | "inmemorychannels" | "subscriptions" => {
                "/apis/messaging.knative.dev/v1".to_owned()
            }
            "kafkachannels" => "/apis/messaging.knative.dev/v1beta1".to_owned(),
            "natsjetstreamchannels" => "/apis/messaging.knative.dev/v1alpha1".to_owned(),
            "eventtypes" => "/apis/eventing.knative.dev/v1beta2".to_owned(),
            _ => "/apis/eventing.knative.dev/v1".to_owned(),
        };
        format!("{}{group}/namespaces/default/{plural}", self.api)
    }

    /// Creates a resource.
    pub(crate) async fn create(&self, plural: &str, object: &Value) -> Value {
        let url = self.resources(plural);
        self.http.post_json(&url, object).await.expect(201).json()
    }

    /// Creates a Trigger and waits until it is ready.
    pub(crate) async fn create_trigger(&self, object: &Value) {
        self.create("triggers", object).await;
        self.ready("triggers", object["metadata"]["name"].as_str().unwrap())
            .await;
    }

    /// Creates a Broker and waits until it is ready.
    pub(crate) async fn create_broker(&self, name: &str) {
        let object = json!({
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Broker",
            "metadata": {"name": name, "namespace": "default"},
        });
        self.create("brokers", &object).await;
        self.ready("brokers", name).await;
    }

    /// Waits until a resource's `Ready` is true for its newest generation.
    pub(crate) async fn ready(&self, plural: &str, name: &str) -> Value {
        let url = format!("{}/{name}", self.resources(plural));
        wait::until(&format!("{plural}/{name} to be ready"), || async {
            let answer = self.http.get(&url).await;
            if answer.status != 200 {
                return Err(format!("{} {}", answer.status, answer.text()));
            }
            let object = answer.json();
            let ready = condition(&object, "Ready")["status"] == "True";
            let observed = &object["status"]["observedGeneration"];
            if ready && *observed == object["metadata"]["generation"] {
                Ok(object)
            } else {
                Err(format!("{}", object["status"]))
            }
        })
        .await
    }

    /// What the dispatcher says of a Trigger.
    pub(crate) async fn stats(&self, trigger: &str) -> Value {
        let url = format!(
            "{}/api/v1/namespaces/default/triggers/{trigger}/stats",
            self.admin
        );
        self.http.get(&url).await.expect(200).json()
    }

    /// Waits until a number in a Trigger's stats is `value`.
    pub(crate) async fn wait_stat(&self, trigger: &str, field: &str, value: u64) -> Value {
        wait::until(&format!("{field} of {trigger} to be {value}"), || async {
            let stats = self.stats(trigger).await;
            match stats[field].as_u64() {
                Some(found) if found == value => Ok(stats),
                _ => Err(stats.to_string()),
            }
        })
        .await
    }

    /// Reads a Broker's log from its start.
    pub(crate) async fn events(&self, broker: &str, limit: usize) -> Vec<Value> {
        let url = format!(
            "{}/api/v1/namespaces/default/brokers/{broker}/events?from=earliest&limit={limit}",
            self.admin
        );
        let text = self.http.get(&url).await.expect(200).text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Posts an event in binary mode and gives the answer, whatever it is.
    pub(crate) async fn post(&self, broker: &str, event: &Event<'_>) -> Response {
        self.post_to(&self.broker(broker), event).await
    }

    /// The same at any address.
    pub(crate) async fn post_to(&self, url: &str, event: &Event<'_>) -> Response {
        let (headers, data) = (event.headers(), event.data.clone());
        self.http.send(Method::POST, url, &headers, data).await
    }

    /// Deletes a resource.
    pub(crate) async fn delete(&self, plural: &str, name: &str) {
        let url = format!("{}/{name}", self.resources(plural));
        let sent = self.http.send(Method::DELETE, &url, &[], "");
        sent.await.expect(200);
    }

    /// Posts an event that must be accepted.
    pub(crate) async fn accepted(&self, broker: &str, event: &Event<'_>) {
        self.post(broker, event).await.expect(202);
    }
}

/// One condition of a resource; null where it has none of that type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    object["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|c| c["type"] == kind))
        .unwrap_or(&Value::Null)
}

/// An event in binary mode.
#[derive(Clone, Debug)]
pub(crate) struct Event<'a> {
    id: &'a str,
    kind: &'a str,
    more: Vec<(&'a str, &'a str)>,
    data: Bytes,
}

impl<'a> Event<'a> {
    pub(crate) fn new(id: &'a str, kind: &'a str) -> Self {
        Self {
            id,
            kind,
            more: Vec::new(),
            data: Bytes::from_static(b"{}"),
        }
    }

    /// With one more header (`ce-subject`).
    pub(crate) fn with(mut self, header: &'a str, value: &'a str) -> Self {
        self.more.push((header, value));
        self
    }

    pub(crate) fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    fn headers(&self) -> Vec<(&'a str, &'a str)> {
        let mut headers = vec![
            ("ce-specversion", "1.0"),
            ("ce-id", self.id),
            ("ce-type", self.kind),
            ("ce-source", "/tests"),
        ];
        if !self.more.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        headers.extend(&self.more);
        headers
    }
}
