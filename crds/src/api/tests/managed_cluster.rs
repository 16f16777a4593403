//! The rows of the table, written to a real kube-apiserver.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};

use super::rows::{self, Expected, Row, Step};
use super::{Managed, State};

/// The definition of the kind of the rows, as a kube-apiserver accepts it.
fn definition() -> CustomResourceDefinition {
    let mut schema = super::kind().schema.document();
    let spec = &mut schema["properties"]["spec"]["properties"];
    // The keys of a list must be required, or have defaults.
    spec["ports"]["items"]["required"] = json!(["port"]);
    spec["named"]["items"]["required"] = json!(["name"]);
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.test.heddle.dev"},
        "spec": {
            "group": "test.heddle.dev", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    }))
    .unwrap()
}

async fn cluster() -> Option<Client> {
    let Some(path) = std::env::var_os("HEDDLE_KUBECONFIG") else {
        eprintln!("HEDDLE_KUBECONFIG names no cluster, so nothing is compared with one");
        return None;
    };
    let config = Kubeconfig::read_from(path).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(config, &options).await;
    Some(Client::try_from(config.unwrap()).unwrap())
}

async fn install(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = definition();
    let params = PatchParams::apply("rows").force();
    let name = definition.name_any();
    definitions
        .patch(&name, &params, &Patch::Apply(&definition))
        .await
        .unwrap();
    let established = await_condition(definitions, &name, conditions::is_crd_established());
    tokio::time::timeout(std::time::Duration::from_secs(30), established)
        .await
        .unwrap()
        .unwrap();
}

async fn step(api: &Api<DynamicObject>, name: &str, step: &Step) -> Result<(), kube::Error> {
    let body = |spec: &Value| {
        let mut body = json!({
            "apiVersion": super::VERSION, "kind": "Widget", "metadata": {"name": name},
        });
        if spec.as_object().is_none_or(|fields| !fields.is_empty()) {
            body["spec"] = spec.clone();
        }
        serde_json::from_value::<DynamicObject>(body).unwrap()
    };
    match step {
        Step::Apply(by, spec) => {
            let params = PatchParams::apply(by);
            api.patch(name, &params, &Patch::Apply(body(spec))).await?;
        }
        Step::Force(by, spec) => {
            let params = PatchParams::apply(by).force();
            api.patch(name, &params, &Patch::Apply(body(spec))).await?;
        }
        Step::Update(by, spec) => {
            let params = PostParams {
                field_manager: Some((*by).to_owned()),
                ..PostParams::default()
            };
            match api.get_opt(name).await? {
                None => api.create(&params, &body(spec)).await?,
                Some(mut there) => {
                    there.data = json!({"spec": spec});
                    api.replace(name, &params, &there).await?
                }
            };
        }
    }
    Ok(())
}

async fn outcome(api: &Api<DynamicObject>, name: &str, row: &Row) -> Expected {
    for next in &row.steps {
        match step(api, name, next).await {
            Ok(()) => {}
            Err(kube::Error::Api(status)) => {
                let causes = status
                    .details
                    .map(|details| details.causes)
                    .unwrap_or_default();
                let line = |cause: &kube::core::response::StatusCause| {
                    let owner = cause.message.trim_start_matches("conflict with ");
                    format!("{owner} {}", cause.field)
                };
                let mut lines: Vec<String> = causes.iter().map(line).collect();
                if lines.is_empty() {
                    let message = status.message;
                    lines.push(message.rsplit("Kind=Widget): ").next().unwrap().to_owned());
                }
                lines.sort();
                return Expected::Refused(lines);
            }
            Err(error) => panic!("{}: {error}", row.name),
        }
    }
    let object = api.get(name).await.unwrap();
    let managed = serde_json::to_value(object.metadata.managed_fields).unwrap();
    let state = State {
        object: None,
        managed: Managed::decode(&managed).unwrap(),
        second: 0,
    };
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    Expected::Object(spec, state.owners())
}

#[tokio::test]
async fn a_kube_apiserver_does_the_same() {
    let Some(client) = cluster().await else {
        return;
    };
    install(&client).await;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("test.heddle.dev", "v1", "Widget"));
    let api: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
    let mut wrong = Vec::new();
    let all = rows::rows().into_iter().enumerate();
    for (at, row) in all.filter(|(_, row)| row.differs.is_none()) {
        let found = outcome(&api, &format!("row-{at}"), &row).await;
        if found != row.expected {
            wrong.push(format!(
                "{}\n  here  {:?}\n  there {found:?}",
                row.name, row.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
