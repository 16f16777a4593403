//! OpenAPI: what `kubectl explain` shows, and how `kubectl apply` learns that fields are checked.
//!
//! The checks themselves are here too: a field that the schema of a kind does not know is
//! refused or warned of, as the client's `fieldValidation` says.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::registry::Registry;
use super::{metadata, rules};
use crate::resource::ResourceKind;

/// Unknown fields that are named in one answer.
const MAX_NAMED: usize = 20;

/// The path of a kind's group and version, without a slash before it.
pub(crate) fn group_path(kind: &ResourceKind) -> String {
    if kind.group.is_empty() {
        format!("api/{}", kind.version)
    } else {
        format!("apis/{}/{}", kind.group, kind.version)
    }
}

/// `/openapi/v3`: which documents there are.
pub(crate) fn index(registry: &Registry) -> Value {
    let paths: Map<String, Value> = registry
        .kinds()
        .iter()
        .map(|kind| {
            let path = group_path(kind);
            let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
            (path, url)
        })
        .collect();
    json!({"paths": paths})
}

/// `/openapi/v3/<group path>`: the kinds of one group and version.
pub(crate) fn document(registry: &Registry, path: &str) -> Result<Value, ApiError> {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in registry
        .kinds()
        .iter()
        .filter(|kind| group_path(kind) == path)
    {
        let gvk = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let name = schema_name(kind);
        let content = json!({"application/json": {
            "schema": {"$ref": format!("#/components/schemas/{name}")},
        }});
        let operation = |action: &str| {
            json!({
                "operationId": format!("{action}{}", kind.kind),
                "parameters": [
                    parameter("dryRun", "All, to change nothing"),
                    parameter("fieldValidation", "Ignore, Warn or Strict"),
                ],
                "responses": {"200": {"description": "OK", "content": content}},
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": gvk,
            })
        };
        let namespace = if kind.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let collection = format!("/{path}/{namespace}{}", kind.plural);
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({
                "get": operation("get"), "put": operation("put"), "patch": operation("patch"),
                "delete": operation("delete"),
            }),
        );
        paths.insert(
            collection,
            json!({"get": operation("list"), "post": operation("post")}),
        );
        let mut schema = kind.schema.document();
        let metadata = format!("#/components/schemas/{OBJECT_META}");
        let description = "Its name, its labels, and who made it when.";
        let metadata = json!({"allOf": [{"$ref": metadata}], "description": description});
        add_envelope(&mut schema, metadata);
        if let Some(map) = schema.as_object_mut() {
            map.insert("x-kubernetes-group-version-kind".to_owned(), json!([gvk]));
        }
        schemas.insert(name, schema);
    }
    schemas.insert(OBJECT_META.to_owned(), object_meta());
    if paths.is_empty() {
        return Err(ApiError::no_such_resource());
    }
    Ok(json!({
        "openapi": "3.0.0",
        "info": {"title": "Heddle", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// The name of the schema of `metadata`.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of `metadata`.
pub(crate) fn object_meta() -> Value {
    metadata::SCHEMA.document()
}

/// Says of a schema what every object has: its envelope, and `metadata`, of which a definition cannot say
/// more than that it is an object.
pub(crate) fn add_envelope(schema: &mut Value, metadata: Value) {
    for (name, description) in [
        (
            "apiVersion",
            "The group and version that the object is written in.",
        ),
        ("kind", "The kind of the object."),
    ] {
        let field = &mut schema["properties"][name];
        if field.is_null() {
            *field = json!({"type": "string", "description": description});
        }
    }
    schema["properties"]["metadata"] = metadata;
    schema["type"] = json!("object");
}

fn parameter(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "query", "description": description,
        "schema": {"type": "string", "uniqueItems": true},
    })
}

/// The name of a schema as Kubernetes forms it: the group backwards, the version, the kind; or for its
/// own kinds the package that they are in.
pub(crate) fn schema_name(kind: &ResourceKind) -> String {
    if rules::is_built_in(kind) {
        let group = kind.group.split('.').next().unwrap_or_default();
        let package = match group {
            "" => "api.core",
            "apiextensions" => "apiextensions-apiserver.pkg.apis.apiextensions",
            group => &format!("api.{group}"),
        };
        return format!("io.k8s.{package}.{}.{}", kind.version, kind.kind);
    }
    let mut parts: Vec<&str> = kind
        .group
        .split('.')
        .filter(|part| !part.is_empty())
        .collect();
    parts.reverse();
    parts.extend([kind.version.as_str(), &kind.kind]);
    parts.join(".")
}

/// What to do with fields that the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Nothing.
    Ignore,
    /// Warn in a header.
    Warn,
    /// Refuse.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("" | "Warn") => Some(Self::Warn),
            Some("Ignore") => Some(Self::Ignore),
            Some("Strict") => Some(Self::Strict),
            Some(_) => None,
        }
    }

    /// Checks an object, in whose text there were `mistakes`; gives the warnings.
    pub(crate) fn check(
        self,
        kind: &ResourceKind,
        body: &Value,
        mistakes: Vec<String>,
    ) -> Result<Vec<String>, ApiError> {
        let named = self.named(kind, body, mistakes);
        if self == Self::Strict && !named.is_empty() {
            return Err(ApiError::bad_request(format!(
                "{0} in version \"{1}\" cannot be handled as a {0}: {2}",
                kind.kind,
                kind.version,
                strict(&named)
            )));
        }
        Ok(named)
    }

    /// The mistakes in an object's text and its unknown fields, in words.
    pub(crate) fn named(
        self,
        kind: &ResourceKind,
        body: &Value,
        mut mistakes: Vec<String>,
    ) -> Vec<String> {
        if self == Self::Ignore {
            return Vec::new();
        }
        let mut unknown = kind.schema.unknown(body, MAX_NAMED);
        unknown.extend(metadata::unknown(body, MAX_NAMED));
        unknown.sort_unstable();
        mistakes.extend(unknown.iter().map(|path| format!("unknown field {path:?}")));
        mistakes
    }

    /// Refuses, warns or ignores what is named.
    pub(crate) fn judge(self, named: Vec<String>) -> Result<Vec<String>, ApiError> {
        match self {
            Self::Strict if !named.is_empty() => Err(ApiError::bad_request(strict(&named))),
            Self::Ignore => Ok(Vec::new()),
            Self::Strict | Self::Warn => Ok(named),
        }
    }
}

/// Why a strict reader refuses an object.
pub(crate) fn strict(named: &[String]) -> String {
    format!("strict decoding error: {}", named.join(", "))
}
