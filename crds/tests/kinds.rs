//! The typed kinds, as controllers use them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use heddle_crds::conditions::{ConditionSet, ConditionStatus, find};
use heddle_crds::eventing::{Broker, BrokerStatus, Trigger, broker, event_type, trigger};
use heddle_crds::messaging::{
    Channel, InMemoryChannel, KafkaChannel, NatsJetStreamChannel, Subscription, channel,
    in_memory_channel, kafka_channel, nats_jet_stream_channel, subscription,
};
use heddle_crds::sources::kafka_source;
use jiff::Timestamp;
use kube::{CustomResourceExt, Resource};
use serde_json::json;

/// Everything that ready means to each kind, as Knative has it.
const DEPENDENTS: [(ConditionSet, &[&str]); 10] = [
    (event_type::CONDITIONS, &["ReferenceExists"]),
    (
        broker::CONDITIONS,
        &[
            "IngressReady",
            "TriggerChannelReady",
            "FilterReady",
            "Addressable",
            "DeadLetterSinkResolved",
            "EventPoliciesReady",
        ],
    ),
    (
        trigger::CONDITIONS,
        &[
            "BrokerReady",
            "SubscriptionReady",
            "DependencyReady",
            "SubscriberResolved",
            "DeadLetterSinkResolved",
            "OIDCIdentityCreated",
        ],
    ),
    (
        channel::CONDITIONS,
        &[
            "BackingChannelReady",
            "Addressable",
            "DeadLetterSinkResolved",
            "EventPoliciesReady",
        ],
    ),
    (
        in_memory_channel::CONDITIONS,
        &[
            "DispatcherReady",
            "ServiceReady",
            "EndpointsReady",
            "Addressable",
            "ChannelServiceReady",
            "DeadLetterSinkResolved",
            "EventPoliciesReady",
        ],
    ),
    (
        broker::KAFKA_CONDITIONS,
        &[
            "Addressable",
            "DataPlaneAvailable",
            "TopicReady",
            "ConfigMapUpdated",
            "ConfigParsed",
            "ProbeSucceeded",
            "EventPoliciesReady",
        ],
    ),
    (
        kafka_channel::CONDITIONS,
        &[
            "Addressable",
            "ChannelServiceReady",
            "DataPlaneAvailable",
            "TopicReady",
            "ConfigMapUpdated",
            "ConfigParsed",
            "ProbeSucceeded",
            "EventPoliciesReady",
        ],
    ),
    (
        nats_jet_stream_channel::CONDITIONS,
        &[
            "DispatcherReady",
            "ServiceReady",
            "EndpointsReady",
            "Addressable",
            "ChannelServiceReady",
            "StreamReady",
        ],
    ),
    (
        subscription::CONDITIONS,
        &[
            "ReferencesResolved",
            "AddedToChannel",
            "ChannelReady",
            "OIDCIdentityCreated",
        ],
    ),
    (
        kafka_source::CONDITIONS,
        &[
            "SinkProvided",
            "Deployed",
            "ConnectionEstablished",
            "InitialOffsetsCommitted",
            "OIDCIdentityCreated",
        ],
    ),
];

#[test]
fn conditions_are_those_of_knative() {
    for (set, want) in DEPENDENTS {
        assert_eq!((set.happy(), set.dependents()), ("Ready", want));
    }
}

#[test]
fn a_status_is_written_as_knative_writes_it() {
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let mut status = BrokerStatus {
        observed_generation: Some(2),
        ..BrokerStatus::default()
    };
    let mut manager = broker::CONDITIONS.manage(&mut status.conditions, now);
    manager.initialize();
    for type_ in broker::CONDITIONS.dependents() {
        manager.mark_true(type_);
    }
    assert!(manager.is_happy());
    status.delivery.dead_letter_sink_uri = Some("http://d".to_owned());
    let ready = find(&status.conditions, "Ready").unwrap();
    assert_eq!(ready.status, ConditionStatus::True);
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["deadLetterSinkUri"], "http://d");
    assert_eq!(json["observedGeneration"], 2);
    assert_eq!(
        json["conditions"][0],
        json!({
            "type": "Addressable", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z",
        })
    );
    assert_eq!(
        serde_json::from_value::<BrokerStatus>(json).unwrap(),
        status
    );
}

#[test]
fn kinds_have_their_names() {
    fn name<T: CustomResourceExt + Resource<DynamicType = ()>>() -> String {
        format!("{} {} {}", T::crd_name(), T::api_version(&()), T::kind(&()))
    }
    assert_eq!(
        name::<Broker>(),
        "brokers.eventing.knative.dev eventing.knative.dev/v1 Broker"
    );
    assert_eq!(
        name::<Trigger>(),
        "triggers.eventing.knative.dev eventing.knative.dev/v1 Trigger"
    );
    assert_eq!(
        name::<Channel>(),
        "channels.messaging.knative.dev messaging.knative.dev/v1 Channel"
    );
    assert_eq!(
        name::<InMemoryChannel>(),
        "inmemorychannels.messaging.knative.dev messaging.knative.dev/v1 InMemoryChannel"
    );
    assert_eq!(
        name::<KafkaChannel>(),
        "kafkachannels.messaging.knative.dev messaging.knative.dev/v1beta1 KafkaChannel"
    );
    assert_eq!(
        name::<NatsJetStreamChannel>(),
        "natsjetstreamchannels.messaging.knative.dev messaging.knative.dev/v1alpha1 NatsJetStreamChannel"
    );
    assert_eq!(
        name::<Subscription>(),
        "subscriptions.messaging.knative.dev messaging.knative.dev/v1 Subscription"
    );
}

#[test]
fn a_whole_trigger_survives_the_type() {
    let object = json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
        "metadata": {"name": "t", "namespace": "n"},
        "spec": {
            "broker": "default",
            "filter": {"attributes": {"type": "a", "subject": ""}},
            "filters": [
                {"all": [{"exact": {"type": "a"}}, {"not": {"prefix": {"source": "/"}}}]},
                {"any": [{"suffix": {"subject": "z"}}, {"cesql": "EXISTS id"}]},
            ],
            "subscriber": {"uri": "http://s", "CACerts": "pem"},
            "delivery": {"retry": 1, "format": "binary"},
        },
        "status": {
            "observedGeneration": 1, "subscriberUri": "http://s", "subscriberCACerts": "pem",
            "deadLetterSinkUri": "http://d", "auth": {"serviceAccountNames": ["a"]},
            "annotations": {"k": "v"},
        },
    });
    let typed: Trigger = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(typed.broker(), ("n", "default"));
    assert_eq!(serde_json::to_value(&typed).unwrap(), object);
}
