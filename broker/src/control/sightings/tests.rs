use heddle_crds::eventing::{Broker, EventType};
use k8s_openapi::api::core::v1::ConfigMap;
use prometheus_client::encoding::text::encode;
use serde_json::{Value, json};

use super::*;
use crate::control::event_type::name_of;
use crate::event::EventBuilder;
use crate::log::memory::{MemoryOptions, MemoryStore};
use crate::log::{LogStore, Retention};

const LOG: &str = "broker/team/b/u";

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

struct Bench {
    sightings: Sightings,
    world: World,
    log: Arc<dyn Log>,
    open: OpenLogs,
    registry: Registry,
}

impl Bench {
    fn new() -> Self {
        let mut registry = Registry::default();
        let store = MemoryStore::new(MemoryOptions::default());
        let log = store.open(LOG, Retention::default()).unwrap();
        let open = OpenLogs::default();
        open.insert(LOG, Arc::clone(&log));
        let mut world = World::default();
        world.brokers.put(parse::<Broker>(json!({
            "apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
            "metadata": {"name": "b", "namespace": "team", "uid": "u"}, "spec": {},
        })));
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut bench = Self {
            sightings: Sightings::new(tracker, stop, &mut registry),
            world,
            log,
            open,
            registry,
        };
        bench.feature("enabled");
        bench
    }

    fn feature(&mut self, value: &str) {
        self.world.config_maps.put(parse::<ConfigMap>(json!({
            "metadata": {"name": "config-features", "namespace": "knative-eventing"},
            "data": {"eventtype-auto-create": value},
        })));
        let key = Key::new("ConfigMap", "knative-eventing", "config-features");
        self.sightings.heed(&self.world, &key);
        self.sightings.settle(&self.world, &self.open);
    }

    async fn append(&self, ty: &str, source: &str) {
        let event = EventBuilder::new("1", source, ty).build().unwrap();
        self.log.append(vec![event]).unwrap().await.unwrap();
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Makes the EventType of a sighting, as the API would.
    fn make(&mut self, sighting: &Sighting) -> bool {
        let Some(Write::Create(_, object)) = self.sightings.make(&self.world, sighting) else {
            return false;
        };
        let object = serde_json::to_value(object).unwrap();
        self.world.event_types.put(parse::<EventType>(object));
        true
    }
}

#[tokio::test(start_paused = true)]
async fn each_type_and_source_is_seen_once() {
    let mut bench = Bench::new();
    for (ty, source) in [
        ("a", "/1"),
        ("a", "/1"),
        ("a", "/2"),
        ("b", "/1"),
        ("a", "/1"),
        ("c", "/3"),
    ] {
        bench.append(ty, source).await;
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        let sighting = bench.sightings.next().await;
        assert!(bench.make(&sighting));
        seen.push((sighting.type_, sighting.source));
    }
    let wanted = [("a", "/1"), ("a", "/2"), ("b", "/1"), ("c", "/3")];
    assert_eq!(
        seen,
        wanted.map(|(ty, source)| (ty.to_owned(), source.to_owned()))
    );
    assert!(bench.sightings.waiting.is_empty());
    assert!(
        bench
            .metrics()
            .contains("heddle_event_types_made_total 4\n")
    );
}

#[tokio::test(start_paused = true)]
async fn event_types_are_made_no_faster_than_the_pace() {
    let mut bench = Bench::new();
    let started = Instant::now();
    for number in 0..11 {
        bench.append("t", &format!("/{number}")).await;
    }
    for _ in 0..11 {
        let sighting = bench.sightings.next().await;
        assert!(bench.make(&sighting));
    }
    assert!(started.elapsed() >= PACE * 10);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_one_is_made_anew_by_the_next_event() {
    let mut bench = Bench::new();
    bench.append("t", "/s").await;
    let sighting = bench.sightings.next().await;
    assert!(bench.make(&sighting));
    assert!(!bench.make(&sighting), "there is one");
    let name = name_of(&sighting);
    bench.world.event_types.remove("team", &name);
    bench
        .sightings
        .heed(&bench.world, &Key::new("EventType", "team", &name));
    bench.append("t", "/s").await;
    assert_eq!(bench.sightings.next().await, sighting);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_followed_while_the_feature_is_off() {
    let mut bench = Bench::new();
    bench.feature("disabled");
    assert!(bench.sightings.followed.is_empty());
    bench.append("t", "/before").await;
    bench.feature("enabled");
    bench.append("t", "/after").await;
    assert_eq!(bench.sightings.next().await.source, "/after");
    // A Broker that is gone is not followed either.
    bench.world.brokers.remove("team", "b");
    bench
        .sightings
        .heed(&bench.world, &Key::new("Broker", "team", "b"));
    bench.sightings.settle(&bench.world, &bench.open);
    assert!(bench.sightings.followed.is_empty());
    bench.sightings.tracker.close();
    bench.sightings.tracker.wait().await;
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_is_dropped_and_seen_again() {
    let mut bench = Bench::new();
    let one_too_many = format!("/{QUEUE}");
    for number in 0..=QUEUE {
        bench.append("t", &format!("/{number}")).await;
    }
    bench.append("t", &"x".repeat(MAX_TEXT + 1)).await;
    while bench.sightings.waiting.len() < QUEUE || !bench.metrics().contains("too_long") {
        tokio::time::sleep(PAUSE).await;
    }
    let metrics = bench.metrics();
    assert!(
        metrics.contains("heddle_event_types_dropped_total{reason=\"busy\"} 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains("heddle_event_types_dropped_total{reason=\"too_long\"} 1\n"));
    for _ in 0..QUEUE {
        let sighting = bench.sightings.next().await;
        assert_ne!(sighting.source, one_too_many);
    }
    bench.append("t", &one_too_many).await;
    assert_eq!(bench.sightings.next().await.source, one_too_many);
}
