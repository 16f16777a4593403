//! The protocol: a request becomes a read, a watch or a write, and its outcome an answer.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame};
use serde_json::Value;

use super::access::User;
use super::call::{Call, warned};
use super::error::ApiError;
use super::format::Format;
use super::object::Key;
use super::route::{Query, Route, route};
use super::{Inner, discovery, openapi, review, swagger};

/// The body of an answer.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

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
    let route = route(&api.store.registry(), head.uri.path())?;
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    if route == Route::Health {
        return if reads {
            health(api)
        } else {
            Err(ApiError::method_not_allowed())
        };
    }
    if reads && let Some(answer) = negotiated(api, &route, &head.headers) {
        return Ok(answer);
    }
    if let Some(value) = description(api, &route) {
        let value = value?;
        return if reads {
            Ok(json_answer(StatusCode::OK, value.to_string().into()))
        } else {
            Err(ApiError::method_not_allowed())
        };
    }
    let user = head.extensions.get::<User>().cloned();
    let user = user.unwrap_or_else(User::admin);
    let format = Format::of(
        text(&head.headers, header::ACCEPT),
        query.get("includeObject"),
    )?;
    let call = Call {
        api,
        method: &head.method,
        headers: &head.headers,
        query: &query,
        format,
    };
    let warning = deprecation(api, &route)?;
    let done = async {
        // Who only reads has nothing to say.
        let body = if reads {
            Bytes::new()
        } else {
            call.receive(body).await?
        };
        act(&call, route, &head.method, &user, body).await
    };
    let answer = done.await.unwrap_or_else(|error| refusal(&error));
    Ok(warned(answer, warning.as_slice()))
}

/// Does what is asked of objects.
async fn act(
    call: &Call<'_>,
    route: Route,
    method: &Method,
    user: &User,
    body: Bytes,
) -> Result<Response<ResponseBody>, ApiError> {
    match route {
        Route::Collection { kind, namespace } => match *method {
            Method::GET | Method::HEAD => call.list_or_watch(kind, namespace),
            Method::POST => call.create(kind, namespace, body).await,
            Method::DELETE => call.delete_all(kind, namespace, body).await,
            _ => Err(ApiError::method_not_allowed()),
        },
        Route::Object {
            kind,
            namespace,
            name,
            status,
        } => {
            let key = Key { namespace, name };
            match *method {
                Method::GET | Method::HEAD => call.get(kind, &key),
                Method::PUT => call.update(kind, key, status, body).await,
                Method::PATCH => call.patch(kind, key, status, body).await,
                Method::DELETE if !status => call.delete(kind, key, body).await,
                _ => Err(ApiError::method_not_allowed()),
            }
        }
        other => part(call, other, method, user, body).await,
    }
}

/// The warning to whoever uses a version that is deprecated, whatever is done with it.
fn deprecation(api: &Inner, route: &Route) -> Result<Option<String>, ApiError> {
    match route {
        Route::Collection { kind, .. } | Route::Object { kind, .. } | Route::Scale { kind, .. } => {
            Ok(api.store.kind(*kind)?.deprecation.clone())
        }
        _ => Ok(None),
    }
}

/// Parts of objects, and what is asked and not stored.
async fn part(
    call: &Call<'_>,
    route: Route,
    method: &Method,
    user: &User,
    body: Bytes,
) -> Result<Response<ResponseBody>, ApiError> {
    match route {
        Route::Scale { kind, key } => match *method {
            Method::GET | Method::HEAD => call.scale(kind, &key),
            Method::PUT => call.rescale(kind, key, false, body).await,
            Method::PATCH => call.rescale(kind, key, true, body).await,
            _ => Err(ApiError::method_not_allowed()),
        },
        Route::Finalize(name) if *method == Method::PUT => call.finalize(name, body).await,
        Route::Review(review) if *method == Method::POST => {
            let (code, answer) = review.answer(call.api, user, call.json_body(&body)?.value)?;
            Ok(json_answer(code, answer.to_string().into()))
        }
        Route::Token(account) if *method == Method::POST => {
            let (code, answer) = review::issue(call.api, &account, call.json_body(&body)?.value)?;
            Ok(json_answer(code, answer.to_string().into()))
        }
        Route::Finalize(_) | Route::Review(_) | Route::Token(_) => {
            Err(ApiError::method_not_allowed())
        }
        _ => Err(ApiError::no_such_resource()),
    }
}

/// What does not depend on objects.
fn description(api: &Inner, route: &Route) -> Option<Result<Value, ApiError>> {
    let registry = &*api.store.registry();
    match route {
        Route::Version => Some(Ok(discovery::version())),
        Route::OpenApi => Some(Ok(openapi::index(registry))),
        Route::OpenApiOf(path) => Some(openapi::document(registry, path)),
        Route::CoreVersions => Some(Ok(discovery::core_versions())),
        Route::Groups => Some(Ok(discovery::groups(registry))),
        Route::Group(group) => Some(discovery::group(registry, group)),
        Route::Resources { group, version } => Some(discovery::resources(registry, group, version)),
        Route::OpenApiV2 => Some(Ok(swagger::document(registry))),
        Route::Health
        | Route::Collection { .. }
        | Route::Object { .. }
        | Route::Scale { .. }
        | Route::Finalize(_)
        | Route::Token(_)
        | Route::Review(_) => None,
    }
}

/// What is told in a form of its own if the client asks for that.
fn negotiated(api: &Inner, route: &Route, headers: &HeaderMap) -> Option<Response<ResponseBody>> {
    let registry = &*api.store.registry();
    match route {
        Route::CoreVersions => discovery::aggregated(registry, true, headers),
        Route::Groups => discovery::aggregated(registry, false, headers),
        Route::OpenApiV2 => {
            let accept = text(headers, header::ACCEPT).unwrap_or_default();
            let document = swagger::document(registry);
            let first = accept.split(',').next().unwrap_or_default().trim();
            let (media, body) = if swagger::ASKED.contains(&first) {
                (swagger::MEDIA_TYPE, swagger::protobuf(&document).into())
            } else {
                ("application/json", document.to_string().into())
            };
            Some(discovery::tagged(headers, media, body))
        }
        _ => None,
    }
}

/// A header as text.
pub(crate) fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
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

/// A body that comes in chunks.
pub(crate) fn stream_of(
    chunks: impl futures::Stream<Item = Bytes> + Send + 'static,
) -> ResponseBody {
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}

/// An answer in JSON.
pub(crate) fn json_answer(code: StatusCode, bytes: Bytes) -> Response<ResponseBody> {
    answer_of(code, full(bytes))
}

/// An answer whose body is JSON.
pub(crate) fn answer_of(code: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
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
