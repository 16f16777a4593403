//! From a URL to what is asked for.

use super::error::ApiError;
use super::object::Key;
use super::registry::{KindId, Registry};
use super::review::{self, Review};

/// Bytes of a path and its query.
const MAX_URI: usize = 16 * 1024;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/version`.
    Version,
    /// `/livez`, `/readyz`, `/healthz`.
    Health,
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApi,
    /// `/openapi/v3/<group path>`.
    OpenApiOf(String),
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1` or `/apis/<group>/<version>`.
    Resources {
        /// The group.
        group: String,
        /// The version.
        version: String,
    },
    /// All objects of a kind, of one namespace or of all.
    Collection {
        /// The kind.
        kind: KindId,
        /// The namespace; none for cluster-scoped kinds and for all namespaces.
        namespace: Option<String>,
    },
    /// One object, or its status.
    Object {
        /// The kind.
        kind: KindId,
        /// The namespace; empty for cluster-scoped kinds.
        namespace: String,
        /// The name.
        name: String,
        /// Whether the path ends in `/status`.
        status: bool,
    },
    /// The scale of an object.
    Scale {
        /// The kind.
        kind: KindId,
        /// The object.
        key: Key,
    },
    /// The finalizers of the namespace of this name.
    Finalize(String),
    /// The tokens of this service account.
    Token(Key),
    /// A kind that is asked and not stored.
    Review(Review),
}

/// Reads a path.
pub(crate) fn route(registry: &Registry, path: &str) -> Result<Route, ApiError> {
    if path.len() > MAX_URI {
        return Err(ApiError::bad_request("the path is too long"));
    }
    let parts = path
        .trim_matches('/')
        .split('/')
        .map(decode)
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| ApiError::bad_request("the path is not valid percent-encoded UTF-8"))?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["version"] => Ok(Route::Version),
        ["livez" | "readyz" | "healthz"] => Ok(Route::Health),
        ["openapi", "v2"] => Ok(Route::OpenApiV2),
        ["openapi", "v3"] => Ok(Route::OpenApi),
        ["openapi", "v3", rest @ ..] => Ok(Route::OpenApiOf(rest.join("/"))),
        ["api"] => Ok(Route::CoreVersions),
        ["apis"] => Ok(Route::Groups),
        ["api", version] => Ok(resources("", version)),
        ["apis", group] => Ok(Route::Group((*group).to_owned())),
        ["apis", group, version] => Ok(resources(group, version)),
        ["api", version, rest @ ..] => object(registry, "", version, rest),
        ["apis", group, version, rest @ ..] => match asked(group, rest) {
            Some(review) if *version == "v1" => Ok(Route::Review(review)),
            _ => object(registry, group, version, rest),
        },
        _ => Err(ApiError::no_such_resource()),
    }
}

fn resources(group: &str, version: &str) -> Route {
    Route::Resources {
        group: group.to_owned(),
        version: version.to_owned(),
    }
}

/// The kind that is asked and not stored, if the path names one.
fn asked(group: &str, rest: &[&str]) -> Option<Review> {
    match rest {
        [plural] => review::find(group, plural, false),
        ["namespaces", _, plural] => review::find(group, plural, true),
        _ => None,
    }
}

fn object(
    registry: &Registry,
    group: &str,
    version: &str,
    rest: &[&str],
) -> Result<Route, ApiError> {
    let find = |plural: &str, namespaced: bool| {
        registry
            .by_path(group, version, plural)
            .filter(|id| {
                registry
                    .kind(*id)
                    .is_some_and(|k| k.namespaced == namespaced)
            })
            .ok_or_else(ApiError::no_such_resource)
    };
    let one = |kind: KindId, namespace: &str, name: &str, sub: Option<&str>| {
        let key = Key::new(namespace, name);
        let scales = registry.kind(kind).is_some_and(|kind| kind.scale.is_some());
        let status = match sub {
            Some("scale") if scales => return Ok(Route::Scale { kind, key }),
            Some("token") if group.is_empty() && rest.contains(&"serviceaccounts") => {
                return Ok(Route::Token(key));
            }
            None => false,
            Some("status") if registry.kind(kind).is_some_and(|k| k.status_subresource) => true,
            Some(_) => return Err(ApiError::no_such_resource()),
        };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Route::Object {
            kind,
            namespace,
            name,
            status,
        })
    };
    match rest {
        [""] => Err(ApiError::no_such_resource()),
        ["namespaces", name, "finalize"] if group.is_empty() => {
            Ok(Route::Finalize((*name).to_owned()))
        }
        // `namespaces/<name>/status` is the status of a Namespace, not a kind named `status`.
        ["namespaces", name, "status"] => one(find("namespaces", false)?, "", name, Some("status")),
        ["namespaces", namespace, plural] => Ok(Route::Collection {
            kind: find(plural, true)?,
            namespace: Some((*namespace).to_owned()),
        }),
        ["namespaces", namespace, plural, name] => one(find(plural, true)?, namespace, name, None),
        ["namespaces", namespace, plural, name, sub] => {
            one(find(plural, true)?, namespace, name, Some(sub))
        }
        [plural] => {
            let kind = registry
                .by_path(group, version, plural)
                .ok_or_else(ApiError::no_such_resource)?;
            Ok(Route::Collection {
                kind,
                namespace: None,
            })
        }
        [plural, name] => one(find(plural, false)?, "", name, None),
        [plural, name, sub] => one(find(plural, false)?, "", name, Some(sub)),
        _ => Err(ApiError::no_such_resource()),
    }
}

/// Undoes percent-encoding.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: u8| char::from(b).to_digit(16);
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok().filter(|t| !t.contains('\0'))
}

/// The parameters of a query, the last of each name counting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        if text.len() > MAX_URI {
            return Err(ApiError::bad_request("the query is too long"));
        }
        text.split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((
                    decode(&name.replace('+', " "))?,
                    decode(&value.replace('+', " "))?,
                ))
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
            .ok_or_else(|| ApiError::bad_request("the query is not valid percent-encoded UTF-8"))
    }

    /// A parameter that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// A parameter that is a number, which may be negative.
    pub(crate) fn signed(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "the query parameter {name} is {text:?}; expected a whole number"
                    ))
                })
            })
            .transpose()
    }

    /// A parameter that is true or false.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "1" | "True" | "t" | "T" | "TRUE") => Ok(Some(true)),
            Some("false" | "0" | "False" | "f" | "F" | "FALSE") => Ok(Some(false)),
            Some(text) => Err(ApiError::bad_request(format!(
                "the query parameter {name} is {text:?}; expected true or false"
            ))),
        }
    }
}

#[cfg(test)]
#[path = "tests/route.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
