"""Python's kubernetes package against an API: its dynamic client, watch, patches and apply.

    PYTHONPATH=... python3 python.py KUBECONFIG NAMESPACE

Writes a line for each step that went as it should, and ends with an exception where one did not.
"""

import sys
import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

kubeconfig, namespace = sys.argv[1:]
api = config.new_client_from_config(kubeconfig)
core = client.CoreV1Api(api)
custom = client.CustomObjectsApi(api)


def refused(code, call):
    """Calls, and expects a refusal with that code."""
    try:
        call()
    except ApiException as error:
        assert error.status == code, error
        return error
    raise AssertionError(f"expected {code}")


def config_map(name, **data):
    meta = client.V1ObjectMeta(name=name, labels={"made-by": "python"})
    return client.V1ConfigMap(metadata=meta, data=data)


core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))
made = core.create_namespaced_config_map(namespace, config_map("one", n="1"))
assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo
refused(409, lambda: core.create_namespaced_config_map(namespace, config_map("one")))
refused(404, lambda: core.read_namespaced_config_map("none", namespace))
print("typed objects are made and read")

stale = core.read_namespaced_config_map("one", namespace)
core.patch_namespaced_config_map("one", namespace, {"data": {"n": "2"}})
stale.data = {"n": "3"}
error = refused(409, lambda: core.replace_namespaced_config_map("one", namespace, stale))
assert "the object has been modified" in error.body
print("an old version is refused")

for n in range(10):
    core.create_namespaced_config_map(namespace, config_map(f"many-{n}", n=str(n)))
names, token = [], None
while True:
    page = core.list_namespaced_config_map(
        namespace, limit=4, _continue=token, label_selector="made-by=python"
    )
    names += [item.metadata.name for item in page.items]
    token = page.metadata._continue
    if not token:
        break
assert sorted(names) == ["many-%d" % n for n in range(10)] + ["one"], names
print("a list comes in pages")

seen = []
listed = core.list_namespaced_config_map(namespace, label_selector="made-by=python")
stream = watch.Watch().stream(
    core.list_namespaced_config_map,
    namespace,
    label_selector="made-by=python",
    resource_version=listed.metadata.resource_version,
    timeout_seconds=30,
)


def follow():
    for event in stream:
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            return


thread = threading.Thread(target=follow)
thread.start()
core.create_namespaced_config_map(namespace, config_map("watched"))
core.patch_namespaced_config_map("watched", namespace, {"data": {"n": "1"}})
core.delete_namespaced_config_map("watched", namespace)
thread.join(timeout=40)
assert seen == [("ADDED", "watched"), ("MODIFIED", "watched"), ("DELETED", "watched")], seen
print("a watch tells of all changes")

finder = dynamic.DynamicClient(api)
triggers = finder.resources.get(api_version="eventing.knative.dev/v1", kind="Trigger")
trigger = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Trigger",
    "metadata": {"name": "python"},
    "spec": {"broker": "default", "subscriber": {"uri": "http://127.0.0.1:9/"}},
}
applied = triggers.server_side_apply(body=trigger, namespace=namespace, field_manager="python")
assert applied.spec.broker == "default"
assert [entry.manager for entry in applied.metadata.managedFields][0] == "python"
other = {**trigger, "spec": {**trigger["spec"], "subscriber": {"uri": "http://127.0.0.1:8/"}}}
refused(
    409,
    lambda: triggers.server_side_apply(body=other, namespace=namespace, field_manager="other"),
)
forced = triggers.server_side_apply(
    body=other, namespace=namespace, field_manager="other", force_conflicts=True
)
assert forced.spec.subscriber.uri == "http://127.0.0.1:8/"
print("the dynamic client applies")

wrong = {**trigger, "metadata": {"name": "wrong"}, "spec": {"broker": "default"}}
group = ("eventing.knative.dev", "v1", namespace, "triggers")
error = refused(422, lambda: custom.create_namespaced_custom_object(*group, body=wrong))
assert '"reason":"Invalid"' in error.body.replace(" ", "")
custom.patch_namespaced_custom_object(*group, "python", {"metadata": {"labels": {"a": "b"}}})
assert custom.get_namespaced_custom_object(*group, "python")["metadata"]["labels"]["a"] == "b"
custom.delete_namespaced_custom_object(*group, "python")
refused(404, lambda: custom.get_namespaced_custom_object(*group, "python"))
print("custom objects are made, changed and taken away")

core.delete_collection_namespaced_config_map(namespace, label_selector="made-by=python")
left = core.list_namespaced_config_map(namespace, label_selector="made-by=python").items
assert not left, left
assert client.VersionApi(api).get_code().major == "1"
print("a collection goes")
