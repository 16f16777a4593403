//! One member of a consumer group: a thread that polls, and what the group tells it.
//!
//! A partition that is assigned becomes a [`Partition`] and a consumer of the dispatcher; one that is
//! taken away lets deliveries under way end, tells the group how far it has come, and goes. Whatever
//! goes wrong ends the session; the thread begins another one after a while. So every state that the
//! library may be in is left in one way.
//!
//! # Where a partition starts
//!
//! The group's offset counts, because others may have read on meanwhile, or somebody may have set it.
//! Only where this installation wrote it itself, which its metadata say, does the position in our own store
//! count, which is never behind it: it also knows what is done above the offset, and how often the
//! rest was tried. A group without an offset starts where the source says, and is told so at once.
//!
//! # Laws
//!
//! 1. The group is told nothing that is not done with durably: acknowledged by the sink, or by its dead
//!    letter sink, or kept as a dead letter.
//! 2. A partition is read, delivered and committed only between its assignment and its revocation.
//! 3. The thread ends when it is told to, and leaves no task behind.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use heddle_broker::log::{Log, Offset};
use heddle_dispatcher::config::{ConsumerId, Source};
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::partition::{Opened, Partition, Trouble};
use super::source::Shared;
use super::{Initial, SourceConfig};

/// How long one poll waits. What is asked of the thread meanwhile waits as long.
const POLL: Duration = Duration::from_millis(200);
/// How long a request to the servers may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How often the group is told how far deliveries have come.
const COMMIT: Duration = Duration::from_secs(1);
/// How long deliveries may go on when their partition is taken away.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The wait after a session that failed, doubled with each up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Which member it is, and of what.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) shared: Arc<Shared>,
    pub(super) config: Arc<SourceConfig>,
    /// Its number among those of the source, from 0.
    pub(super) number: u32,
    pub(super) runtime: Handle,
    pub(super) stop: CancellationToken,
}

type Place = (Arc<str>, i32);

/// What the callbacks of one session know.
pub(super) struct Session {
    member: Arc<Member>,
    consumer: OnceLock<Weak<BaseConsumer<Self>>>,
    partitions: Mutex<BTreeMap<Place, Assigned>>,
    trouble: Trouble,
}

/// A partition that is ours for now.
#[derive(Debug)]
struct Assigned {
    log: Arc<Partition>,
    /// What the group was told last.
    committed: Offset,
}

/// Where a partition starts.
#[derive(Debug)]
struct Start {
    at: Offset,
    /// The oldest offset that is kept, and the one after the newest.
    kept: (Offset, Offset),
    /// Whether the group has an offset.
    told: bool,
}

impl Member {
    /// Runs until it is stopped. Blocks.
    pub(super) fn run(self: Arc<Self>) {
        let mut wait = BACKOFF.0;
        while !self.stop.is_cancelled() {
            let begun = Instant::now();
            let Err(reason) = self.session() else {
                continue;
            };
            self.shared.report.failed(self.number, &reason);
            if begun.elapsed() > 2 * BACKOFF.1 {
                wait = BACKOFF.0;
            }
            let pause = self.stop.run_until_cancelled(tokio::time::sleep(wait));
            self.runtime.block_on(pause);
            wait = (2 * wait).min(BACKOFF.1);
        }
        self.shared.report.left(self.number);
    }

    /// One time in the group, until it is stopped or something goes wrong.
    fn session(self: &Arc<Self>) -> Result<(), String> {
        let session = Session {
            member: Arc::clone(self),
            consumer: OnceLock::new(),
            partitions: Mutex::default(),
            trouble: Trouble::default(),
        };
        let consumer: BaseConsumer<Session> = self
            .client_config()
            .create_with_context(session)
            .map_err(|error| error.to_string())?;
        let consumer = Arc::new(consumer);
        let session = Arc::clone(consumer.context());
        let _ = session.consumer.set(Arc::downgrade(&consumer));
        self.check_topics(&consumer)?;
        let topics: Vec<&str> = self.config.topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&topics)
            .map_err(|error| error.to_string())?;
        let outcome = self.follow(&consumer, &session);
        session.give_up_all(&consumer);
        // The library's own end: the group hears of it, and all callbacks have been made.
        drop(consumer);
        outcome
    }

    fn follow(&self, consumer: &BaseConsumer<Session>, session: &Session) -> Result<(), String> {
        let mut next_commit = Instant::now() + COMMIT;
        while !self.stop.is_cancelled() {
            match consumer.poll(POLL) {
                // Records come by the queues of their partitions; one that was on its way before its
                // queue was there is read again from there.
                None | Some(Ok(_)) => {}
                Some(Err(error)) if is_grave(&error) => return Err(error.to_string()),
                Some(Err(error)) => tracing::debug!(source = %self.shared.name, %error, "polling"),
            }
            if let Some(reason) = session.trouble.take() {
                return Err(reason);
            }
            if Instant::now() >= next_commit {
                session.commit(consumer, CommitMode::Async);
                next_commit = Instant::now() + COMMIT;
            }
        }
        Ok(())
    }

    fn client_config(&self) -> rdkafka::ClientConfig {
        let SourceConfig { access, group, .. } = &*self.config;
        let mut config = access.config();
        let instance = format!("{}-{}", self.shared.marker, self.number);
        config
            .set("group.id", group)
            // The same member after a restart, whose partitions need not be shared out anew.
            .set("group.instance.id", instance)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "3000")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("statistics.interval.ms", "2000")
            // For each partition; what is fetched at once may come on top.
            .set("queued.max.messages.kbytes", "1024")
            .set("queued.min.messages", "1000")
            .set("fetch.message.max.bytes", "524288");
        config
    }

    /// All topics have to be there: the library would be silent about one that is not.
    fn check_topics(&self, consumer: &BaseConsumer<Session>) -> Result<(), String> {
        for topic in &self.config.topics {
            let found =
                consumer
                    .fetch_metadata(Some(topic), REQUEST)
                    .map_err(|error| match error.rdkafka_error_code() {
                        Some(code) => format!("{}: {code}", self.unreachable()),
                        None => format!("{}: {error}", self.unreachable()),
                    })?;
            let error = found.topics().iter().find_map(|topic| topic.error());
            if let Some(error) = error {
                self.shared.report.reached(self.number);
                return Err(trouble_with(topic, error.into()));
            }
        }
        self.shared.report.reached(self.number);
        Ok(())
    }

    /// That the servers are away, and which.
    fn unreachable(&self) -> String {
        format!(
            "the Kafka servers {} cannot be reached",
            self.config.access.servers
        )
    }
}

impl Session {
    /// Opens what was assigned, and lets the library fetch it.
    fn take_over(
        &self,
        consumer: &BaseConsumer<Self>,
        assigned: &TopicPartitionList,
    ) -> Result<(), String> {
        let shared = &self.member.shared;
        let own = self.consumer.get().and_then(Weak::upgrade);
        let own = own.ok_or("the session has ended")?;
        let committed = consumer
            .committed_offsets(assigned.clone(), REQUEST)
            .map_err(|error| format!("the offsets of the group cannot be read: {error}"))?;
        let mut start = TopicPartitionList::new();
        let mut fresh = TopicPartitionList::new();
        let mut opened = Vec::new();
        for element in committed.elements() {
            let (topic, number) = (element.topic(), element.partition());
            let what = |error| format!("{topic} partition {number}: {error}");
            let Start { at, kept, told } = self.start_of(consumer, &element).map_err(what)?;
            let id = shared.consumer_id(topic, number);
            if !told || element.metadata() != shared.marker {
                shared.dispatcher.disown(&id);
            }
            let offset = rdkafka::Offset::Offset(i64::try_from(at).unwrap_or(i64::MAX));
            if !told {
                let mut element = fresh.add_partition(topic, number);
                element.set_offset(offset).map_err(what)?;
                element.set_metadata(&shared.marker);
            }
            start
                .add_partition_offset(topic, number, offset)
                .map_err(what)?;
            let records = own.split_partition_queue(topic, number);
            let log = Partition::open(Opened {
                topic: topic.into(),
                number,
                reader: Arc::clone(&shared.reader),
                records: records
                    .ok_or_else(|| format!("{topic} partition {number} is not there"))?,
                consumer: Arc::clone(&own),
                at,
                kept,
                trouble: self.trouble.clone(),
                tracker: shared.tracker.clone(),
            });
            opened.push((id, log, at));
        }
        consumer
            .incremental_assign(&start)
            .map_err(|error| error.to_string())?;
        if fresh.count() > 0 {
            consumer.commit(&fresh, CommitMode::Sync).map_err(|error| {
                format!("the first offsets of the group cannot be committed: {error}")
            })?;
        }
        let mut starts = Vec::with_capacity(opened.len());
        for (id, log, at) in opened {
            let place = (Arc::clone(&log.topic), log.number);
            let source = Source {
                name: id.to_string().into(),
                logs: (Arc::clone(&log) as Arc<dyn Log>).into(),
            };
            let assigned = Assigned { log, committed: at };
            self.partitions.lock().insert(place.clone(), assigned);
            shared.report.assigned(self.member.number, &place);
            starts.push(shared.deliver(id, source, at));
        }
        let started = self.member.runtime.block_on(try_join_all(starts));
        started.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Where a partition starts, by the group's offset or without one.
    fn start_of(
        &self,
        consumer: &BaseConsumer<Self>,
        committed: &TopicPartitionListElem<'_>,
    ) -> KafkaResult<Start> {
        let (topic, number) = (committed.topic(), committed.partition());
        let (first, end) = consumer.fetch_watermarks(topic, number, REQUEST)?;
        let offset = |offset| u64::try_from(offset).unwrap_or(0);
        let kept = (offset(first), offset(end));
        let (at, told) = match (committed.offset(), self.member.config.initial) {
            (rdkafka::Offset::Offset(at), _) => (offset(at), true),
            (_, Initial::Earliest) => (kept.0, false),
            (_, Initial::Latest) => (kept.1, false),
        };
        let at = at.clamp(kept.0, kept.1.max(kept.0));
        Ok(Start { at, kept, told })
    }

    /// Ends the deliveries of what is taken away, and tells the group how far they came.
    fn give_up(&self, consumer: &BaseConsumer<Self>, revoked: &[Place]) {
        let shared = &self.member.shared;
        let mut last = TopicPartitionList::new();
        let ids = revoked
            .iter()
            .map(|(topic, number)| shared.consumer_id(topic, *number));
        let ids: Vec<ConsumerId> = ids.collect();
        // All at once: the group does not wait for ever.
        let ends = ids
            .iter()
            .map(|id| shared.dispatcher.suspend(id, LAST_WORDS));
        let floors = self.member.runtime.block_on(join_all(ends));
        for ((place, id), floor) in revoked.iter().zip(&ids).zip(floors) {
            shared.withdrawn(id);
            let Some(assigned) = self.partitions.lock().remove(place) else {
                continue;
            };
            assigned.log.close();
            shared.report.revoked(self.member.number, place);
            if let Some(floor) = floor.filter(|floor| *floor > assigned.committed) {
                self.add(&mut last, place, floor);
            }
        }
        if last.count() > 0
            && !consumer.assignment_lost()
            && let Err(error) = consumer.commit(&last, CommitMode::Sync)
        {
            // Our own store knows it; another member will deliver some events again.
            tracing::info!(source = %shared.name, %error, "the last offsets could not be committed");
        }
    }

    fn give_up_all(&self, consumer: &BaseConsumer<Self>) {
        let all: Vec<Place> = self.partitions.lock().keys().cloned().collect();
        self.give_up(consumer, &all);
    }

    /// Tells the group what is durably done with.
    fn commit(&self, consumer: &BaseConsumer<Self>, mode: CommitMode) {
        let mut news = TopicPartitionList::new();
        for (place, assigned) in self.partitions.lock().iter_mut() {
            let released = assigned.log.released();
            if released > assigned.committed {
                assigned.committed = released;
                self.add(&mut news, place, released);
            }
        }
        if news.count() > 0
            && let Err(error) = consumer.commit(&news, mode)
        {
            self.not_committed(&error, &news);
        }
    }

    fn add(&self, to: &mut TopicPartitionList, place: &Place, offset: Offset) {
        let mut element = to.add_partition(&place.0, place.1);
        let offset = rdkafka::Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        if element.set_offset(offset).is_ok() {
            element.set_metadata(&self.member.shared.marker);
        }
    }

    /// The next commit says it again.
    fn not_committed(&self, error: &KafkaError, offsets: &TopicPartitionList) {
        tracing::debug!(source = %self.member.shared.name, %error, "offsets could not be committed");
        let mut partitions = self.partitions.lock();
        for element in offsets.elements() {
            let place = (Arc::from(element.topic()), element.partition());
            if let Some(assigned) = partitions.get_mut(&place) {
                assigned.committed = 0;
            }
        }
    }
}

impl ClientContext for Session {
    /// The library repeats itself while servers are away; what matters of it comes as an error too.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        use RDKafkaErrorCode as Code;
        let problem = match error.rdkafka_error_code() {
            // The reason is a count, which changes from one attempt to the next.
            Some(Code::AllBrokersDown) => self.member.unreachable(),
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => reason.to_owned(),
            _ => return,
        };
        let report = &self.member.shared.report;
        report.lost(self.member.number, &problem);
    }

    fn stats(&self, statistics: Statistics) {
        let report = &self.member.shared.report;
        if statistics
            .brokers
            .values()
            .any(|broker| broker.state == "UP")
        {
            report.reached(self.member.number);
        }
        let partitions = self.partitions.lock();
        for ((topic, number), assigned) in &*partitions {
            let found = statistics.topics.get(&**topic);
            let found = found.and_then(|topic| topic.partitions.get(number));
            if let Some(end) = found.and_then(|found| u64::try_from(found.ls_offset).ok()) {
                assigned.log.ends_at(end);
            }
        }
    }
}

impl ConsumerContext for Session {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                if let Err(reason) = self.take_over(consumer, partitions) {
                    self.trouble.report(reason);
                }
            }
            _ => {
                let revoked = partitions.elements();
                let revoked: Vec<Place> = (revoked.iter())
                    .map(|element| (element.topic().into(), element.partition()))
                    .collect();
                self.give_up(consumer, &revoked);
                if let Err(error) = consumer.incremental_unassign(partitions) {
                    self.trouble.report(error.to_string());
                }
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            self.not_committed(&error, offsets);
        }
    }
}

/// Why a topic cannot be read, and what helps.
fn trouble_with(topic: &str, error: RDKafkaErrorCode) -> String {
    use RDKafkaErrorCode as Code;
    match error {
        Code::UnknownTopicOrPartition | Code::UnknownTopic => {
            format!(
                "the topic {topic} does not exist on these servers: make it, or correct spec.topics"
            )
        }
        Code::TopicAuthorizationFailed => {
            format!(
                "the topic {topic} may not be read by this user: let it describe and read the topic"
            )
        }
        other => format!("the topic {topic} cannot be read: {other}"),
    }
}

/// Whether the session cannot go on after this error. Others pass by themselves.
fn is_grave(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                Code::UnknownTopicOrPartition
                    | Code::UnknownTopic
                    | Code::UnknownPartition
                    | Code::TopicAuthorizationFailed
                    | Code::GroupAuthorizationFailed
                    | Code::InconsistentGroupProtocol
                    | Code::InvalidGroupId
                    | Code::FencedInstanceId
                    | Code::PollExceeded
            )
        )
}
