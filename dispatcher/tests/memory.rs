//! What an idle consumer keeps in memory. There may be ten thousand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use std::time::Duration;

use heddle_broker::filter::{AttributesFilter, Filter};
use support::World;

/// What one more may keep, in bytes: its configuration, position and queue, with their names.
const BOUND: i64 = 2_816;
const COUNT: usize = 100;

/// Starts consumers with a filter each, and waits until they have nothing to do.
async fn start(world: &World, names: std::ops::Range<usize>) {
    for number in names.clone() {
        let mut config = world.consumer(&format!("consumer-{number}"), "http://127.0.0.1:9/");
        let wanted = format!("dev.heddle.test.{number}");
        config.filter = Filter::Attributes(AttributesFilter::new([("type", wanted.as_str())]));
        world.dispatcher.apply(config).await.unwrap();
    }
    let all = async {
        for number in names {
            let id = support::id(&format!("consumer-{number}"));
            while !world.dispatcher.stats(&id).unwrap().following {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("they have nothing to do");
}

#[test]
fn an_idle_consumer_is_small() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(async { World::new() });
    runtime.block_on(start(&world, 0..COUNT));
    let kept = allocation_counter::measure(|| {
        runtime.block_on(start(&world, COUNT..2 * COUNT));
    });
    let each = kept.bytes_current / COUNT as i64;
    println!("an idle consumer keeps {each} bytes");
    assert!(each < BOUND, "{each} bytes");
    // A count of nothing would be small as well.
    assert!(each > 512, "{each} bytes");
}
