#!/usr/bin/env python3
"""Writes crds/src/builtin/schemas.json: the types of Kubernetes' own kinds, as facts.

Takes them from the OpenAPI documents in the Go module k8s.io/kubernetes: fields, types, formats,
which fields are required, and how lists and maps are merged. Texts are left out. One line for each
type, so that a new version of Kubernetes shows what it changed.

Usage: tests/scripts/kubernetes-schemas.py   (needs go; reads the module from its cache)
"""

import json
import pathlib
import subprocess

VERSION = "v1.36.3"
ROOTS = {
    "api__v1": ["core.v1." + kind for kind in (
        "ConfigMap", "Endpoints", "Event", "Namespace", "Pod", "Secret", "Service",
        "ServiceAccount")],
    "apis__apps__v1": ["apps.v1.Deployment", "apps.v1.ReplicaSet"],
    "apis__autoscaling__v1": ["autoscaling.v1.HorizontalPodAutoscaler"],
    "apis__autoscaling__v2": ["autoscaling.v2.HorizontalPodAutoscaler"],
    "apis__batch__v1": ["batch.v1.Job"],
    "apis__coordination.k8s.io__v1": ["coordination.v1.Lease"],
    "apis__discovery.k8s.io__v1": ["discovery.v1.EndpointSlice"],
    "apis__events.k8s.io__v1": ["events.v1.Event"],
    "apis__rbac.authorization.k8s.io__v1": ["rbac.v1." + kind for kind in (
        "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")],
}
KEPT = {"type", "format", "required", "nullable", "enum"}
NUMBER_OR_TEXT = {"anyOf": [{"type": "number"}, {"type": "string"}]}
INTEGER_OR_TEXT = {"x-kubernetes-int-or-string": True}
ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}


def name_of(reference):
    return reference.rsplit("/", 1)[1]


def reduce(schema):
    """The facts of a schema."""
    if "allOf" in schema and len(schema["allOf"]) == 1:
        schema = {**schema, **schema["allOf"][0]}
    if "$ref" in schema:
        out = {"$ref": name_of(schema["$ref"])}
    else:
        out = {key: value for key, value in schema.items() if key in KEPT}
    out |= {key: value for key, value in schema.items()
            if key.startswith("x-kubernetes-") and "group-version-kind" not in key
            and key != "x-kubernetes-unions"}
    if schema.get("default") not in (None, "", 0, False, {}, []):
        out["default"] = schema["default"]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            out[key] = reduce(schema[key])
    if "properties" in schema:
        out["properties"] = {name: reduce(inner) for name, inner in schema["properties"].items()}
    elif out.get("type") == "object" and "additionalProperties" not in out:
        out |= ANYTHING
    return out


def references(schema):
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for inner in schema.values():
            yield from references(inner)


def main():
    command = ["go", "mod", "download", "-json", f"k8s.io/kubernetes@{VERSION}"]
    module = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    documents = pathlib.Path(module["Dir"], "api/openapi-spec/v3")
    found = {}
    for document, roots in ROOTS.items():
        text = (documents / f"{document}_openapi.json").read_text()
        schemas = json.loads(text)["components"]["schemas"]
        waiting = ["io.k8s.api." + root for root in roots]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            if name.endswith("intstr.IntOrString"):
                found[name] = INTEGER_OR_TEXT
            elif name.endswith("resource.Quantity"):
                found[name] = NUMBER_OR_TEXT
            elif name.endswith("runtime.RawExtension") or name.endswith("v1.FieldsV1"):
                found[name] = {"type": "object", **ANYTHING}
            else:
                found[name] = reduce(schemas[name])
            waiting.extend(references(found[name]))
    short = lambda name: name.removeprefix("io.k8s.").removeprefix("api.").removeprefix(
        "apimachinery.pkg.")
    text = json.dumps({short(name): schema for name, schema in found.items()})
    for name in found:
        text = text.replace(f'"$ref": "{name}"', f'"$ref": "{short(name)}"')
    lines = [f"{json.dumps(name)}: {json.dumps(schema, sort_keys=True)}"
             for name, schema in sorted(json.loads(text).items())]
    target = pathlib.Path(__file__).parents[2] / "crds/src/builtin/schemas.json"
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
