//! A producer of librdkafka with the settings that Heddle gives its own, which is given what
//! Heddle would make of the benchmark's events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext};

use super::support::load::DATA;
use super::support::{Result, http, turns};
use super::{KIND, PARTITIONS};

/// The turn in the ids of the events.
pub(crate) const RUN: u64 = 7;
/// Records under way while a topic is filled.
const WIDE: usize = 20_000;

/// What the acknowledgements change.
#[derive(Debug, Default)]
struct Shared {
    under_way: Mutex<usize>,
    less: Condvar,
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Acknowledged(Arc<Shared>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = match result {
            Ok(_) => &self.0.acknowledged,
            Err(_) => &self.0.failed,
        };
        counter.fetch_add(1, Relaxed);
        *self.0.under_way.lock() -= 1;
        self.0.less.notify_one();
    }
}

/// See the module.
pub(crate) struct Producing {
    producer: ThreadedProducer<Acknowledged>,
    shared: Arc<Shared>,
}

impl Producing {
    pub(crate) fn new(servers: &str) -> Result<Self> {
        let context = Acknowledged::default();
        let shared = Arc::clone(&context.0);
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", servers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "5000")
            .set("request.timeout.ms", "5000")
            .set("retry.backoff.ms", "50")
            .set("linger.ms", "1")
            .set("message.max.bytes", (64 << 20).to_string())
            .set("batch.size", "900000")
            .set("compression.type", "none")
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", (256 << 10).to_string());
        let producer = config.create_with_context(context)?;
        Ok(Self { producer, shared })
    }

    /// Sends one record when fewer than `window` are under way.
    fn send(&self, topic: &str, index: usize, data: &[u8], window: usize) -> Result<()> {
        let mut under_way = self.shared.under_way.lock();
        while *under_way >= window {
            self.shared.less.wait(&mut under_way);
        }
        *under_way += 1;
        drop(under_way);
        let id = http::id(RUN, index);
        let mut headers = OwnedHeaders::new_with_capacity(9);
        for (key, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", &id),
            ("ce_source", "/benchmark/generator"),
            ("ce_type", KIND),
            ("ce_knativearrivaltime", "2026-01-02T03:04:05.678901234Z"),
            ("ce_knativebrokerttl", "255"),
            ("content-type", "application/octet-stream"),
            (
                "heddle-shape",
                "b;datacontenttype;knativearrivaltime;knativebrokerttl:i",
            ),
            ("heddle-accepted", "1767323045678901234"),
        ] {
            let value = Some(value);
            headers = headers.insert(Header { key, value });
        }
        let partition = (index % PARTITIONS) as i32;
        let record = BaseRecord::<str, [u8]>::to(topic)
            .partition(partition)
            .headers(headers)
            .payload(data);
        self.producer.send(record).map_err(|(error, _)| error)?;
        Ok(())
    }

    /// Sends as fast as it goes with so many under way; gives what is acknowledged a second.
    pub(crate) fn measure(&self, topic: &str, window: usize) -> Result<f64> {
        let data: Vec<u8> = http::noise(DATA).collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| -> Result<()> {
                let mut index = 0;
                while !stop.load(Relaxed) {
                    self.send(topic, index, &data, window)?;
                    index += 1;
                }
                Ok(())
            });
            let rate = turns::rate_of(&self.shared.acknowledged);
            stop.store(true, Relaxed);
            let panicked = |_| anyhow::anyhow!("the producer's thread panicked");
            sending.join().map_err(panicked)??;
            self.finish()?;
            Ok(rate)
        })
    }

    /// Writes so many records with so much data each.
    pub(crate) fn fill(&self, topic: &str, count: usize, size: usize) -> Result<()> {
        let data: Vec<u8> = http::noise(size).collect();
        for index in 0..count {
            self.send(topic, index, &data, WIDE)?;
        }
        self.finish()
    }

    fn finish(&self) -> Result<()> {
        self.producer.flush(Duration::from_secs(60))?;
        let failed = self.shared.failed.load(Relaxed);
        anyhow::ensure!(failed == 0, "{failed} records were not acknowledged");
        Ok(())
    }
}
