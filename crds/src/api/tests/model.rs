//! Random operations against the API and against a simple model: both agree.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{Fixture, WIDGETS, fixture, raw, reopen, until, version};

#[derive(Clone, Debug)]
enum Step {
    Create {
        name: u8,
        owner: Option<u8>,
        held: bool,
    },
    Spec {
        name: u8,
        size: u8,
    },
    StaleSpec {
        name: u8,
    },
    Status {
        name: u8,
        value: u8,
    },
    Label {
        name: u8,
        value: u8,
    },
    Release {
        name: u8,
    },
    Delete {
        name: u8,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..5_u8;
    prop_oneof![
        4 => (name(), prop::option::of(name()), any::<bool>())
            .prop_map(|(name, owner, held)| Step::Create { name, owner, held }),
        3 => (name(), 1..4_u8).prop_map(|(name, size)| Step::Spec { name, size }),
        1 => name().prop_map(|name| Step::StaleSpec { name }),
        2 => (name(), 0..3_u8).prop_map(|(name, value)| Step::Status { name, value }),
        2 => (name(), 0..3_u8).prop_map(|(name, value)| Step::Label { name, value }),
        2 => name().prop_map(|name| Step::Release { name }),
        3 => name().prop_map(|name| Step::Delete { name }),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Expected {
    size: u8,
    status: Option<u8>,
    label: Option<u8>,
    generation: i64,
    held: bool,
    deleting: bool,
    owner: Option<String>,
    uid: String,
}

type Model = BTreeMap<u8, Expected>;

fn uri(name: u8) -> String {
    format!("{WIDGETS}/w{name}")
}

/// What must be gone because its owner is. Those that are held are marked.
fn collect(model: &mut Model) {
    loop {
        let uids: Vec<String> = model.values().map(|e| e.uid.clone()).collect();
        let orphan = model.iter().find_map(|(name, e)| {
            let gone = e.owner.as_ref().is_some_and(|owner| !uids.contains(owner));
            (gone && !e.deleting).then_some(*name)
        });
        let Some(name) = orphan else { return };
        delete(model, name);
    }
}

fn delete(model: &mut Model, name: u8) {
    match model.get_mut(&name) {
        Some(object) if object.held => {
            if !object.deleting {
                object.generation += 1;
            }
            object.deleting = true;
        }
        _ => {
            model.remove(&name);
        }
    }
}

async fn run(fixture: &Fixture, model: &mut Model, step: &Step) -> u16 {
    let code = match step {
        Step::Create { name, owner, held } => {
            return create(fixture, model, *name, *owner, *held).await;
        }
        Step::Spec { name, size } => {
            let (code, _) = fixture
                .merge(&uri(*name), &json!({"spec": {"size": size}}))
                .await;
            if let Some(object) = model.get_mut(name) {
                object.generation += i64::from(object.size != *size);
                object.size = *size;
            }
            code
        }
        Step::StaleSpec { name } => {
            let patch = json!({"metadata": {"resourceVersion": "1"}, "spec": {"size": 9}});
            let (code, _) = fixture.merge(&uri(*name), &patch).await;
            assert_eq!(code, if model.contains_key(name) { 409 } else { 404 });
            return code.as_u16();
        }
        Step::Status { name, value } => {
            let patch = json!({"status": {"n": value}, "spec": {"size": 200}});
            let (code, _) = fixture
                .merge(&format!("{}/status", uri(*name)), &patch)
                .await;
            if let Some(object) = model.get_mut(name) {
                object.status = Some(*value);
            }
            code
        }
        Step::Label { name, value } => {
            let patch = json!({"metadata": {"labels": {"n": value.to_string()}}});
            let (code, _) = fixture.merge(&uri(*name), &patch).await;
            if let Some(object) = model.get_mut(name) {
                object.label = Some(*value);
            }
            code
        }
        Step::Release { name } => {
            let patch = json!({"metadata": {"finalizers": null}});
            let (code, _) = fixture.merge(&uri(*name), &patch).await;
            assert_eq!(code.is_success(), model.contains_key(name));
            if let Some(object) = model.get_mut(name) {
                object.held = false;
                if object.deleting {
                    model.remove(name);
                }
            }
            return code.as_u16();
        }
        Step::Delete { name } => {
            let (code, _) = fixture.delete(&uri(*name)).await;
            assert_eq!(code.is_success(), model.contains_key(name));
            delete(model, *name);
            return code.as_u16();
        }
        Step::Reopen => return 200,
    };
    let (Step::Spec { name, .. } | Step::Status { name, .. } | Step::Label { name, .. }) = step
    else {
        return code.as_u16();
    };
    assert_eq!(
        code,
        if model.contains_key(name) { 200 } else { 404 },
        "{step:?}"
    );
    code.as_u16()
}

async fn create(
    fixture: &Fixture,
    model: &mut Model,
    name: u8,
    owner: Option<u8>,
    held: bool,
) -> u16 {
    let mut body = raw(&format!("w{name}"));
    if held {
        body["metadata"]["finalizers"] = json!(["heddle.dev/hold"]);
    }
    let owner_uid = owner.filter(|owner| *owner != name).map(|owner| {
        model
            .get(&owner)
            .map_or_else(|| "never-was".to_owned(), |object| object.uid.clone())
    });
    if let (Some(owner), Some(uid)) = (owner, &owner_uid) {
        body["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "test.heddle.dev/v1", "kind": "Widget", "name": format!("w{owner}"),
            "uid": uid,
        }]);
    }
    let (code, made) = fixture.post(WIDGETS, &body).await;
    if let std::collections::btree_map::Entry::Vacant(entry) = model.entry(name) {
        assert_eq!(code, 201, "{made}");
        let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
        let object = Expected {
            size: 1,
            generation: 1,
            held,
            owner: owner_uid,
            uid,
            ..Expected::default()
        };
        entry.insert(object);
    } else {
        assert_eq!(code, 409);
    }
    code.as_u16()
}

fn seen(item: &Value) -> (u8, Expected) {
    let metadata = &item["metadata"];
    let number = |v: &Value| v.as_u64().map(|n| u8::try_from(n).unwrap());
    let expected = Expected {
        size: number(&item["spec"]["size"]).unwrap(),
        status: number(&item["status"]["n"]),
        label: metadata["labels"]["n"].as_str().map(|n| n.parse().unwrap()),
        generation: metadata["generation"].as_i64().unwrap(),
        held: metadata["finalizers"].is_array(),
        deleting: metadata["deletionTimestamp"].is_string(),
        owner: metadata["ownerReferences"][0]["uid"]
            .as_str()
            .map(str::to_owned),
        uid: metadata["uid"].as_str().unwrap().to_owned(),
    };
    (
        metadata["name"].as_str().unwrap()[1..].parse().unwrap(),
        expected,
    )
}

async fn agree(fixture: &Fixture, model: &Model) {
    until("the store agrees with the model", async || {
        let (_, list) = fixture.get(WIDGETS).await;
        let stored: Model = list["items"].as_array().unwrap().iter().map(seen).collect();
        stored == *model
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_api_and_a_model_agree(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut fixture = fixture();
            let mut model = Model::new();
            let mut last = 0;
            for step in &steps {
                if matches!(step, Step::Reopen) {
                    fixture = reopen(fixture);
                }
                run(&fixture, &mut model, step).await;
                collect(&mut model);
                agree(&fixture, &model).await;
                let now = version(&fixture.get(WIDGETS).await.1);
                assert!(now >= last, "the version went back from {last} to {now}");
                last = now;
            }
        });
    }
}
