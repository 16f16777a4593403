//! Calls for objects: one method for each verb.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Response, StatusCode, header};
use serde_json::{Value, json};

use super::decode::{self, Decoded};
use super::deletion::{self, Deleted};
use super::error::ApiError;
use super::format::Format;
use super::http::{ResponseBody, answer_of, json_answer, stream_of, text};
use super::object::{Key, Object};
use super::openapi::FieldValidation;
use super::patch::{self, Patch};
use super::protobuf;
use super::registry::KindId;
use super::route::Query;
use super::selector::Selector;
use super::write;
use super::{Inner, definitions, list, watch};
use crate::resource::ResourceKind;

/// Bytes of the name of a client that writes.
const MAX_MANAGER: usize = 128;
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// One call for objects.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Arc<Inner>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: &'a Query,
    pub(crate) format: Format,
}

impl Call<'_> {
    /// Gives one object.
    pub(crate) fn get(&self, kind: KindId, key: &Key) -> Result<Response<ResponseBody>, ApiError> {
        self.one(StatusCode::OK, kind, &*self.api.store.get(kind, key)?)
    }

    fn one(
        &self,
        code: StatusCode,
        kind: KindId,
        object: &Object,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let store = &self.api.store;
        let kind = store.kind(kind)?;
        let json = self.format.one(&kind, object, store.now(), true);
        Ok(json_answer(code, json))
    }

    fn selector(&self) -> Result<Selector, ApiError> {
        Selector::parse(
            self.query.get("labelSelector").unwrap_or_default(),
            self.query.get("fieldSelector").unwrap_or_default(),
        )
    }

    /// Lists or watches a collection.
    pub(crate) fn list_or_watch(
        &self,
        kind: KindId,
        namespace: Option<String>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let selector = self.selector()?;
        if !self.query.flag("watch")?.unwrap_or(false) {
            if self.query.get("sendInitialEvents").is_some() {
                return Err(bad_options(
                    "sendInitialEvents",
                    "sendInitialEvents is forbidden for list",
                ));
            }
            let options = list::Options {
                kind,
                namespace,
                selector,
                format: self.format,
            };
            let chunks = list::list(&self.api.store, &options, self.query)?;
            return Ok(answer_of(StatusCode::OK, stream_of(stream::iter(chunks))));
        }
        let options = watch::Options {
            kind,
            namespace,
            selector,
            start: self.start()?,
            bookmarks: self.query.flag("allowWatchBookmarks")?.unwrap_or(false),
            seconds: self
                .query
                .number("timeoutSeconds")?
                .filter(|seconds| *seconds > 0),
            format: self.format,
        };
        let permit = Arc::clone(&self.api.watches)
            .try_acquire_owned()
            .map_err(|_| {
                ApiError::too_many_requests(
                    "too many watches are open; close some of them or try again later",
                )
            })?;
        let drain = self.api.drain.child_token();
        let events = watch::start(Arc::clone(&self.api.store), options, drain, permit)?;
        Ok(answer_of(StatusCode::OK, stream_of(events)))
    }

    fn start(&self) -> Result<watch::Start, ApiError> {
        let version = self.query.get("resourceVersion").filter(|v| *v != "0");
        let version = version.map(list::read_version).transpose()?;
        let matching = self.query.get("resourceVersionMatch");
        let initial = self.query.flag("sendInitialEvents")?;
        if initial.is_some() && matching != Some("NotOlderThan") {
            return Err(bad_options(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if initial.is_none() && matching.is_some() {
            return Err(bad_options(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        match (initial, version) {
            (Some(true), version) => {
                let current = self.api.store.read(super::store::Memory::version);
                if let Some(asked) = version.filter(|v| *v > current) {
                    return Err(ApiError::version_too_large(asked, current));
                }
                // The end is marked with a bookmark, for those who take bookmarks.
                let mark_end = self.query.flag("allowWatchBookmarks")?.unwrap_or(false);
                Ok(watch::Start::Initial { mark_end })
            }
            (_, Some(version)) => Ok(watch::Start::After(version)),
            (Some(false), None) => Ok(watch::Start::Now),
            (None, None) => Ok(watch::Start::Initial { mark_end: false }),
        }
    }

    /// Whether the write is to be kept.
    fn keep(&self) -> Result<bool, ApiError> {
        match self.query.get("dryRun") {
            None => Ok(true),
            Some("All") => Ok(false),
            Some(other) => Err(bad_options(
                "dryRun",
                &format!("Unsupported value: {other:?}: supported values: \"All\""),
            )),
        }
    }

    fn json_body(&self, body: &[u8]) -> Result<Decoded, ApiError> {
        match self.media() {
            "" | "application/json" => parse(body),
            protobuf::MEDIA => protobuf::decode(body).map(Decoded::of).map_err(Into::into),
            _ => Err(ApiError::unsupported_media_type("application/json")),
        }
    }

    /// What to do with fields that are not known or are given twice.
    fn validation(&self) -> Result<FieldValidation, ApiError> {
        let wanted = self.query.get("fieldValidation");
        FieldValidation::parse(wanted).ok_or_else(|| {
            bad_options(
                "fieldValidation",
                &format!(
                    "Unsupported value: {:?}: supported values: \"Ignore\", \"Strict\", \"Warn\"",
                    wanted.unwrap_or_default()
                ),
            )
        })
    }

    /// Checks the fields of a body against the schema, as the client wants it.
    fn checked(&self, kind: KindId, body: Decoded) -> Result<(Value, Vec<String>), ApiError> {
        let kind = self.api.store.kind(kind)?;
        let warnings = self
            .validation()?
            .check(&kind, &body.value, body.mistakes)?;
        Ok((body.value, warnings))
    }

    /// The name of the client that writes, as it says itself.
    fn manager(&self) -> Result<String, ApiError> {
        let Some(name) = self.query.get("fieldManager") else {
            return Ok(agent(
                text(self.headers, header::USER_AGENT).unwrap_or_default(),
            ));
        };
        if name.len() > MAX_MANAGER {
            return Err(bad_options(
                "fieldManager",
                &format!("Too long: may not be more than {MAX_MANAGER} bytes"),
            ));
        }
        match name.char_indices().find(|(_, c)| c.is_control()) {
            None => Ok(name.to_owned()),
            Some((at, c)) => Err(bad_options(
                "fieldManager",
                &format!(
                    "Invalid value: {name:?}: invalid character U+{:04X} (at position {at})",
                    u32::from(c)
                ),
            )),
        }
    }

    /// The warning to whoever writes a definition that is compiled in.
    fn own_definition(&self, kind: KindId, key: &Key) -> Vec<String> {
        let own = definitions::is_own(&self.api.store.registry(), kind, &key.name);
        own.then(|| definitions::WARNING.to_owned())
            .into_iter()
            .collect()
    }

    /// The content type without its parameters.
    fn media(&self) -> &str {
        let value = text(self.headers, header::CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    /// Creates an object.
    pub(crate) async fn create(
        &self,
        kind: KindId,
        namespace: Option<String>,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let namespaced = self.api.store.kind(kind)?.namespaced;
        if namespaced && namespace.is_none() {
            // Objects are created in a namespace; the collection of all is only for reading.
            return Err(ApiError::method_not_allowed());
        }
        let (value, warnings) = self.checked(kind, self.json_body(&body)?)?;
        let namespace = namespace.unwrap_or_default();
        let by = self.manager()?;
        let object = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                write::create(t, kind, &namespace, &by, value)
            })
            .await?;
        Ok(warned(
            self.one(StatusCode::CREATED, kind, &object)?,
            &warnings,
        ))
    }

    /// Replaces an object or its status.
    pub(crate) async fn update(
        &self,
        kind: KindId,
        key: Key,
        status: bool,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let (value, mut warnings) = self.checked(kind, self.json_body(&body)?)?;
        let by = self.manager()?;
        warnings.extend(self.own_definition(kind, &key));
        let object = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                write::update(t, kind, &key, status, &by, value)
            })
            .await?;
        Ok(warned(self.one(StatusCode::OK, kind, &object)?, &warnings))
    }

    /// Patches an object or its status.
    pub(crate) async fn patch(
        &self,
        kind: KindId,
        key: Key,
        status: bool,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let (patch, mut warnings) = self.patch_body(kind, &body)?;
        warnings.extend(self.own_definition(kind, &key));
        let by = self.manager()?;
        let patched = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                patch::patch(t, kind, &key, status, &by, patch)
            })
            .await?;
        let code = if patched.created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        Ok(warned(self.one(code, kind, &patched.object)?, &warnings))
    }

    /// Reads a patch, and checks what can be checked of it without the object.
    fn patch_body(&self, kind: KindId, body: &[u8]) -> Result<(Patch, Vec<String>), ApiError> {
        let mergeable = strategic(&*self.api.store.kind(kind)?);
        let media = self.media();
        if media != APPLY_PATCH && self.query.get("force").is_some() {
            return Err(bad_options(
                "force",
                "may not be specified for non-apply patch",
            ));
        }
        match media {
            // These patches look like the object, so their fields can be checked as they are.
            MERGE_PATCH => {
                let (value, warnings) = self.checked(kind, parse(body)?)?;
                Ok((Patch::Merge(value), warnings))
            }
            STRATEGIC_PATCH if mergeable => {
                let body = parse(body)?;
                let warnings = self.validation()?.judge(body.mistakes)?;
                Ok((Patch::Strategic(body.value), warnings))
            }
            JSON_PATCH => Ok((Patch::Json(parse(body)?.value), Vec::new())),
            APPLY_PATCH => {
                if self.query.get("fieldManager").is_none() {
                    return Err(bad_options(
                        "fieldManager",
                        "Required value: is required for apply patch",
                    ));
                }
                let body = decode::yaml(body).map_err(|error| {
                    ApiError::bad_request(format!("error decoding YAML: {error}"))
                })?;
                let warnings = self.validation()?.judge(body.mistakes)?;
                let force = self.query.flag("force")?.unwrap_or(false);
                let config = body.value;
                Ok((Patch::Apply { config, force }, warnings))
            }
            _ if mergeable => Err(ApiError::unsupported_media_type(&format!(
                "{JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_PATCH}, {APPLY_PATCH}"
            ))),
            _ => Err(ApiError::unsupported_media_type(&format!(
                "{JSON_PATCH}, {MERGE_PATCH}, {APPLY_PATCH}"
            ))),
        }
    }

    /// Deletes an object.
    pub(crate) async fn delete(
        &self,
        kind: KindId,
        key: Key,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let (options, keep) = self.delete_options(&body)?;
        let deleted = self
            .api
            .store
            .write(body.len(), keep, move |t| {
                deletion::delete(t, kind, &key, &options)
            })
            .await?;
        match deleted {
            Deleted::Waiting(object) => self.one(StatusCode::OK, kind, &object),
            Deleted::Gone(object) => {
                let kind = self.api.store.kind(kind)?;
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "details": {
                        "name": object.name(), "group": kind.group, "kind": kind.plural,
                        "uid": object.uid(),
                    },
                });
                Ok(json_answer(StatusCode::OK, status.to_string().into()))
            }
        }
    }

    /// Deletes what is selected of a collection.
    pub(crate) async fn delete_all(
        &self,
        kind: KindId,
        namespace: Option<String>,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let (options, keep) = self.delete_options(&body)?;
        let selector = self.selector()?;
        let deleted = self
            .api
            .store
            .write(body.len(), keep, move |t| {
                let mut deleted = Vec::new();
                for key in t.keys(kind, namespace.as_deref()) {
                    if t.get(kind, &key)
                        .is_some_and(|object| selector.matches(&object))
                    {
                        deleted.push(deletion::delete(t, kind, &key, &options)?);
                    }
                }
                Ok(deleted)
            })
            .await?;
        let kind = self.api.store.kind(kind)?;
        let items: Vec<Value> = deleted
            .iter()
            .map(|(Deleted::Gone(object) | Deleted::Waiting(object))| {
                super::version::shown(&kind, object)
            })
            .collect();
        let (list_kind, version) = Format::Full.list_kind(&kind);
        let current = self.api.store.read(super::store::Memory::version);
        let list = json!({
            "kind": list_kind, "apiVersion": version, "items": items,
            "metadata": {"resourceVersion": current.to_string()},
        });
        Ok(json_answer(StatusCode::OK, list.to_string().into()))
    }

    /// What a deletion demands, and whether it is to be kept.
    fn delete_options(&self, body: &[u8]) -> Result<(deletion::Options, bool), ApiError> {
        let given = if body.is_empty() {
            None
        } else {
            Some(self.json_body(body)?.value)
        };
        let options = deletion::Options::read(given.as_ref(), self.query)?;
        let keep = self.keep()? && !options.dry_run;
        Ok((options, keep))
    }
}

/// The name that a `User-Agent` begins with, up to its version.
fn agent(header: &str) -> String {
    let name = header.split('/').next().unwrap_or_default();
    let mut kept = String::new();
    for c in name.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > MAX_MANAGER {
            break;
        }
        kept.push(c);
    }
    if kept.is_empty() {
        "unknown".to_owned()
    } else {
        kept
    }
}

/// Adds warnings as `kubectl` shows them.
fn warned(mut response: Response<ResponseBody>, warnings: &[String]) -> Response<ResponseBody> {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = header::HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// Whether strategic merge patches are made for a kind: those of Kubernetes itself, which have no
/// definition and whose groups have no domain or one of its own.
fn strategic(kind: &ResourceKind) -> bool {
    kind.definition.is_none() && (!kind.group.contains('.') || kind.group.ends_with(".k8s.io"))
}

fn bad_options(field: &str, message: &str) -> ApiError {
    let error = crate::resource::FieldError {
        field: field.to_owned(),
        message: message.to_owned(),
        reason: if message.starts_with("Unsupported") {
            "FieldValueNotSupported"
        } else if message.starts_with("Required") {
            "FieldValueRequired"
        } else if message.starts_with("Invalid") {
            "FieldValueInvalid"
        } else if message.starts_with("Too long") {
            "FieldValueTooLong"
        } else {
            "FieldValueForbidden"
        },
    };
    ApiError::invalid_of("Options.meta.k8s.io", "", &[error])
}

fn parse(body: &[u8]) -> Result<Decoded, ApiError> {
    decode::json(body).map_err(|error| {
        ApiError::bad_request(format!(
            "the body of the request is not valid JSON: {error}"
        ))
    })
}
