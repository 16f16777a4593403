//! The process is killed in the middle of moves, under load.

use std::time::Duration;

use serde_json::json;

use super::support::api::trigger;
use super::support::load::Load;
use super::support::{Heddle, Subscriber, report};
use super::{MOVES, Stage, keep_in, until_moved};

/// One move after the other, each with a kill at another moment after it was asked for. The topic has more
/// partitions than the other stores, so that they come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whenever_the_process_is_killed() {
    let Some(stage) = Stage::set(3).await else {
        return;
    };
    let Stage {
        _directory,
        _server,
        cluster: _cluster,
        data,
        mut heddle,
    } = stage;
    let subscriber = Subscriber::start().await;
    let all = trigger("all", "b", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&all).await;
    let load = Load::on(&heddle, "b", 3);
    load.acknowledged(50).await;
    for (step, store) in (0..).zip(MOVES) {
        keep_in(&heddle, "b", store).await;
        // No moment is better than another; these are spread over what a move takes.
        tokio::time::sleep(Duration::from_millis(step * 35)).await;
        heddle.kill();
        heddle = Heddle::up(&data).await;
        load.follow(&heddle);
        until_moved(&heddle, "b", store).await;
        load.acknowledged(20).await;
    }
    let outcome = load.end().await;
    let (repeated, others) = outcome.reaches(&subscriber).await;
    heddle.wait_stat("all", "backlog", 0).await;
    report::line(&format!(
        "{} acknowledged over 6 moves with a kill in each, 0 lost, {repeated} delivered again, \
         {} refused, {others} delivered though not acknowledged",
        outcome.acknowledged.len(),
        outcome.refused,
    ));
}
