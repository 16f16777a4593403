//! Wrong objects of Kubernetes' own kinds, and what kube-apiserver 1.36 says of each.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::tests::{admit, kind};

/// A part of an object that is wrong, and what is said of it.
type Row = (Value, &'static [&'static str]);

/// Each row is made an object by `of`.
fn all_are_refused(group: &str, name: &str, of: impl Fn(Value) -> Value, rows: Vec<Row>) {
    let kind = kind(group, name);
    for (part, wrong) in rows {
        let errors = admit(&kind, of(part.clone()), None);
        assert_eq!(errors.err().unwrap_or_default(), wrong, "{part}");
    }
}

#[test]
fn services() {
    let rows: Vec<Row> = vec![
        (json!({}), &["spec.ports FieldValueRequired "]),
        (json!({"ports": []}), &["spec.ports FieldValueRequired "]),
        (json!({"clusterIP": "None"}), &[]),
        (json!({"ports": [{"port": 80, "targetPort": "http"}]}), &[]),
        (
            json!({"type": "ExternalName"}),
            &["spec.externalName FieldValueRequired "],
        ),
        (json!({"type": "ExternalName", "externalName": "a.b."}), &[]),
        (
            json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.0.0.7"}),
            &["spec.clusterIPs FieldValueForbidden may not be set for ExternalName services"],
        ),
        (
            json!({"ports": [{"port": 70_000, "targetPort": 0}]}),
            &[
                "spec.ports[0].port FieldValueInvalid 70000: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort FieldValueInvalid 70000: must be between 1 and 65535, \
                 inclusive",
            ],
        ),
        (
            json!({"ports": [{"port": 80, "targetPort": "Bad_Name"}]}),
            &[
                "spec.ports[0].targetPort FieldValueInvalid \"Bad_Name\": must contain only \
                 alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            ],
        ),
        (
            json!({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]}),
            &["spec.ports[1].name FieldValueDuplicate \"a\""],
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": 30_000}]}),
            &[
                "spec.ports[0].nodePort FieldValueForbidden may not be used when `type` is 'ClusterIP'",
            ],
        ),
        (
            json!({"ports": [{"port": 80}], "clusterIP": "bad"}),
            &[
                "spec.clusterIPs[0] FieldValueInvalid \"bad\": must be a valid IP address, (e.g. \
                 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            json!({"ports": [{"port": 80}], "sessionAffinity": "Foo", "ipFamilies": ["IPv5"]}),
            &[
                "spec.sessionAffinity FieldValueNotSupported \"Foo\": supported values: \
                 \"ClientIP\", \"None\"",
                "spec.ipFamilies[0] FieldValueNotSupported \"IPv5\": supported values: \"IPv4\", \
                 \"IPv6\"",
            ],
        ),
        (
            json!({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
            &[
                "spec.externalTrafficPolicy FieldValueInvalid \"Local\": may only be set for \
                 externally-accessible services",
            ],
        ),
        (
            json!({"ports": [{"port": 80}], "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}),
            &[
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds FieldValueInvalid 0: must be \
                 greater than 0 and less than 86400",
            ],
        ),
    ];
    all_are_refused("", "Service", |spec| json!({ "spec": spec }), rows);
}

#[test]
fn containers() {
    let rows: Vec<Row> = vec![
        // What may be there twice is accepted, though lists are merged by it.
        (
            json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
            &[],
        ),
        (
            json!({"image": " i "}),
            &[
                "spec.containers[0].image FieldValueInvalid \" i \": must not have leading or \
               trailing whitespace",
            ],
        ),
        (
            json!({"imagePullPolicy": "Foo"}),
            &[
                "spec.containers[0].imagePullPolicy FieldValueNotSupported \"Foo\": supported \
               values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            json!({"ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 80, "name": "a"}]}),
            &["spec.containers[0].ports[1].name FieldValueDuplicate \"a\""],
        ),
        (
            json!({"env": [{"name": "a=b"}]}),
            &[
                "spec.containers[0].env[0].name FieldValueInvalid \"a=b\": a valid environment \
               variable name must consist only of printable ASCII characters other than '='",
            ],
        ),
        (
            json!({"env": [{"name": "A", "value": "x", "valueFrom":
                {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            &[
                "spec.containers[0].env[0].valueFrom FieldValueInvalid \"\": may not be specified \
               when `value` is not empty",
            ],
        ),
        (
            json!({"volumeMounts": [{"name": "none", "mountPath": "/a"}]}),
            &["spec.containers[0].volumeMounts[0].name FieldValueNotFound \"none\""],
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}]}),
            &[
                "spec.containers[0].volumeMounts[1].mountPath FieldValueInvalid \"/a\": must be \
               unique",
            ],
        ),
        (
            json!({"livenessProbe": {}}),
            &["spec.containers[0].livenessProbe FieldValueRequired must specify a handler type"],
        ),
        (
            json!({"livenessProbe": {"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}}),
            &[
                "spec.containers[0].livenessProbe.tcpSocket FieldValueForbidden may not specify \
               more than 1 handler type",
            ],
        ),
        (
            json!({"securityContext": {"runAsUser": -1}}),
            &[
                "spec.containers[0].securityContext.runAsUser FieldValueInvalid -1: must be between \
               0 and 2147483647, inclusive",
            ],
        ),
    ];
    let of = |part: Value| {
        let mut container = json!({"name": "c", "image": "i"});
        for (name, value) in part.as_object().unwrap() {
            container[name] = value.clone();
        }
        json!({"spec": {"containers": [container], "volumes": [{"name": "v"}]}})
    };
    all_are_refused("", "Pod", of, rows);
}

#[test]
fn pods() {
    let one = || json!([{"name": "c", "image": "i"}]);
    let rows: Vec<Row> = vec![
        (Value::Null, &["spec.containers FieldValueRequired "]),
        (
            json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}),
            &["spec.containers[1].name FieldValueDuplicate \"c\""],
        ),
        (
            json!({"containers": one(), "initContainers": one()}),
            &["spec.initContainers[0].name FieldValueDuplicate \"c\""],
        ),
        (
            json!({"containers": one(), "restartPolicy": "Foo"}),
            &[
                "spec.restartPolicy FieldValueNotSupported \"Foo\": supported values: \"Always\", \
               \"OnFailure\", \"Never\"",
            ],
        ),
        (
            json!({"containers": one(), "dnsPolicy": "None"}),
            &[
                "spec.dnsConfig FieldValueRequired must provide `dnsConfig` when `dnsPolicy` is None",
            ],
        ),
        (
            json!({"containers": one(), "volumes": [{"name": "v", "emptyDir": {},
                "secret": {"secretName": "s"}}]}),
            &["spec.volumes[0].secret FieldValueForbidden may not specify more than 1 volume type"],
        ),
        (
            json!({"containers": one(), "volumes": [{"name": "v"}, {"name": "v"}]}),
            &["spec.volumes[1].name FieldValueDuplicate \"v\""],
        ),
    ];
    all_are_refused("", "Pod", |spec| json!({ "spec": spec }), rows);
}

#[test]
fn workloads() {
    let rows: Vec<Row> = vec![
        (
            json!({"minReadySeconds": -1}),
            &["spec.minReadySeconds FieldValueInvalid -1: must be greater than or equal to 0"],
        ),
        (
            json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}),
            &[
                "spec.strategy.rollingUpdate FieldValueForbidden may not be specified when strategy \
               `type` is 'Recreate'",
            ],
        ),
        (
            json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}),
            &[
                "spec.strategy.rollingUpdate.maxUnavailable FieldValueInvalid 0: may not be 0 when \
               `maxSurge` is 0",
            ],
        ),
        (
            json!({"progressDeadlineSeconds": 0}),
            &[
                "spec.progressDeadlineSeconds FieldValueInvalid 0: must be greater than \
               minReadySeconds",
            ],
        ),
        (
            json!({"selector": {"matchLabels": {}}}),
            &["spec.selector FieldValueInvalid {}: empty selector is invalid for deployment"],
        ),
    ];
    let of = |part: Value| {
        let template = json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let mut spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
        for (name, value) in part.as_object().unwrap() {
            spec[name] = value.clone();
        }
        json!({ "spec": spec })
    };
    all_are_refused("apps", "Deployment", of, rows);
}

#[test]
fn rights() {
    let group = "rbac.authorization.k8s.io";
    let rows: Vec<Row> = vec![
        (json!({"kind": "ClusterRole", "name": "view"}), &[]),
        (
            json!({"kind": "Foo", "name": "view"}),
            &[
                "roleRef.kind FieldValueNotSupported \"Foo\": supported values: \"Role\", \
               \"ClusterRole\"",
            ],
        ),
        (
            json!({"kind": "Role", "name": ""}),
            &["roleRef.name FieldValueRequired "],
        ),
        (
            json!({"kind": "Role", "name": "a", "apiGroup": "x"}),
            &[
                "roleRef.apiGroup FieldValueNotSupported \"x\": supported values: \
               \"rbac.authorization.k8s.io\"",
            ],
        ),
    ];
    all_are_refused(group, "RoleBinding", |role| json!({"roleRef": role}), rows);
    let rows: Vec<Row> = vec![
        (
            json!({"verbs": ["get"], "resources": ["x"]}),
            &[
                "rules[0].apiGroups FieldValueRequired resource rules must supply at least one api \
               group",
            ],
        ),
        (
            json!({"verbs": ["get"], "nonResourceURLs": ["/x"]}),
            &[
                "rules[0].nonResourceURLs FieldValueInvalid [\"/x\"]: namespaced rules cannot apply \
               to non-resource URLs",
            ],
        ),
    ];
    all_are_refused(group, "Role", |rule| json!({"rules": [rule]}), rows);
}

#[test]
fn others() {
    let rows: Vec<Row> = vec![
        (
            json!({"leaseDurationSeconds": 0}),
            &["spec.leaseDurationSeconds FieldValueInvalid 0: must be greater than 0"],
        ),
        (
            json!({"leaseTransitions": -1}),
            &["spec.leaseTransitions FieldValueInvalid -1: must be greater than or equal to 0"],
        ),
    ];
    let of = |spec| json!({ "spec": spec });
    all_are_refused("coordination.k8s.io", "Lease", of, rows);
    let rows: Vec<Row> = vec![(
        json!({"kind": "Pod", "namespace": "other"}),
        &["involvedObject.namespace FieldValueInvalid \"other\": does not match event.namespace"],
    )];
    let of = |about| json!({"metadata": {"namespace": "default"}, "involvedObject": about});
    all_are_refused("", "Event", of, rows);
    let rows: Vec<Row> = vec![(
        json!({"addresses": []}),
        &["endpoints[0].addresses FieldValueRequired must contain at least 1 address"],
    )];
    let of = |endpoint| json!({"addressType": "IPv4", "endpoints": [endpoint]});
    all_are_refused("discovery.k8s.io", "EndpointSlice", of, rows);
}
