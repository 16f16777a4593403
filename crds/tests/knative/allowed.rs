//! Where our definitions differ from Knative's, and why: see the test.

/// Kind or `*`, the fact's path (a leading `*` stands for anything before), and why it differs.
/// A difference of a field whose path ends with `/` is allowed whole, and one that ends with `/**` with
/// everything below it.
pub(crate) const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "*",
        "labels.app.kubernetes.io/name",
        "the definition is part of our installation, not of Knative's",
    ),
    (
        "*",
        "labels.app.kubernetes.io/version",
        "names Knative's version; ours is the chart's to say",
    ),
    (
        "*",
        "*schema.spec#default",
        "spec may be left out; an API server then fills in the empty one that typed clients need",
    ),
    (
        "*",
        "*delivery.timeout/",
        "Knative keeps it as an unknown field behind a feature flag; here it always works",
    ),
    (
        "*",
        "*delivery.retryAfterMax/",
        "Knative keeps it as an unknown field behind a feature flag; here it always works",
    ),
    (
        "*",
        "*delivery.format/",
        "Knative declares it for Triggers and keeps it as unknown elsewhere",
    ),
    (
        "*",
        "*ref.group/",
        "declared, so that it is refused with a reason and not dropped",
    ),
    (
        "*",
        "*ref.address/",
        "part of the reference type; Knative's definitions lag behind it",
    ),
    (
        "Broker",
        "schema.spec.config.group/",
        "declared, so that it is refused with a reason",
    ),
    (
        "Broker",
        "schema.spec.config.address/",
        "part of the reference type",
    ),
    (
        "Trigger",
        "schema.spec.brokerRef.group/",
        "declared, so that it is refused with a reason",
    ),
    (
        "Trigger",
        "schema.spec.brokerRef.address/",
        "part of the reference type",
    ),
    (
        "Trigger",
        "schema.spec.filters[].heddle.dev/data/",
        "a dialect of our own, which is opt-in and bears our name",
    ),
    (
        "Subscription",
        "schema.spec.channel.group/",
        "declared, so that it is refused with a reason",
    ),
    (
        "Subscription",
        "schema.spec.channel.address/",
        "part of the reference type",
    ),
    (
        "Channel",
        "schema.status.channel.group/",
        "part of the reference type",
    ),
    (
        "Channel",
        "schema.status.channel.address/",
        "part of the reference type",
    ),
    (
        "*",
        "schema.status.deadLetterChannel.group/",
        "part of the reference type",
    ),
    (
        "*",
        "schema.status.deadLetterChannel.address/",
        "part of the reference type",
    ),
    (
        "Channel",
        "schema.spec.subscribers[].delivery.deadLetterSink.CACerts/",
        "part of a destination everywhere else, and of InMemoryChannel here too",
    ),
    (
        "Channel",
        "schema.spec.subscribers[].delivery.deadLetterSink.audience/",
        "part of a destination everywhere else, and of InMemoryChannel here too",
    ),
    (
        "Channel",
        "schema.spec.subscribers[].namespace/",
        "declared by InMemoryChannel, which has the same subscribers",
    ),
    (
        "KafkaChannel",
        "schema.spec.numPartitions#default",
        "filled in at admission",
    ),
    (
        "KafkaChannel",
        "schema.spec.replicationFactor#default",
        "filled in at admission",
    ),
    (
        "KafkaChannel",
        "schema.spec.replicationFactor#format",
        "a number of 16 bits; Knative's has the bounds only",
    ),
    (
        "KafkaChannel",
        "schema.spec.replicationFactor#minimum",
        "a number of 16 bits; Knative's has the upper bound only",
    ),
    (
        "KafkaChannel",
        "schema.spec.subscribers[].auth.serviceAccountNames/**",
        "declared by the other channels, which have the same subscribers",
    ),
    (
        "KafkaChannel",
        "schema.status.subscribers[].auth.serviceAccountNames/**",
        "declared by the other channels, which have the same status",
    ),
    (
        "KafkaChannel",
        "schema.status.address#required.url",
        "left out by all other kinds; an address may have no URL yet",
    ),
    (
        "KafkaChannel",
        "conversion.strategy",
        "one version is served, which needs no conversion",
    ),
    (
        "KafkaChannel",
        "v1:schema/**",
        "v1 has the fields of v1beta1, and is not served",
    ),
    (
        "KafkaChannel",
        "v1:columns/**",
        "v1 has the fields of v1beta1, and is not served",
    ),
    (
        "KafkaChannel",
        "v1:version/**",
        "v1 has the fields of v1beta1, and is not served",
    ),
    (
        "KafkaChannel",
        "v1:subresources/**",
        "v1 has the fields of v1beta1, and is not served",
    ),
    (
        "KafkaChannel",
        "schema.spec.subscribers[].namespace/",
        "declared by InMemoryChannel, which has the same subscribers",
    ),
    (
        "NatsJetStreamChannel",
        "labels.nats.eventing.knative.dev/release",
        "names eventing-natss's version; ours is the chart's to say",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.delivery#x-kubernetes-preserve-unknown-fields",
        "opened by all other kinds that have it, as features add fields to it",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.subscribers[].delivery#x-kubernetes-preserve-unknown-fields",
        "opened by all other kinds that have it, as features add fields to it",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.subscribers[].auth#required.serviceAccountName",
        "left out by all other kinds; it may be empty",
    ),
    (
        "NatsJetStreamChannel",
        "schema.status.subscribers[].auth#required.serviceAccountName",
        "left out by all other kinds; it may be empty",
    ),
    (
        "NatsJetStreamChannel",
        "schema.status.address#required.url",
        "left out by all other kinds; an address may have no URL yet",
    ),
    (
        "NatsJetStreamChannel",
        "schema.status.addresses[]#required.url",
        "left out by all other kinds; an address may have no URL yet",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.deploymentSpecTemplate/**",
        "kept as it is and without effect: there is no Deployment of dispatchers",
    ),
    (
        "NatsJetStreamChannel",
        "schema.spec.subscribers[].namespace/",
        "declared by InMemoryChannel, which has the same subscribers",
    ),
    (
        "NatsJetStreamChannel",
        "schema.status.deadLetterChannel/**",
        "part of the status that all channels share",
    ),
    (
        "Subscription",
        "schema.spec.subscriber.ref#x-kubernetes-preserve-unknown-fields",
        "opened by Knative for the field group, which is declared here",
    ),
    (
        "EventType",
        "*schema.spec.reference.group/",
        "declared, so that it is refused with a reason",
    ),
    (
        "EventType",
        "v1beta3:version.served",
        "an API server converts it through a webhook, which is not installed yet",
    ),
    (
        "EventType",
        "conversion.strategy",
        "an API server converts through a webhook, which is not installed yet; none is needed \
         between v1beta1 and v1beta2",
    ),
    (
        "KafkaSource",
        "conversion.strategy",
        "Knative converts through a webhook; its versions are alike, so that none is needed",
    ),
    ("KafkaSource", "names.singular", "an API server fills it in"),
    (
        "KafkaSource",
        "*schema.apiVersion#type",
        "declared by an API server for every kind",
    ),
    (
        "KafkaSource",
        "*schema.kind#type",
        "declared by an API server for every kind",
    ),
    (
        "KafkaSource",
        "*schema.metadata#type",
        "declared by an API server for every kind",
    ),
    (
        "KafkaSource",
        "*schema.spec#required.bootstrapServers",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSource",
        "*schema.spec#required.topics",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSource",
        "*ref#required.kind",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSource",
        "*ref#required.name",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSource",
        "*schema.spec.delivery#x-kubernetes-preserve-unknown-fields",
        "as for all other kinds with delivery options",
    ),
    (
        "KafkaSource",
        "*schema.status.auth.serviceAccountNames/",
        "part of the same type in all other kinds",
    ),
    (
        "KafkaSource",
        "*schema.status.auth.serviceAccountNames[]/",
        "part of the same type in all other kinds",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN.secretKeyRef/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN.secretKeyRef.key/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN.secretKeyRef.name/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.roleARN.secretKeyRef.optional/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider.secretKeyRef/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider.secretKeyRef.key/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider.secretKeyRef.name/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSource",
        "v1:schema.spec.net.sasl.tokenProvider.secretKeyRef.optional/",
        "for a cloud's own way in, which is not spoken here",
    ),
    (
        "KafkaSink",
        "schema.spec#required.bootstrapServers",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSink",
        "schema.spec#required.topic",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSink",
        "*ref#required.name",
        "missed by admission, with everything else that is wrong",
    ),
    (
        "KafkaSink",
        "schema.spec.bootstrapServers#minLength",
        "a bound for texts, which says nothing of a list; admission asks for one name at least",
    ),
    (
        "KafkaSink",
        "schema.spec.contentMode#default",
        "filled in by admission",
    ),
];
