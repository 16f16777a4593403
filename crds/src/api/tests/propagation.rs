//! Random deletions with propagation policies, owners and finalizers, against a model: who stays,
//! who goes and who waits is what the rules say, and a watch tells all of it once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{Fixture, WIDGETS, fixture, raw, reopen, until, version};
use crate::api::http as protocol;

const HOLD: &str = "heddle.dev/hold";
const FOREGROUND: &str = "foregroundDeletion";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Background,
    Foreground,
    Orphan,
}

#[derive(Clone, Debug)]
enum Step {
    /// With these owners, each of which it blocks or not.
    Create {
        name: u8,
        owners: Vec<(u8, bool)>,
        held: bool,
    },
    Touch {
        name: u8,
        size: u8,
    },
    Adopt {
        name: u8,
        owner: u8,
        blocks: bool,
    },
    Disown {
        name: u8,
    },
    Release {
        name: u8,
    },
    Delete {
        name: u8,
        policy: Option<Policy>,
    },
    Reopen,
}

/// How many names there are.
const NAMES: u8 = 6;

/// Owners, and whether they are to wait.
fn owners(most: usize) -> impl Strategy<Value = Vec<(u8, bool)>> {
    prop::collection::vec((0..NAMES, prop::bool::weighted(0.8)), 0..=most)
}

/// A family to begin with: everybody but the first has somebody before as an owner, mostly.
fn family(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let member = (owners(most), prop::bool::weighted(0.4));
    prop::collection::vec(member, usize::from(NAMES)).prop_map(|members| {
        let create = |(name, (owners, held)): (u8, (Vec<(u8, bool)>, bool))| Step::Create {
            name,
            owners: owners
                .into_iter()
                .filter_map(|(owner, blocks)| Some((owner.checked_rem(name)?, blocks)))
                .collect(),
            held,
        };
        (0..NAMES).zip(members).map(create).collect()
    })
}

/// Steps that give each object at most so many owners.
fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..NAMES;
    let policy = prop::sample::select(vec![
        Policy::Background,
        Policy::Foreground,
        Policy::Foreground,
        Policy::Orphan,
    ]);
    let step = prop_oneof![
        4 => (name(), owners(most), prop::bool::weighted(0.3))
            .prop_map(|(name, owners, held)| Step::Create { name, owners, held }),
        1 => (name(), 1..4_u8).prop_map(|(name, size)| Step::Touch { name, size }),
        1 => (name(), name(), any::<bool>())
            .prop_map(|(name, owner, blocks)| Step::Adopt { name, owner, blocks }),
        1 => name().prop_map(|name| Step::Disown { name }),
        2 => name().prop_map(|name| Step::Release { name }),
        7 => (name(), prop::option::weighted(0.8, policy))
            .prop_map(|(name, policy)| Step::Delete { name, policy }),
        1 => Just(Step::Reopen),
    ];
    (family(most), prop::collection::vec(step, 1..20))
        .prop_map(|(family, steps)| [family, steps].concat())
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    uid: String,
    size: u8,
    /// Identities, and whether their foreground deletion waits for this one.
    owners: Vec<(String, bool)>,
    held: bool,
    foreground: bool,
    orphan: bool,
    deleting: bool,
}

impl Node {
    /// Whether it goes after its dependents.
    fn waits(&self) -> bool {
        self.deleting && self.foreground && !self.orphan
    }

    fn is_free(&self) -> bool {
        !self.held && !self.foreground && !self.orphan
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model(BTreeMap<u8, Node>);

impl Model {
    fn uid(&self, name: u8) -> Option<&str> {
        self.0.get(&name).map(|node| node.uid.as_str())
    }

    fn of_uid(&self, uid: &str) -> Option<&Node> {
        self.0.values().find(|node| node.uid == uid)
    }

    fn delete(&mut self, name: u8, policy: Option<Policy>) {
        let Some(node) = self.0.get_mut(&name) else {
            return;
        };
        if let Some(policy) = policy {
            node.foreground = policy == Policy::Foreground;
            node.orphan = policy == Policy::Orphan;
        }
        node.deleting = true;
        self.drop_if_free(name);
    }

    fn drop_if_free(&mut self, name: u8) {
        let goes = |node: &Node| node.deleting && node.is_free();
        if self.0.get(&name).is_some_and(goes) {
            self.0.remove(&name);
        }
    }

    /// What follows, until nothing follows: all that goes with an owner is going before the owner
    /// looks whether it still waits.
    fn settle(&mut self) {
        loop {
            let before = self.clone();
            before.0.keys().for_each(|name| self.follow(*name));
            before.0.keys().for_each(|name| self.let_go(*name));
            if *self == before {
                return;
            }
        }
    }

    /// An owner that is being deleted is done with its dependents, where it is.
    fn let_go(&mut self, name: u8) {
        let Some(node) = self.0.get(&name).filter(|node| node.deleting).cloned() else {
            return;
        };
        let blocks = |other: &Node| other.owners.contains(&(node.uid.clone(), true));
        let blocked = self.0.values().any(blocks);
        if node.orphan {
            for other in self.0.values_mut() {
                other.owners.retain(|(uid, _)| *uid != node.uid);
            }
        }
        if let Some(node) = self.0.get_mut(&name) {
            node.foreground &= blocked;
            node.orphan = false;
        }
        self.drop_if_free(name);
    }

    /// A dependent goes as its owners do.
    fn follow(&mut self, name: u8) {
        let Some(node) = self.0.get(&name).filter(|node| !node.deleting).cloned() else {
            return;
        };
        let dependents = || {
            let names = |other: &&Node| other.owners.iter().any(|(uid, _)| *uid == node.uid);
            self.0.values().filter(names)
        };
        let solid = |uid: &str| self.of_uid(uid).is_some_and(|owner| !owner.waits());
        let kept: Vec<_> = node
            .owners
            .iter()
            .filter(|(uid, _)| solid(uid))
            .cloned()
            .collect();
        if kept.len() == node.owners.len() {
            return;
        }
        if !kept.is_empty() {
            if let Some(node) = self.0.get_mut(&name) {
                node.owners = kept;
            }
            return;
        }
        let awaited = node
            .owners
            .iter()
            .any(|(uid, _)| self.of_uid(uid).is_some());
        let foreground = awaited && dependents().next().is_some();
        // An owner that waits for one of those that it waits for itself would wait for ever.
        if foreground
            && dependents().any(Node::waits)
            && let Some(node) = self.0.get_mut(&name)
        {
            node.owners
                .iter_mut()
                .for_each(|(_, blocks)| *blocks = false);
        }
        self.delete(name, foreground.then_some(Policy::Foreground));
    }

    /// What holds of objects at rest, whatever the order in which they got there.
    fn rests(&self) -> bool {
        self.0.values().all(|node| {
            if node.deleting {
                let blocks = |other: &Node| other.owners.contains(&(node.uid.clone(), true));
                let blocked = self.0.values().any(blocks);
                !node.orphan && (node.held || node.foreground) && (!node.foreground || blocked)
            } else {
                let solid = |owner: &Node| !owner.waits();
                node.owners
                    .iter()
                    .all(|(uid, _)| self.of_uid(uid).is_some_and(solid))
            }
        })
    }
}

fn uri(name: u8) -> String {
    format!("{WIDGETS}/w{name}")
}

fn reference(owner: u8, uid: &str, blocks: bool) -> Value {
    json!({
        "apiVersion": "test.heddle.dev/v1", "kind": "Widget", "name": format!("w{owner}"),
        "uid": uid, "blockOwnerDeletion": blocks,
    })
}

fn read(item: &Value) -> (u8, Node) {
    let metadata = &item["metadata"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = |field: &str| metadata[field].as_array().cloned().unwrap_or_default();
    let has = |name: &str| {
        items("finalizers")
            .iter()
            .any(|finalizer| finalizer == name)
    };
    let node = Node {
        uid: text(&metadata["uid"]),
        size: u8::try_from(item["spec"]["size"].as_u64().unwrap()).unwrap(),
        owners: items("ownerReferences")
            .iter()
            .map(|owner| (text(&owner["uid"]), owner["blockOwnerDeletion"] == true))
            .collect(),
        held: has(HOLD),
        foreground: has(FOREGROUND),
        orphan: has("orphan"),
        deleting: metadata["deletionTimestamp"].is_string(),
    };
    (text(&metadata["name"])[1..].parse().unwrap(), node)
}

async fn stored(fixture: &Fixture) -> Model {
    let (_, list) = fixture.get(WIDGETS).await;
    Model(list["items"].as_array().unwrap().iter().map(read).collect())
}

/// Does a step to the API and to the model.
async fn run(fixture: &Fixture, model: &mut Model, step: &Step) {
    match step {
        Step::Create { name, owners, held } => create(fixture, model, *name, owners, *held).await,
        Step::Touch { name, size } => {
            let change = json!({"spec": {"size": size}});
            let (code, _) = fixture.merge(&uri(*name), &change).await;
            assert_eq!(code.is_success(), model.0.contains_key(name));
            if let Some(node) = model.0.get_mut(name) {
                node.size = *size;
            }
        }
        Step::Adopt {
            name,
            owner,
            blocks,
        } => {
            // A name below another, so that nobody comes to own itself.
            let (Some(uid), true) = (model.uid(*owner).map(str::to_owned), owner < name) else {
                return;
            };
            let owners = json!([reference(*owner, &uid, *blocks)]);
            own(fixture, model, *name, owners, vec![(uid, *blocks)]).await;
        }
        Step::Disown { name } => own(fixture, model, *name, json!([]), Vec::new()).await,
        Step::Release { name } => {
            let Some(node) = model.0.get_mut(name) else {
                return;
            };
            node.held = false;
            let left: Vec<&str> = node.foreground.then_some(FOREGROUND).into_iter().collect();
            let change = json!({"metadata": {"finalizers": left}});
            assert_eq!(fixture.merge(&uri(*name), &change).await.0, 200);
            model.drop_if_free(*name);
        }
        Step::Delete { name, policy } => {
            let body = match policy {
                None => String::new(),
                Some(policy) => json!({"propagationPolicy": format!("{policy:?}")}).to_string(),
            };
            let (code, _) = fixture
                .call(Method::DELETE, &uri(*name), "application/json", body)
                .await;
            assert_eq!(code.is_success(), model.0.contains_key(name));
            model.delete(*name, *policy);
        }
        Step::Reopen => {}
    }
}

async fn own(
    fixture: &Fixture,
    model: &mut Model,
    name: u8,
    references: Value,
    owners: Vec<(String, bool)>,
) {
    let change = json!({"metadata": {"ownerReferences": references}});
    let (code, _) = fixture.merge(&uri(name), &change).await;
    assert_eq!(code.is_success(), model.0.contains_key(&name));
    if let Some(node) = model.0.get_mut(&name) {
        node.owners = owners;
    }
}

async fn create(fixture: &Fixture, model: &mut Model, name: u8, owners: &[(u8, bool)], held: bool) {
    let mut owners: Vec<(u8, bool)> = owners.iter().filter(|(o, _)| *o < name).copied().collect();
    owners.sort_unstable();
    owners.dedup_by_key(|(owner, _)| *owner);
    let owned: Vec<(String, bool)> = owners
        .iter()
        .map(|(owner, blocks)| (model.uid(*owner).unwrap_or("never-was").to_owned(), *blocks))
        .collect();
    let references = owners.iter().zip(&owned);
    let references = references.map(|((owner, blocks), (uid, _))| reference(*owner, uid, *blocks));
    let mut body = raw(&format!("w{name}"));
    body["metadata"]["ownerReferences"] = references.collect();
    if held {
        body["metadata"]["finalizers"] = json!([HOLD]);
    }
    let (code, made) = fixture.post(WIDGETS, &body).await;
    assert_eq!(code == 201, !model.0.contains_key(&name), "{made}");
    if code == 201 {
        let (_, node) = read(&made);
        assert_eq!(node.owners, owned);
        model.0.insert(name, node);
    }
}

/// What a watch from a version tells up to the newest one leads from the one state to the other.
async fn follow(fixture: &Fixture, from: u64, mut state: Model) {
    let (_, list) = fixture.get(WIDGETS).await;
    let (newest, expected) = (version(&list), stored(fixture).await);
    let uri = format!("{WIDGETS}?watch=true&resourceVersion={from}");
    let request = Request::get(uri).body(Full::new(Bytes::new())).unwrap();
    let response = protocol::handle(Arc::clone(&fixture.api.inner), request).await;
    let mut body = response.into_body();
    let (mut at, mut text) = (from, Vec::new());
    while at < newest {
        let frame = body.frame().await.unwrap().unwrap();
        text.extend_from_slice(&frame.into_data().unwrap());
        // Chunks end with lines.
        for line in std::mem::take(&mut text).split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            let event: Value = serde_json::from_slice(line).unwrap();
            let next = version(&event["object"]);
            assert!(next > at, "{next} after {at}");
            at = next;
            let (name, node) = read(&event["object"]);
            let before = match event["type"].as_str().unwrap() {
                "DELETED" => state.0.remove(&name).map(|node| node.uid),
                "MODIFIED" => state.0.insert(name, node.clone()).map(|node| node.uid),
                _ => {
                    let known = state.0.insert(name, node.clone());
                    known.is_none().then(|| node.uid.clone())
                }
            };
            assert_eq!(before.as_deref(), Some(node.uid.as_str()), "{event}");
        }
    }
    assert_eq!(state, expected);
}

/// Runs the steps. With `exactly` the API must come to what the model comes to, and otherwise to
/// any state of rest.
fn check(steps: &[Step], exactly: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut fixture = fixture();
        let mut model = Model::default();
        let mut begun = (version(&fixture.get(WIDGETS).await.1), Model::default());
        for step in steps {
            if matches!(step, Step::Reopen) {
                follow(&fixture, begun.0, begun.1).await;
                fixture = reopen(fixture);
                begun = (version(&fixture.get(WIDGETS).await.1), model.clone());
            }
            run(&fixture, &mut model, step).await;
            if exactly {
                model.settle();
                assert!(model.rests(), "{model:?}");
                until("the store agrees with the model", async || {
                    stored(&fixture).await == model
                })
                .await;
            } else {
                until("the store rests", async || stored(&fixture).await.rests()).await;
                model = stored(&fixture).await;
            }
        }
        follow(&fixture, begun.0, begun.1).await;
    });
}

#[test]
fn an_owner_does_not_wait_for_what_waits_already() {
    let create = |name: u8, held| Step::Create {
        name,
        owners: name
            .checked_sub(1)
            .map(|owner| (owner, true))
            .into_iter()
            .collect(),
        held,
    };
    let foreground = |name| Step::Delete {
        name,
        policy: Some(Policy::Foreground),
    };
    let family = [
        create(0, false),
        create(1, false),
        create(2, false),
        create(3, true),
    ];
    let end = [foreground(2), foreground(0), Step::Release { name: 3 }];
    check(&[&family[..], &end[..]].concat(), true);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_tree_of_owners_goes_as_the_rules_say(steps in steps(1)) {
        check(&steps, true);
    }

    #[test]
    fn whoever_has_several_owners_comes_to_rest(steps in steps(3)) {
        check(&steps, false);
    }
}
