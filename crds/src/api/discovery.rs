//! Discovery: which groups, versions and resources are served, told in one document for all
//! groups (aggregated) or in one for each.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::error::ApiError;
use super::http::{ResponseBody, json_answer, text};
use super::registry::Registry;
use super::review::REVIEWS;
use super::version::stability;
use crate::resource::ResourceKind;

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// `/version`: the version of the Kubernetes API whose behaviour is followed.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "36",
        "gitVersion": concat!("v1.36.0+heddle-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`.
pub(crate) fn core_versions() -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

/// A kind by its full name.
#[derive(Clone, Copy, Debug)]
struct Named<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl Named<'_> {
    fn value(self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }
}

/// A part of an object that is served on its own.
#[derive(Clone, Debug)]
struct Part<'a> {
    name: &'static str,
    /// What is read and written there.
    kind: Named<'a>,
    verbs: &'static [&'static str],
}

/// One resource.
#[derive(Clone, Debug)]
struct Resource<'a> {
    plural: &'a str,
    singular: &'a str,
    kind: Named<'a>,
    namespaced: bool,
    verbs: &'static [&'static str],
    short_names: &'a [String],
    categories: &'a [String],
    parts: Vec<Part<'a>>,
}

/// All resources, by group and then by version, the best version first.
type Groups<'a> = BTreeMap<&'a str, Vec<(&'a str, Vec<Resource<'a>>)>>;

fn resource(kind: &ResourceKind) -> Resource<'_> {
    let named = Named {
        group: &kind.group,
        version: &kind.version,
        kind: &kind.kind,
    };
    let mut parts = Vec::new();
    let changed: &[&str] = &["get", "patch", "update"];
    let mut part = |name, kind, verbs| parts.push(Part { name, kind, verbs });
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "namespaces") => part("finalize", named, &["update"]),
        ("", "serviceaccounts") => {
            let request = Named {
                group: "authentication.k8s.io",
                version: "v1",
                kind: "TokenRequest",
            };
            part("token", request, &["create"]);
        }
        _ => {}
    }
    if kind.scale.is_some() {
        let scale = Named {
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
        };
        part("scale", scale, changed);
    }
    if kind.status_subresource {
        part("status", named, changed);
    }
    Resource {
        plural: &kind.plural,
        singular: &kind.singular,
        kind: named,
        namespaced: kind.namespaced,
        verbs: &VERBS,
        short_names: &kind.short_names,
        categories: &kind.categories,
        parts,
    }
}

fn all(registry: &Registry) -> Groups<'_> {
    let stored = registry.kinds().iter().map(|kind| resource(kind));
    let asked = REVIEWS.iter().map(|review| Resource {
        plural: review.plural,
        singular: "",
        kind: Named {
            group: review.group,
            version: "v1",
            kind: review.kind,
        },
        namespaced: review.namespaced,
        verbs: &["create"],
        short_names: &[],
        categories: &[],
        parts: Vec::new(),
    });
    let mut groups: Groups<'_> = BTreeMap::new();
    for resource in stored.chain(asked) {
        let versions = groups.entry(resource.kind.group).or_default();
        let version = resource.kind.version;
        match versions.iter_mut().find(|(name, _)| *name == version) {
            Some((_, resources)) => resources.push(resource),
            None => versions.push((version, vec![resource])),
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by_key(|(version, _)| std::cmp::Reverse(stability(version)));
        for (_, resources) in versions {
            resources.sort_by_key(|resource| resource.plural);
        }
    }
    groups
}

fn group_value(group: &str, versions: &[(&str, Vec<Resource<'_>>)]) -> Value {
    let entry = |(v, _): &(&str, Vec<Resource<'_>>)| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    json!({
        "name": group,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

/// `/apis`.
pub(crate) fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = all(registry)
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_value(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub(crate) fn group(registry: &Registry, group: &str) -> Result<Value, ApiError> {
    let all = all(registry);
    let versions = all
        .get(group)
        .filter(|_| !group.is_empty())
        .ok_or_else(ApiError::no_such_resource)?;
    let mut value = group_value(group, versions);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    Ok(value)
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub(crate) fn resources(
    registry: &Registry,
    group: &str,
    version: &str,
) -> Result<Value, ApiError> {
    let all = all(registry);
    let (_, served) = all
        .get(group)
        .and_then(|versions| versions.iter().find(|(name, _)| *name == version))
        .ok_or_else(ApiError::no_such_resource)?;
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut resources = Vec::new();
    for resource in served {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular,
            "namespaced": resource.namespaced, "kind": resource.kind.kind,
            "verbs": resource.verbs,
        });
        decorate(&mut entry, resource);
        resources.push(entry);
        for part in &resource.parts {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, part.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": part.kind.kind, "verbs": part.verbs,
            });
            if part.kind.group != group {
                entry["group"] = json!(part.kind.group);
                entry["version"] = json!(part.kind.version);
            }
            resources.push(entry);
        }
    }
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": group_version, "resources": resources,
    }))
}

fn decorate(entry: &mut Value, resource: &Resource<'_>) {
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
}

/// The version of the aggregated form that a client prefers, if it takes any before plain JSON.
fn aggregated_version(accept: &str) -> Option<&'static str> {
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if parts.next() != Some("application/json") {
            return None;
        }
        let parts: Vec<&str> = parts.collect();
        if !parts.contains(&"as=APIGroupDiscoveryList") || !parts.contains(&"g=apidiscovery.k8s.io")
        {
            return parts.is_empty().then_some(None);
        }
        ["v2", "v2beta1"]
            .into_iter()
            .find(|version| parts.contains(&format!("v={version}").as_str()))
            .map(Some)
    })?
}

/// `/api` or `/apis` in the aggregated form, if the client takes it.
pub(crate) fn aggregated(
    registry: &Registry,
    core: bool,
    headers: &HeaderMap,
) -> Option<Response<ResponseBody>> {
    let version = aggregated_version(text(headers, header::ACCEPT)?)?;
    let items: Vec<Value> = all(registry)
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|(version, resources)| {
                    let resources: Vec<Value> = resources.iter().map(entry).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !core {
                metadata["name"] = json!(group);
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    });
    let media =
        format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    Some(tagged(headers, &media, body.to_string().into()))
}

fn entry(resource: &Resource<'_>) -> Value {
    let scope = if resource.namespaced {
        "Namespaced"
    } else {
        "Cluster"
    };
    let mut value = json!({
        "resource": resource.plural, "responseKind": resource.kind.value(), "scope": scope,
        "singularResource": resource.singular, "verbs": resource.verbs,
    });
    decorate(&mut value, resource);
    if !resource.parts.is_empty() {
        let parts = resource.parts.iter().map(|part| {
            json!({
                "subresource": part.name, "responseKind": part.kind.value(), "verbs": part.verbs,
            })
        });
        value["subresources"] = parts.collect();
    }
    value
}

/// An answer that the client need not get again while it stays the same.
pub(crate) fn tagged(headers: &HeaderMap, media: &str, body: Bytes) -> Response<ResponseBody> {
    let digest = ring::digest::digest(&ring::digest::SHA256, &body);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
    let tag = format!("\"{hex}\"");
    let known = text(headers, header::IF_NONE_MATCH)
        .is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag));
    let mut response = if known {
        json_answer(StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        json_answer(StatusCode::OK, body)
    };
    for (name, value) in [
        (header::CONTENT_TYPE, media),
        (header::ETAG, &tag),
        (header::VARY, "Accept"),
        (header::CACHE_CONTROL, "public"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
