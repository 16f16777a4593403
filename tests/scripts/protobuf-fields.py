#!/usr/bin/env python3
"""Writes crds/src/api/protobuf/fields.txt: the fields of the messages that clients send in protobuf.

    tests/scripts/protobuf-fields.py [VERSION of the Go modules k8s.io/api and k8s.io/apimachinery]

The facts are in the struct tags of those modules, which the Go toolchain fetches.
"""

import json
import pathlib
import re
import subprocess
import sys

VERSION = sys.argv[1] if len(sys.argv) > 1 else "v0.36.3"
OUT = pathlib.Path(__file__).parents[2] / "crds/src/api/protobuf/fields.txt"
META = "k8s.io/apimachinery/pkg/apis/meta/v1"

# What is sent whole: package, group and version, kinds.
ROOTS = [
    ("core/v1", "v1", "Namespace ConfigMap Secret ServiceAccount Service Endpoints Event Pod"),
    ("apps/v1", "apps/v1", "Deployment ReplicaSet"),
    ("batch/v1", "batch/v1", "Job"),
    ("autoscaling/v1", "autoscaling/v1", "HorizontalPodAutoscaler Scale"),
    ("autoscaling/v2", "autoscaling/v2", "HorizontalPodAutoscaler"),
    ("coordination/v1", "coordination.k8s.io/v1", "Lease"),
    ("discovery/v1", "discovery.k8s.io/v1", "EndpointSlice"),
    ("events/v1", "events.k8s.io/v1", "Event"),
    ("rbac/v1", "rbac.authorization.k8s.io/v1", "Role RoleBinding ClusterRole ClusterRoleBinding"),
    (
        "authorization/v1",
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview SubjectAccessReview LocalSubjectAccessReview SelfSubjectRulesReview",
    ),
    (
        "authentication/v1",
        "authentication.k8s.io/v1",
        "TokenReview TokenRequest SelfSubjectReview",
    ),
]
# Messages with a JSON of their own.
SPECIAL = {
    META + ".Time": "time",
    META + ".MicroTime": "microtime",
    META + ".FieldsV1": "raw",
    "k8s.io/apimachinery/pkg/runtime.RawExtension": "raw",
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "quantity",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": "intorstring",
}
SCALARS = {
    "string": "string",
    "bool": "bool",
    "byte": "byte",
    "int": "int",
    "int32": "int",
    "int64": "int",
    "uint16": "int",
    "k8s.io/apimachinery/pkg/types.UID": "string",
}
FIELD = re.compile(r'^\s*(?:(\w+)\s+)?([\w.*\[\]]+)\s+`.*?json:"([^"]*)".*?protobuf:"\w+,(\d+),')


def module(name):
    answer = subprocess.run(
        ["go", "mod", "download", "-json", f"{name}@{VERSION}"], check=True, capture_output=True
    )
    return pathlib.Path(json.loads(answer.stdout)["Dir"])


FOLDERS = {"k8s.io/api": module("k8s.io/api")}
FOLDERS["k8s.io/apimachinery"] = module("k8s.io/apimachinery")
packages = {}


def package(path):
    """The types of a package: by name, its fields, or what it is another name of."""
    if path in packages:
        return packages[path]
    types = packages[path] = {}
    root = "k8s.io/apimachinery" if path.startswith("k8s.io/apimachinery") else "k8s.io/api"
    for file in sorted((FOLDERS[root] / path.removeprefix(root).strip("/")).glob("*.go")):
        if file.name.endswith("_test.go") or "generated" in file.name:
            continue
        text = file.read_text()
        imports = {}
        for alias, target in re.findall(r'^\s*(?:import )?(\w+)?\s*"([\w./-]+)"$', text, re.M):
            imports[alias or target.rsplit("/", 1)[-1]] = target
        for name, body in re.findall(r"^type (\w+) struct \{\n(.*?)^\}", text, re.M | re.S):
            types[name] = ("struct", body, imports)
        for name, base in re.findall(r"^type (\w+) ([\w.\[\]]+)$", text, re.M):
            types[name] = ("alias", base, imports)
    return types


def qualified(name, path, imports):
    if "." in name:
        alias, name = name.split(".")
        path = imports[alias]
    return path, name


messages = {}


def short(path, name):
    return f"{path.removeprefix('k8s.io/api/').removeprefix('k8s.io/apimachinery/pkg/apis/')}.{name}"


def kind(go, path, imports):
    """The type of a field, and whether it is left out when it is zero and so marked."""
    if go.startswith("*"):
        return kind(go[1:], path, imports)[0], False
    if go == "[]byte":
        return "bytes", True
    if go.startswith("[]"):
        return "[]" + kind(go[2:], path, imports)[0], False
    if go.startswith("map["):
        return "map:" + kind(go[go.index("]") + 1 :], path, imports)[0], False
    if go in SCALARS:
        return SCALARS[go], True
    path, name = qualified(go, path, imports)
    full = f"{path}.{name}"
    if full in SCALARS:
        return SCALARS[full], True
    if full in SPECIAL:
        return SPECIAL[full], True
    what, body, imports = package(path)[name]
    if what == "alias" and not body.startswith("[]"):
        return kind(body, path, imports)
    message(path, name)
    return short(path, name), False


def message(path, name):
    title = short(path, name)
    if title in messages:
        return
    fields = messages[title] = []
    what, body, imports = package(path)[name]
    if what == "alias":
        # A list with a name is a message around it.
        fields.append((1, "*", kind(body, path, imports)[0]))
        return
    for line in body.splitlines():
        found = FIELD.match(line)
        if not found:
            continue
        _, go, tag, number = found.groups()
        name, *options = tag.split(",")
        type_, omits = kind(go, path, imports)
        omits = omits and ("omitempty" in options or "omitzero" in options)
        inline = not name and "inline" in options
        fields.append((int(number), "-" if inline else name, type_ + ("?" if omits else "")))


def main():
    lines = [
        "# The fields of the messages that clients send in protobuf: number, name in JSON, type.",
        f"# Made by tests/scripts/protobuf-fields.py from k8s.io/api {VERSION} and",
        f"# k8s.io/apimachinery {VERSION} (Apache-2.0). `-`: the fields of the message belong to the",
        "# one around it; `*`: the message is this list; `?`: left out when it is zero.",
        "",
    ]
    for path, version, kinds in ROOTS:
        for name in kinds.split():
            message("k8s.io/api/" + path, name)
            lines.append(f"kind {version} {name} {short('k8s.io/api/' + path, name)}")
    message(META, "DeleteOptions")
    lines.append(f"kind * DeleteOptions {short(META, 'DeleteOptions')}")
    for title in sorted(messages):
        lines += ["", f"message {title}"]
        lines += [" ".join(map(str, field)) for field in sorted(messages[title])]
    OUT.write_text("\n".join(lines) + "\n")


main()
