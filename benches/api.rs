//! The embedded Kubernetes API: durable writes a second, lists, what a Trigger takes in memory,
//! how soon a watcher sees a change, and starts, with thousands of Triggers.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

mod support;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::Client;
use kube::api::{
    Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::json;
use support::process::Heddle;
use support::stats::spread;
use support::{Result, procfs, setting};
use tokio::task::JoinSet;

const KIB: f64 = 1024.0;
/// Clients that write at a time.
const WRITERS: u64 = 64;

fn main() -> std::process::ExitCode {
    support::main(bench)
}

fn bench() -> Result<()> {
    println!("{}", procfs::machine());
    let count = setting("HEDDLE_BENCH_TRIGGERS", 10_000);
    let watchers = setting("HEDDLE_BENCH_WATCHERS", 1_000);
    let runtime = tokio::runtime::Runtime::new()?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let mut heddle = Heddle::start(&data)?;
    let before = procfs::memory(heddle.process.pid())?.resident;
    runtime.block_on(async {
        let triggers = api(&data).await?;
        fill(&triggers, count).await?;
        settle(&triggers, count).await
    })?;
    let after = procfs::memory(heddle.process.pid())?.resident;
    println!(
        "memory: resident {before:.1} MiB before, {after:.1} MiB with {count} ready Triggers: {:.1} \
         KiB each",
        (after - before) * KIB / count as f64
    );
    runtime.block_on(async {
        list(&data, count).await?;
        visible(&data, 1).await?;
        visible(&data, watchers).await
    })?;

    let mut starts = Vec::new();
    for _ in 0..support::rounds() {
        heddle.process.terminate()?;
        heddle = Heddle::start(&data)?;
        starts.push(heddle.ready_after.as_secs_f64() * 1e3);
    }
    println!(
        "start with {count} Triggers: ready after {} ms; resident {:.1} MiB",
        spread(&starts).text(0),
        procfs::memory(heddle.process.pid())?.resident
    );
    Ok(())
}

async fn client(data: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(data.join("kubeconfig"))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The Triggers, through connections of its own.
async fn api(data: &Path) -> Result<Api<DynamicObject>> {
    let kind = kube::core::GroupVersionKind::gvk("eventing.knative.dev", "v1", "Trigger");
    let kind = ApiResource::from_gvk(&kind);
    Ok(Api::default_namespaced_with(client(data).await?, &kind))
}

fn trigger(name: &str, attribute: u64) -> serde_json::Value {
    json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name},
        "spec": {
            "broker": "default",
            "filter": {"attributes": {"type": format!("dev.heddle.benchmark.{attribute}")}},
            "subscriber": {"uri": "http://127.0.0.1:9/"},
        },
    })
}

/// Creates the Triggers with 64 writers at a time.
async fn fill(triggers: &Api<DynamicObject>, count: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let from = Instant::now();
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (triggers, next) = (triggers.clone(), Arc::clone(&next));
        writers.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    return anyhow::Ok(latencies);
                }
                let object = serde_json::from_value(trigger(&format!("t-{number}"), number))?;
                let at = Instant::now();
                triggers.create(&PostParams::default(), &object).await?;
                latencies.push(at.elapsed().as_secs_f64() * 1e3);
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = writers.join_next().await {
        latencies.extend(done??);
    }
    println!(
        "{count} creations by {WRITERS} writers: {:.0}/s, each durable; {} ms each",
        count as f64 / from.elapsed().as_secs_f64(),
        spread(&latencies).text(1)
    );
    Ok(())
}

/// Waits until all are ready, so that nothing else is being written.
async fn settle(triggers: &Api<DynamicObject>, count: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let list = triggers.list(&Default::default()).await?;
        let ready = list.iter().filter(|object| {
            let conditions = object.data["status"]["conditions"].as_array();
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
            })
        });
        let ready = ready.count() as u64;
        if ready >= count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{ready} of {count} are ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Lists all of them at once: until the last byte, without what a client does with them.
async fn list(data: &Path, count: u64) -> Result<()> {
    let client = client(data).await?;
    let (mut whole, mut bytes) = (Vec::new(), 0);
    for _ in 0..support::rounds().max(5) {
        let request =
            http::Request::get("/apis/eventing.knative.dev/v1/triggers").body(Vec::new())?;
        let at = Instant::now();
        bytes = client.request_text(request).await?.len();
        whole.push(at.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "list of {count} Triggers: {} ms, {:.1} MiB",
        spread(&whole).text(0),
        bytes as f64 / KIB / KIB
    );
    Ok(())
}

/// Applies Triggers one after the other, and measures until the last of so many watchers saw each.
async fn visible(data: &Path, watchers: u64) -> Result<()> {
    let applier = api(data).await?;
    let version = applier
        .list_metadata(&kube::api::ListParams::default().limit(1))
        .await?
        .metadata
        .resource_version
        .context("a list without a version")?;
    let (seen, mut arrivals) = tokio::sync::mpsc::channel::<(u64, Instant)>(4096);
    let mut watching = JoinSet::new();
    let watched = api(data).await?;
    for number in 0..watchers {
        let (watched, version, seen) = (watched.clone(), version.clone(), seen.clone());
        watching.spawn(async move {
            let params = WatchParams::default().labels("measured=yes").timeout(290);
            let mut events = watched.watch(&params, &version).await?.boxed();
            while let Some(event) = events.try_next().await? {
                let (WatchEvent::Added(_) | WatchEvent::Modified(_)) = event else {
                    continue;
                };
                if seen.send((number, Instant::now())).await.is_err() {
                    break;
                }
            }
            anyhow::Ok(())
        });
    }
    let apply = PatchParams::apply("benchmark").force();
    let (mut answered, mut first, mut last) = (vec![], vec![], vec![]);
    for round in 0..30_u64 {
        let mut object = trigger("measured", round);
        object["metadata"]["labels"] = json!({"measured": "yes"});
        while arrivals.try_recv().is_ok() {}
        let at = Instant::now();
        applier
            .patch("measured", &apply, &Patch::Apply(object))
            .await?;
        let answer = at.elapsed();
        let mut times = Vec::new();
        // The status that follows is another change: only the first of each counts.
        let mut told = HashSet::new();
        while times.len() < watchers as usize {
            let arrival = tokio::time::timeout(Duration::from_secs(10), arrivals.recv()).await;
            let (number, arrival) = arrival
                .context("a watcher saw nothing")?
                .context("no watcher")?;
            if told.insert(number) {
                times.push(arrival.duration_since(at).as_secs_f64() * 1e3);
            }
        }
        // The first round waits until all watches are open, and status writes follow an apply.
        tokio::time::sleep(Duration::from_millis(if watchers > 1 { 300 } else { 30 })).await;
        if round > 4 {
            answered.push(answer.as_secs_f64() * 1e3);
            first.push(times.first().copied().unwrap_or_default());
            last.push(times.last().copied().unwrap_or_default());
        }
    }
    println!(
        "one apply with {watchers} watchers: answered after {} ms, seen by the first after {} ms, \
         by the last after {} ms",
        spread(&answered).text(2),
        spread(&first).text(2),
        spread(&last).text(2)
    );
    watching.shutdown().await;
    Ok(())
}
