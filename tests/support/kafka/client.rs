//! A Kafka client for tests: makes topics, writes and reads records, and looks at groups.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::super::wait;

/// The longest that one request may take.
const REQUEST: Duration = Duration::from_secs(30);

/// A record to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record<'a> {
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    pub(crate) value: Option<&'a [u8]>,
}

/// See the module.
pub(crate) struct Client {
    config: ClientConfig,
    producer: FutureProducer,
}

impl Client {
    /// A client of the cluster at these servers.
    pub(crate) fn new(servers: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers).set("acks", "all");
        Self {
            producer: config.create().unwrap(),
            config,
        }
    }

    /// Makes a topic.
    pub(crate) async fn make(&self, topic: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config.create().unwrap();
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = admin.create_topics([&new], &AdminOptions::new()).await;
        made.unwrap().pop().unwrap().unwrap();
    }

    /// The number of partitions of each topic.
    pub(crate) fn topics(&self) -> BTreeMap<String, usize> {
        let client = self.producer.client();
        let metadata = client.fetch_metadata(None, REQUEST).unwrap();
        let topics = metadata.topics().iter();
        let topics = topics.map(|topic| (topic.name().to_owned(), topic.partitions().len()));
        topics.collect()
    }

    /// Waits until a topic is gone.
    pub(crate) async fn deleted(&self, topic: &str) {
        wait::until_now("the topic to be deleted", || {
            let topics = self.topics();
            if topics.contains_key(topic) {
                return Err(format!("{topics:?}"));
            }
            Ok(())
        })
        .await;
    }

    /// Deletes what is below an offset of a partition.
    pub(crate) async fn forget(&self, topic: &str, partition: i32, below: i64) {
        let admin: AdminClient<DefaultClientContext> = self.config.create().unwrap();
        let mut old = TopicPartitionList::new();
        let below = Offset::Offset(below);
        old.add_partition_offset(topic, partition, below).unwrap();
        let done = admin.delete_records(&old, &AdminOptions::new()).await;
        done.unwrap();
    }

    /// Writes a record, and waits until it is acknowledged.
    pub(crate) async fn write(&self, topic: &str, record: &Record<'_>) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            let value = Some(*value);
            headers = headers.insert(Header { key, value });
        }
        let mut to = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        to.partition = record.partition;
        to.key = record.key;
        to.payload = record.value;
        self.producer.send(to, REQUEST).await.unwrap();
    }

    /// Writes records with nothing but these values, one after the other.
    pub(crate) async fn write_values(&self, topic: &str, values: impl Iterator<Item = String>) {
        let sends = values.map(|value| async move {
            let record = Record {
                value: Some(value.as_bytes()),
                ..Record::default()
            };
            self.write(topic, &record).await;
        });
        futures::future::join_all(sends).await;
    }

    /// The offsets that a group has committed, and the ends of the partitions.
    pub(crate) fn progress(
        &self,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> (Vec<Option<i64>>, Vec<i64>) {
        let mut config = self.config.clone();
        let consumer: BaseConsumer = config.set("group.id", group).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, partitions - 1);
        let found = consumer.committed_offsets(asked, REQUEST).unwrap();
        let committed = found.elements().into_iter().map(|element| {
            let Offset::Offset(offset) = element.offset() else {
                return None;
            };
            Some(offset)
        });
        let end = |partition| {
            consumer
                .fetch_watermarks(topic, partition, REQUEST)
                .unwrap()
                .1
        };
        (committed.collect(), (0..partitions).map(end).collect())
    }

    /// Waits until a topic has so many records, and reads them.
    pub(crate) async fn read(&self, topic: &str, count: usize) -> Vec<OwnedMessage> {
        let mut config = self.config.clone();
        let config = config.set("group.id", "reader-of-tests");
        let consumer: BaseConsumer = config
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        let mut from = TopicPartitionList::new();
        let found = consumer.fetch_metadata(Some(topic), REQUEST).unwrap();
        for partition in found.topics()[0].partitions() {
            let (id, start) = (partition.id(), Offset::Beginning);
            from.add_partition_offset(topic, id, start).unwrap();
        }
        consumer.assign(&from).unwrap();
        let mut records = Vec::new();
        wait::until_now("the records of the topic", || {
            while let Some(record) = consumer.poll(Duration::ZERO) {
                records.extend(record.ok().map(|record| record.detach()));
            }
            if records.len() >= count {
                return Ok(());
            }
            Err(format!("{} of {count}", records.len()))
        })
        .await;
        records
    }
}
