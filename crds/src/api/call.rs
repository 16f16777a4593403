//! Calls for objects: one method for each verb.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::deletion::{self, Deleted};
use super::error::ApiError;
use super::format::Format;
use super::http::{ResponseBody, answer_of, json_answer, stream_of};
use super::object::{Key, Object};
use super::owners::Part;
use super::patch;
use super::registry::KindId;
use super::route::Query;
use super::selector::Selector;
use super::write;
use super::{Inner, definitions, list, watch};
use crate::resource::FieldError;

/// One call for objects.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Arc<Inner>,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: &'a Query,
    pub(crate) format: Format,
}

impl Call<'_> {
    /// Gives one object.
    pub(crate) fn get(&self, kind: KindId, key: &Key) -> Result<Response<ResponseBody>, ApiError> {
        self.one(StatusCode::OK, kind, &*self.api.store.get(kind, key)?)
    }

    pub(crate) fn one(
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

    fn selector(&self, kind: KindId) -> Result<Selector, ApiError> {
        Selector::parse(
            &*self.api.store.kind(kind)?,
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
        let watches = self.query.flag("watch")?.unwrap_or(false);
        list::check_options(self.query, watches)?;
        let selector = self.selector(kind)?;
        if !watches {
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
                .signed("timeoutSeconds")?
                .and_then(|seconds| u64::try_from(seconds).ok())
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
        let initial = self.query.flag("sendInitialEvents")?;
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

    /// The refusal of a parameter.
    pub(crate) fn bad_options(
        &self,
        reason: &'static str,
        field: &str,
        message: impl Into<String>,
    ) -> ApiError {
        let options = match *self.method {
            Method::POST => "CreateOptions",
            Method::PUT => "UpdateOptions",
            Method::PATCH => "PatchOptions",
            Method::DELETE => "DeleteOptions",
            _ => "ListOptions",
        };
        let error = FieldError {
            field: field.to_owned(),
            message: message.into(),
            reason,
        };
        ApiError::invalid_options(options, &[error])
    }

    /// Whether the write is to be kept.
    pub(crate) fn keep(&self) -> Result<bool, ApiError> {
        match self.query.get("dryRun") {
            None => Ok(true),
            Some("All") => Ok(false),
            Some(other) => Err(self.bad_options(
                "FieldValueNotSupported",
                "dryRun",
                format!("[{other:?}]: supported values: \"All\""),
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
        let (object, created) = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                write::update(t, kind, &key, Part::of(status), &by, value)
            })
            .await?;
        let code = if created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        Ok(warned(self.one(code, kind, &object)?, &warnings))
    }

    /// Patches an object or its status.
    pub(crate) async fn patch(
        &self,
        kind: KindId,
        key: Key,
        status: bool,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let own = self.own_definition(kind, &key);
        let patching = self.patch_body(kind, &body)?;
        let patched = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                patch::patch(t, kind, &key, Part::of(status), patching)
            })
            .await?;
        let code = if patched.created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        let answer = self.one(code, kind, &patched.object)?;
        Ok(warned(answer, &[own, patched.warnings].concat()))
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
        list::check_options(self.query, false)?;
        let selector = self.selector(kind)?;
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

/// Adds warnings as `kubectl` shows them. One that has control characters fits no header and is
/// left out.
pub(crate) fn warned(
    mut response: Response<ResponseBody>,
    warnings: &[String],
) -> Response<ResponseBody> {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = header::HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}
