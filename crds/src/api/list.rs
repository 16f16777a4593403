//! Lists: whole or in pages.
//!
//! The pages of a list show one state: that of the version at which the first one was read, which each
//! page names. What happened since is undone by the remembered past of the kind, and so is it for a
//! list of an exact version. Should that version be no longer remembered, the answer is 410 Expired.
//! The client starts over then, or goes on with the token of the refusal, whose pages show the state of
//! the next.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::ApiError;
use super::format::{Format, metadata_of};
use super::object::{Key, Object};
use super::registry::KindId;
use super::route::Query;
use super::selector::Selector;
use super::store::Store;
use super::{table, version};
use crate::resource::FieldError;
use crate::resource::ResourceKind;

/// What is to be listed.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The kind.
    pub(crate) kind: KindId,
    /// One namespace, or all.
    pub(crate) namespace: Option<String>,
    /// Which objects.
    pub(crate) selector: Selector,
    /// How they are written.
    pub(crate) format: Format,
}

#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    /// The version at which the first page was read; none where the client goes on without it.
    rv: Option<u64>,
    /// The namespace and the name of the last object that was given.
    ns: String,
    name: String,
}

impl Continue {
    fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The refusal to go on where the version is no longer remembered. Its token goes on with the
    /// objects of now.
    fn expired(&self) -> ApiError {
        let on = Self {
            rv: None,
            ns: self.ns.clone(),
            name: self.name.clone(),
        };
        ApiError::expired_list(on.encode())
    }
}

struct Page {
    objects: Vec<Arc<Object>>,
    version: u64,
    next: Option<String>,
    remaining: Option<usize>,
}

/// The chunks of an answer, each of which is made when it is its turn.
pub(crate) type Chunks = Box<dyn Iterator<Item = Bytes> + Send>;

/// About the size of a chunk, in bytes.
const CHUNK: usize = 64 * 1024;

/// Makes the answer. Objects are written one chunk at a time, so that a list takes little memory
/// beside them.
pub(crate) fn list(store: &Store, options: &Options, query: &Query) -> Result<Chunks, ApiError> {
    let page = read_page(store, options, query)?;
    let kind = store.kind(options.kind)?;
    let mut metadata = json!({"resourceVersion": page.version.to_string()});
    if let Some(next) = page.next {
        metadata["continue"] = json!(next);
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    if let Format::Table { include } = options.format {
        let now = store.now();
        let rows: Vec<Value> = page
            .objects
            .iter()
            .map(|o| table::row(&kind, &version::shown(&kind, o), now, include))
            .collect();
        let table = table::table(&kind, &rows, &metadata).to_string();
        return Ok(Box::new(std::iter::once(Bytes::from(table))));
    }
    let (list_kind, api_version) = options.format.list_kind(&kind);
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{metadata},\"items\":[",
        Value::from(list_kind),
        Value::from(api_version),
    );
    let items = items(kind, options.format, page.objects);
    let head = std::iter::once(Bytes::from(head));
    let end = std::iter::once(Bytes::from_static(b"]}\n"));
    Ok(Box::new(head.chain(items).chain(end)))
}

/// The objects with commas between them, in chunks.
fn items(
    kind: Arc<ResourceKind>,
    format: Format,
    objects: Vec<Arc<Object>>,
) -> impl Iterator<Item = Bytes> + Send {
    let mut objects = objects.into_iter();
    let mut first = true;
    std::iter::from_fn(move || {
        let mut out = BytesMut::with_capacity(CHUNK);
        while out.len() < CHUNK {
            let Some(object) = objects.next() else {
                break;
            };
            if !std::mem::take(&mut first) {
                out.put_u8(b',');
            }
            match format {
                Format::Metadata => {
                    let metadata = metadata_of(&object.value()).to_string();
                    out.put_slice(metadata.as_bytes());
                }
                Format::Full | Format::Table { .. } => version::write(&kind, &object, &mut out),
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    })
}

/// The version whose state a list shows. A list in pages shows one state, so that a version and a limit
/// without `resourceVersionMatch` ask for exactly that version, as with Kubernetes.
fn version_of(query: &Query, limited: bool, current: u64) -> Result<u64, ApiError> {
    let Some(asked) = query.get("resourceVersion").filter(|v| *v != "0") else {
        return Ok(current);
    };
    let asked = read_version(asked)?;
    if asked > current {
        return Err(ApiError::version_too_large(asked, current));
    }
    let exact = match query.get("resourceVersionMatch").unwrap_or_default() {
        "" => limited,
        matching => matching == "Exact",
    };
    Ok(if exact { asked } else { current })
}

fn read_page(store: &Store, options: &Options, query: &Query) -> Result<Page, ApiError> {
    let limit = query.signed("limit")?.filter(|limit| *limit > 0);
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let from = query.get("continue").map(decode).transpose()?;
    let versioned = query.get("resourceVersion").is_some_and(|v| v != "0");
    if from.is_some() && versioned {
        return Err(ApiError::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    store.read(|memory| {
        let current = memory.version();
        let version = match &from {
            Some(Continue { rv: Some(rv), .. }) => *rv,
            _ => version_of(query, limit.is_some(), current)?,
        };
        let after = from.as_ref().map(|f| Key::new(&f.ns, &f.name));
        let namespace = options.namespace.as_deref();
        let all = memory
            .list_at(options.kind, namespace, after.as_ref(), version)
            .map_err(|_| from.as_ref().map_or_else(too_old, Continue::expired))?;
        let mut found = all.into_iter().filter(|o| options.selector.matches(o));
        let objects: Vec<_> = found
            .by_ref()
            .take(limit.unwrap_or(usize::MAX))
            .cloned()
            .collect();
        let rest = found.count();
        let next = objects.last().filter(|_| rest > 0).map(|last| {
            let token = Continue {
                rv: Some(version),
                ns: last.namespace().to_owned(),
                name: last.name().to_owned(),
            };
            token.encode()
        });
        let remaining = (rest > 0 && options.selector.is_empty()).then_some(rest);
        Ok(Page {
            objects,
            version,
            next,
            remaining,
        })
    })
}

fn too_old() -> ApiError {
    ApiError::expired("The resourceVersion for the provided list is too old.")
}

/// Checks that the options of a list, or of a watch, go together.
pub(crate) fn check_options(query: &Query, watches: bool) -> Result<(), ApiError> {
    const MATCH: &str = "resourceVersionMatch";
    const INITIAL: &str = "sendInitialEvents";
    let mut errors = Vec::new();
    let mut wrong = |field: &str, reason, message: String| {
        errors.push(FieldError {
            field: field.to_owned(),
            message,
            reason,
        });
    };
    let forbidden = "FieldValueForbidden";
    query.signed("timeoutSeconds")?;
    let initial = query.flag(INITIAL)?.is_some();
    let matching = query.get(MATCH);
    if watches && initial && matching != Some("NotOlderThan") {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        wrong(MATCH, forbidden, why.to_owned());
    }
    if let Some(matching) = matching {
        let known: &[&str] = if watches {
            &["NotOlderThan"]
        } else {
            &["Exact", "NotOlderThan", ""]
        };
        let unless = if watches && !initial {
            Some("for watch unless sendInitialEvents is provided")
        } else if !watches && query.get("resourceVersion").is_none() {
            Some("unless resourceVersion is provided")
        } else {
            None
        };
        if let Some(unless) = unless {
            wrong(MATCH, forbidden, format!("{MATCH} is forbidden {unless}"));
        }
        if query.get("continue").is_some() {
            let why = format!("{MATCH} is forbidden when continue is provided");
            wrong(MATCH, forbidden, why);
        }
        if !known.contains(&matching) {
            let known: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
            let why = format!("{matching:?}: supported values: {}", known.join(", "));
            wrong(MATCH, "FieldValueNotSupported", why);
        }
        if !watches && matching == "Exact" && query.get("resourceVersion") == Some("0") {
            let why = format!("{MATCH} \"exact\" is forbidden for resourceVersion \"0\"");
            wrong(MATCH, forbidden, why);
        }
    }
    if initial && !watches {
        let why = "sendInitialEvents is forbidden for list";
        wrong(INITIAL, forbidden, why.to_owned());
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid_options("ListOptions", &errors))
    }
}

fn decode(token: &str) -> Result<Continue, ApiError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| {
            ApiError::bad_request("invalid continue token: continue key is not valid; start over")
        })
}

/// Reads a `resourceVersion`.
pub(crate) fn read_version(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: must be a number"
        ))
    })
}
