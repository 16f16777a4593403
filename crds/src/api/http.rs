//! The protocol: a request becomes a read, a watch or a write, and its outcome an answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body, Frame};
use serde_json::{Value, json};

use super::error::ApiError;
use super::format::Format;
use super::object::{Key, Object};
use super::openapi::FieldValidation;
use super::registry::KindId;
use super::route::{Query, Route, route};
use super::selector::Selector;
use super::write::{self, Deleted, Patch, Preconditions};
use super::{Inner, discovery, list, openapi, watch};

/// The body of an answer.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// Bytes of a request's body.
pub(crate) const MAX_BODY: usize = 3 * 1024 * 1024;
/// How long a request's body may take to arrive.
const BODY_SECONDS: u64 = 30;
const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json";

/// Answers a request. Never fails: a refusal is an answer.
pub(crate) async fn handle<B>(api: Arc<Inner>, request: Request<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let outcome = answer(&api, request).await;
    outcome.unwrap_or_else(|error| refusal(&error))
}

/// The answer that tells a refusal.
pub(crate) fn refusal(error: &ApiError) -> Response<ResponseBody> {
    let mut response = json_answer(error.code, error.status().to_string().into());
    if let Some(seconds) = error
        .details
        .as_ref()
        .map(|d| d.retry_after_seconds)
        .filter(|seconds| *seconds > 0)
    {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

async fn answer<B>(
    api: &Arc<Inner>,
    request: Request<B>,
) -> Result<Response<ResponseBody>, ApiError>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let registry = api.store.registry();
    let route = route(registry, head.uri.path())?;
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    let fixed = match &route {
        Route::Version => Some(Ok(discovery::version())),
        Route::OpenApi => Some(Ok(openapi::index(registry))),
        Route::OpenApiOf(path) => Some(openapi::document(registry, path)),
        Route::CoreVersions => Some(Ok(discovery::core_versions())),
        Route::Groups => Some(Ok(discovery::groups(registry))),
        Route::Group(group) => Some(discovery::group(registry, group)),
        Route::Resources { group, version } => Some(discovery::resources(registry, group, version)),
        Route::Health => {
            return if reads {
                health(api)
            } else {
                Err(ApiError::method_not_allowed())
            };
        }
        Route::Collection { .. } | Route::Object { .. } => None,
    };
    if let Some(value) = fixed {
        let value = value?;
        return if reads {
            Ok(json_answer(StatusCode::OK, value.to_string().into()))
        } else {
            Err(ApiError::method_not_allowed())
        };
    }
    let format = Format::of(
        text(&head.headers, header::ACCEPT),
        query.get("includeObject"),
    )
    .ok_or_else(not_acceptable)?;
    let call = Call {
        api,
        headers: &head.headers,
        query: &query,
        format,
    };
    match route {
        Route::Collection { kind, namespace } => match head.method {
            Method::GET | Method::HEAD => call.list_or_watch(kind, namespace),
            Method::POST => call.create(kind, namespace, read(body).await?).await,
            Method::DELETE => call.delete_all(kind, namespace, read(body).await?).await,
            _ => Err(ApiError::method_not_allowed()),
        },
        Route::Object {
            kind,
            namespace,
            name,
            status,
        } => {
            let key = Key { namespace, name };
            match head.method {
                Method::GET | Method::HEAD => call.get(kind, &key),
                Method::PUT => call.update(kind, key, status, read(body).await?).await,
                Method::PATCH => call.patch(kind, key, status, read(body).await?).await,
                Method::DELETE if !status => call.delete(kind, key, read(body).await?).await,
                _ => Err(ApiError::method_not_allowed()),
            }
        }
        _ => Err(ApiError::no_such_resource()),
    }
}

fn not_acceptable() -> ApiError {
    ApiError {
        code: StatusCode::NOT_ACCEPTABLE,
        reason: "NotAcceptable",
        message: "only the following media types are accepted: application/json".to_owned(),
        details: None,
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// One call for objects.
struct Call<'a> {
    api: &'a Arc<Inner>,
    headers: &'a HeaderMap,
    query: &'a Query,
    format: Format,
}

impl Call<'_> {
    fn get(&self, kind: KindId, key: &Key) -> Result<Response<ResponseBody>, ApiError> {
        Ok(self.one(StatusCode::OK, kind, &*self.api.store.get(kind, key)?))
    }

    fn one(&self, code: StatusCode, kind: KindId, object: &Object) -> Response<ResponseBody> {
        let store = &self.api.store;
        json_answer(
            code,
            self.format
                .one(store.registry().kind(kind), object, store.now(), true),
        )
    }

    fn selector(&self) -> Result<Selector, ApiError> {
        Selector::parse(
            self.query.get("labelSelector").unwrap_or_default(),
            self.query.get("fieldSelector").unwrap_or_default(),
        )
    }

    fn list_or_watch(
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
        let events = watch::start(Arc::clone(&self.api.store), options, drain, permit);
        Ok(answer_of(StatusCode::OK, stream_of(events)))
    }

    fn start(&self) -> Result<watch::Start, ApiError> {
        let version = self.query.get("resourceVersion").filter(|v| *v != "0");
        let version = version.map(list::version).transpose()?;
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

    fn json_body(&self, body: &[u8]) -> Result<Value, ApiError> {
        let media = self.media();
        if !media.is_empty() && media != "application/json" {
            return Err(ApiError::unsupported_media_type("application/json"));
        }
        parse(body)
    }

    /// Checks the fields against the schema, as the client wants it.
    fn unknown_fields(&self, kind: KindId, value: &Value) -> Result<Vec<String>, ApiError> {
        let wanted = self.query.get("fieldValidation");
        let validation = FieldValidation::parse(wanted).ok_or_else(|| {
            bad_options(
                "fieldValidation",
                &format!(
                    "Unsupported value: {:?}: supported values: \"Ignore\", \"Strict\", \"Warn\"",
                    wanted.unwrap_or_default()
                ),
            )
        })?;
        validation.check(self.api.store.registry().kind(kind), value)
    }

    /// The content type without its parameters.
    fn media(&self) -> &str {
        let value = text(self.headers, header::CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    async fn create(
        &self,
        kind: KindId,
        namespace: Option<String>,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let namespaced = self.api.store.registry().kind(kind).namespaced;
        if namespaced && namespace.is_none() {
            // Objects are created in a namespace; the collection of all is only for reading.
            return Err(ApiError::method_not_allowed());
        }
        let value = self.json_body(&body)?;
        let warnings = self.unknown_fields(kind, &value)?;
        let namespace = namespace.unwrap_or_default();
        let object = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                write::create(t, kind, &namespace, value)
            })
            .await?;
        Ok(warned(
            self.one(StatusCode::CREATED, kind, &object),
            &warnings,
        ))
    }

    async fn update(
        &self,
        kind: KindId,
        key: Key,
        status: bool,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let value = self.json_body(&body)?;
        let object = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                write::update(t, kind, &key, status, value)
            })
            .await?;
        Ok(self.one(StatusCode::OK, kind, &object))
    }

    async fn patch(
        &self,
        kind: KindId,
        key: Key,
        status: bool,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let patch = match self.media() {
            "application/merge-patch+json" => Patch::Merge(parse(&body)?),
            "application/json-patch+json" => Patch::Json(parse(&body)?),
            _ => return Err(ApiError::unsupported_media_type(PATCH_TYPES)),
        };
        // A merge patch looks like the object, so its fields can be checked as they are.
        let warnings = match &patch {
            Patch::Merge(value) => self.unknown_fields(kind, value)?,
            Patch::Json(_) => Vec::new(),
        };
        let object = self
            .api
            .store
            .write(body.len(), self.keep()?, move |t| {
                write::patch(t, kind, &key, status, patch)
            })
            .await?;
        Ok(warned(self.one(StatusCode::OK, kind, &object), &warnings))
    }

    async fn delete(
        &self,
        kind: KindId,
        key: Key,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let (preconditions, keep) = self.delete_options(&body)?;
        let deleted = self
            .api
            .store
            .write(body.len(), keep, move |t| {
                write::delete(t, kind, &key, &preconditions)
            })
            .await?;
        match deleted {
            Deleted::Waiting(object) => Ok(self.one(StatusCode::OK, kind, &object)),
            Deleted::Gone(object) => {
                let kind = self.api.store.registry().kind(kind);
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

    async fn delete_all(
        &self,
        kind: KindId,
        namespace: Option<String>,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let (preconditions, keep) = self.delete_options(&body)?;
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
                        deleted.push(write::delete(t, kind, &key, &preconditions)?);
                    }
                }
                Ok(deleted)
            })
            .await?;
        let items: Vec<Value> = deleted
            .iter()
            .map(|(Deleted::Gone(object) | Deleted::Waiting(object))| object.value())
            .collect();
        let (list_kind, version) = Format::Full.list_kind(self.api.store.registry().kind(kind));
        let current = self.api.store.read(super::store::Memory::version);
        let list = json!({
            "kind": list_kind, "apiVersion": version, "items": items,
            "metadata": {"resourceVersion": current.to_string()},
        });
        Ok(json_answer(StatusCode::OK, list.to_string().into()))
    }

    /// What a deletion demands, and whether it is to be kept.
    fn delete_options(&self, body: &[u8]) -> Result<(Preconditions, bool), ApiError> {
        let options = if body.is_empty() {
            json!({})
        } else {
            self.json_body(body)?
        };
        if !options.is_object() {
            return Err(ApiError::bad_request(
                "the body of the request is not a DeleteOptions object",
            ));
        }
        let dry = options["dryRun"]
            .as_array()
            .is_some_and(|all| all.iter().any(|v| v == "All"));
        let policy = options["propagationPolicy"].as_str();
        if let Some(policy) = policy.or_else(|| self.query.get("propagationPolicy"))
            && policy != "Background"
        {
            return Err(bad_options(
                "propagationPolicy",
                &format!("Unsupported value: {policy:?}: supported values: \"Background\""),
            ));
        }
        let text = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
        let preconditions = Preconditions {
            uid: text("uid"),
            version: text("resourceVersion"),
        };
        Ok((preconditions, self.keep()? && !dry))
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

fn bad_options(field: &str, message: &str) -> ApiError {
    let error = crate::resource::FieldError {
        field: field.to_owned(),
        message: message.to_owned(),
        reason: if message.starts_with("Unsupported") {
            "FieldValueNotSupported"
        } else {
            "FieldValueForbidden"
        },
    };
    ApiError::invalid_of("Options.meta.k8s.io", "", &[error])
}

fn parse(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::bad_request(format!(
            "the body of the request is not valid JSON: {error}"
        ))
    })
}

async fn read<B>(body: B) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let whole = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(Duration::from_secs(BODY_SECONDS), whole).await {
        Err(_) => Err(ApiError::slow_body(BODY_SECONDS)),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(MAX_BODY)),
        Ok(Err(error)) => Err(ApiError::bad_request(format!(
            "the body of the request did not arrive completely: {error}"
        ))),
    }
}

fn health(api: &Inner) -> Result<Response<ResponseBody>, ApiError> {
    match api.store.failure() {
        None => {
            let mut response = answer_of(StatusCode::OK, full(Bytes::from_static(b"ok")));
            let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, plain);
            Ok(response)
        }
        Some(failure) => Err(ApiError::internal(failure)),
    }
}

fn full(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).boxed_unsync()
}

fn stream_of(chunks: impl futures::Stream<Item = Bytes> + Send + 'static) -> ResponseBody {
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}

fn json_answer(code: StatusCode, bytes: Bytes) -> Response<ResponseBody> {
    answer_of(code, full(bytes))
}

fn answer_of(code: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-cache, private"),
    );
    response
}
