//! The embedded Kubernetes API with thousands of Triggers, one row each:
//!
//! * creations by 64 clients at a time, each durable: a second, and how long each takes;
//! * "ready after": from before the first of these creations until the last Trigger is ready, which
//!   none is before its position is durable and its status says so; what is left of it after the last
//!   creation; and the syncs that all positions took together;
//! * what a ready Trigger takes in memory, ten seconds later, as allocators give back late;
//! * a list of all of them, and how soon one watcher and a thousand see a change;
//! * starts with all of them;
//! * deletions by 64 clients at a time; "gone after": from before the first until no consumer is left, and
//!   until no position is on disk, as the last write of positions tells (to a twentieth of a second).

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
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::json;
use support::process::{Heddle, is_ready};
use support::stats::spread;
use support::{Result, http, procfs, setting};
use tokio::task::JoinSet;

const KIB: f64 = 1024.0;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
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
        let from = Instant::now();
        fill(&triggers, count).await?;
        let filled = from.elapsed();
        wait_ready(&triggers, count).await?;
        let ready = from.elapsed();
        println!(
            "{count} Triggers ready after {:.2} s, {:.2} s after the last creation; {} syncs for their \
             positions",
            ready.as_secs_f64(),
            (ready - filled).as_secs_f64(),
            metric(&heddle, "heddle_position_groups_total")?
        );
        anyhow::Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(10));
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
    runtime.block_on(gone(&heddle, &data, count))
}

/// Everything that the process says of itself.
fn metrics(heddle: &Heddle) -> Result<String> {
    let (status, text) = http::call(heddle.admin, "GET", "/metrics", "")?;
    ensure!(status == 200, "the metrics are not there: {status}");
    Ok(text)
}

/// What a metric without labels is at.
fn metric(heddle: &Heddle, name: &str) -> Result<u64> {
    let metrics = metrics(heddle)?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.context("a metric that is missing")?.trim().parse()?)
}

/// When positions were written last, once none have been for three times as long as they wait at most.
async fn last_positions(heddle: &Heddle) -> Result<Instant> {
    let groups = || metric(heddle, "heddle_position_groups_total");
    let (mut before, mut last) = (groups()?, Instant::now());
    while last.elapsed() < Duration::from_millis(1_500) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = groups()?;
        if now != std::mem::replace(&mut before, now) {
            last = Instant::now();
        }
    }
    Ok(last)
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

/// Creates the Triggers.
async fn fill(triggers: &Api<DynamicObject>, count: u64) -> Result<()> {
    let create = |triggers: Api<DynamicObject>, number| async move {
        let object = serde_json::from_value(trigger(&format!("t-{number}"), number))?;
        triggers.create(&PostParams::default(), &object).await?;
        anyhow::Ok(())
    };
    each(triggers, count, "creations", create).await
}

/// Deletes the Triggers.
async fn clear(triggers: &Api<DynamicObject>, count: u64) -> Result<()> {
    let delete = |triggers: Api<DynamicObject>, number| async move {
        let name = format!("t-{number}");
        triggers.delete(&name, &DeleteParams::default()).await?;
        anyhow::Ok(())
    };
    each(triggers, count, "deletions", delete).await
}

/// Writes that many times, by 64 clients at a time.
async fn each<F>(
    triggers: &Api<DynamicObject>,
    count: u64,
    what: &str,
    write: impl Fn(Api<DynamicObject>, u64) -> F + Clone + Send + 'static,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let from = Instant::now();
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (triggers, next, write) = (triggers.clone(), Arc::clone(&next), write.clone());
        writers.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    return anyhow::Ok(latencies);
                }
                let at = Instant::now();
                write(triggers.clone(), number).await?;
                latencies.push(at.elapsed().as_secs_f64() * 1e3);
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = writers.join_next().await {
        latencies.extend(done??);
    }
    println!(
        "{count} {what} by {WRITERS} writers: {:.0}/s, each durable; {} ms each",
        count as f64 / from.elapsed().as_secs_f64(),
        spread(&latencies).text(1)
    );
    Ok(())
}

/// Waits until all are ready. The last that was made is looked at first: to list all of them again and
/// again would be the most of the work.
async fn wait_ready(triggers: &Api<DynamicObject>, count: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let last = format!("t-{}", count - 1);
    let ready = |object: &DynamicObject| is_ready(&object.data);
    while !ready(&triggers.get(&last).await?) {
        ensure!(Instant::now() < deadline, "{last} is not ready");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    loop {
        let list = triggers.list(&ListParams::default()).await?;
        let ready = list.iter().filter(|object| ready(object)).count() as u64;
        if ready >= count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{ready} of {count} are ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Deletes all of them, and waits until nothing is left of them.
async fn gone(heddle: &Heddle, data: &Path, count: u64) -> Result<()> {
    let from = Instant::now();
    clear(&api(data).await?, count).await?;
    while metrics(heddle)?.contains(r#"name="t-"#) {
        ensure!(
            from.elapsed() < PATIENCE,
            "consumers of deleted Triggers are left"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let gone = from.elapsed();
    let written = last_positions(heddle).await?.duration_since(from);
    println!(
        "consumers of {count} deleted Triggers gone after {:.2} s, their positions after {:.2} s",
        gone.as_secs_f64(),
        written.as_secs_f64()
    );
    Ok(())
}

/// Lists all of them at once: until the last byte, without what a client does with them.
async fn list(data: &Path, count: u64) -> Result<()> {
    let client = client(data).await?;
    let (mut whole, mut bytes) = (Vec::new(), 0);
    for _ in 0..support::rounds().max(5) {
        let request =
            ::http::Request::get("/apis/eventing.knative.dev/v1/triggers").body(Vec::new())?;
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
        .list_metadata(&ListParams::default().limit(1))
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
