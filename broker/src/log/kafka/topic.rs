//! What a topic is made like, and finding or making it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::Notify;

use super::cluster::Clients;
use super::record::Form;

/// How long the servers may take to make or describe a topic.
const PATIENCE: Duration = Duration::from_secs(10);
/// What servers take at the most in one record unless they are told otherwise.
const MAX_RECORD: usize = 1_048_588;

/// Whose a topic is, which decides what may be done to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// The log's: it is made where there is none, events leave it as the log's retention says, and it is
    /// deleted with the log.
    #[default]
    Log,
    /// Somebody else's: it has to be there, and nothing of it is changed or deleted.
    Others,
    /// That of those who read it: it is made where there is none, and what is in it stays as long as its
    /// own settings say. It is deleted with the log where it was made for it.
    Readers {
        /// Whether it is known from an earlier time that it was.
        made: bool,
    },
}

/// What a topic is made like, and how events are written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub topic: String,
    /// Whose it is.
    pub owner: Owner,
    /// How events are written.
    pub form: Form,
    /// How many partitions it gets. A topic that is there keeps those that it has.
    pub partitions: u32,
    /// On how many servers each partition is kept.
    pub replication: u16,
    /// More settings of a new topic, by their names in Kafka. Without `retention.ms` and
    /// `retention.bytes` the servers delete nothing of a log's topic by themselves.
    pub settings: BTreeMap<String, String>,
}

impl Template {
    /// A topic of ours with one partition on one server.
    #[must_use]
    pub fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            owner: Owner::Log,
            form: Form::Whole,
            partitions: 1,
            replication: 1,
            settings: BTreeMap::new(),
        }
    }

    /// What the topic promises less than its user may think: a reason and a message for a condition.
    #[must_use]
    pub fn doubts(&self) -> Option<(&'static str, &'static str)> {
        if self.owner != Owner::Log {
            return Some((
                "RetentionOfTopic",
                "The topic is not the Broker's own: its retention may remove events that a Trigger has not delivered yet, and how many replicas acknowledge an event is its owner's choice.",
            ));
        }
        let limit = |name| {
            let value = self.settings.get(name).map(String::as_str);
            value.is_some_and(|value| value != "-1")
        };
        if limit("retention.ms") || limit("retention.bytes") {
            return Some((
                "RetentionOfTopic",
                "The topic has a retention of its own, which may remove events that a Trigger has not delivered yet.",
            ));
        }
        (self.replication < 2).then_some((
            "NotReplicated",
            "The topic has one replica, and a Kafka server acknowledges before its disk has the event.",
        ))
    }

    /// The settings of a new topic.
    fn config(&self) -> BTreeMap<&str, &str> {
        let mut config = BTreeMap::new();
        if self.owner == Owner::Log {
            config.extend([("retention.ms", "-1"), ("retention.bytes", "-1")]);
        }
        let own = self.settings.iter();
        config.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
        config
    }
}

/// A topic that was found.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) owner: Owner,
    /// How events are written from now on.
    pub(super) form: RwLock<Form>,
    pub(super) partitions: i32,
    /// The most bytes of one record.
    pub(super) max_record: usize,
    /// Something happened in one of its partitions that is worth a look.
    pub(super) changed: Notify,
}

impl Topic {
    /// Finds the topic of a template, and makes it where there is none and it is ours to make. `made` is
    /// called as soon as that is done.
    pub(super) async fn find(
        clients: &Clients,
        template: &Template,
        made: impl FnOnce() + Send,
    ) -> Result<Arc<Self>, String> {
        let name = template.topic.as_str();
        let mut partitions = clients.partitions(name).await?;
        if partitions.is_none() {
            if template.owner == Owner::Others {
                return Err(format!(
                    "the topic {name} does not exist: create it (a KafkaSink with numPartitions and \
                     replicationFactor creates its own)"
                ));
            }
            if make(clients, template).await? {
                made();
            }
            partitions = clients.partitions(name).await?;
        }
        let partitions = partitions
            .ok_or_else(|| format!("the topic {name} is being made, and has no leader yet"))?;
        Ok(Arc::new(Self {
            name: name.to_owned(),
            owner: template.owner,
            form: RwLock::new(template.form),
            partitions,
            max_record: max_record(clients, name).await,
            changed: Notify::new(),
        }))
    }
}

/// Makes the topic. False where somebody else was faster.
async fn make(clients: &Clients, template: &Template) -> Result<bool, String> {
    let partitions = i32::try_from(template.partitions.max(1)).unwrap_or(i32::MAX);
    let replication = TopicReplication::Fixed(i32::from(template.replication.max(1)));
    let mut topic = NewTopic::new(&template.topic, partitions, replication);
    for (name, value) in template.config() {
        topic = topic.set(name, value);
    }
    let options = AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE));
    let made = clients.admin.create_topics([&topic], &options).await;
    let made =
        made.map_err(|error| format!("the topic {} was not made: {error}", template.topic))?;
    for result in made {
        match result {
            Ok(_) => {}
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return Ok(false),
            Err((name, RDKafkaErrorCode::InvalidReplicationFactor)) => {
                let wanted = template.replication;
                return Err(format!(
                    "the topic {name} was not made: a replication factor of {wanted} is wanted, and the cluster has fewer servers"
                ));
            }
            Err((name, code)) => return Err(format!("the topic {name} was not made: {code}")),
        }
    }
    tracing::info!(topic = template.topic, partitions, "a topic was made");
    Ok(true)
}

/// What one record of the topic may have at the most. Where we may not ask, the usual limit.
async fn max_record(clients: &Clients, topic: &str) -> usize {
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let what = [ResourceSpecifier::Topic(topic)];
    let described = clients.admin.describe_configs(&what, &options).await;
    let found = described.ok().and_then(|described| {
        let resource = described.into_iter().next()?.ok()?;
        let value = resource.get("max.message.bytes")?.value.clone()?;
        value.parse().ok()
    });
    found.unwrap_or(MAX_RECORD)
}

/// Deletes a topic of ours, and returns when it is gone.
pub(super) async fn delete(clients: &Clients, name: &str) -> Result<(), String> {
    let options = AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE));
    let deleted = clients.admin.delete_topics(&[name], &options).await;
    for result in deleted.map_err(|error| error.to_string())? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((_, code)) => return Err(code.to_string()),
        }
    }
    match clients.partitions(name).await? {
        None => Ok(()),
        Some(_) => Err("the servers have not deleted it yet".to_owned()),
    }
}
