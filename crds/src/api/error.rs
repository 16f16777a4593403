//! Refusals in the words of the Kubernetes API.
//!
//! Every refusal is one [`ApiError`], and every [`ApiError`] becomes a `Status` object on the
//! wire. The reasons and messages are those that clients of Kubernetes match on, so they are
//! built here and nowhere else.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::resource::{FieldError, ResourceKind};

/// A refusal: a `Status` with a code, a machine-readable reason and a sentence.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status code.
    pub code: StatusCode,
    /// The `reason` that clients match on.
    pub reason: &'static str,
    /// What happened, for people.
    pub message: String,
    /// Which object, and which of its fields.
    pub details: Option<Box<Details>>,
    /// Where a list whose version is no longer known may go on all the same.
    pub continue_with: Option<String>,
}

/// The `details` of a `Status`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The group of its kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The plural name of its kind, or for invalid objects the kind itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The identity of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One entry for each thing that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds to wait before trying again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// The machine-readable reason.
    pub reason: String,
    /// What is wrong.
    pub message: String,
    /// The path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature is serde's.
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The name of a kind in messages, like `brokers.eventing.knative.dev`.
pub(crate) fn qualified(kind: &ResourceKind) -> String {
    if kind.group.is_empty() {
        kind.plural.clone()
    } else {
        format!("{}.{}", kind.plural, kind.group)
    }
}

fn about(kind: &ResourceKind, name: &str) -> Details {
    Details {
        name: name.to_owned(),
        group: kind.group.clone(),
        kind: kind.plural.clone(),
        ..Details::default()
    }
}

impl ApiError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            continue_with: None,
        }
    }

    fn with(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The request cannot be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The object does not exist.
    pub(crate) fn not_found(kind: &ResourceKind, name: &str) -> Self {
        Self::not_found_as(&kind.plural, &kind.group, name)
    }

    /// [`ApiError::not_found`] for a kind that is named and not at hand.
    pub(crate) fn not_found_as(plural: &str, group: &str, name: &str) -> Self {
        let dot = if group.is_empty() { "" } else { "." };
        let message = format!("{plural}{dot}{group} \"{name}\" not found");
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: plural.to_owned(),
            ..Details::default()
        };
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with(details)
    }

    /// No objects of the kind can be created at this time.
    pub(crate) fn closed(why: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", why).with(Details::default())
    }

    /// Nothing is served under this path.
    pub(crate) fn no_such_resource() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with(Details::default())
    }

    /// The method is not supported under this path.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with(Details::default())
    }

    /// An object of that name exists already.
    pub(crate) fn already_exists(kind: &ResourceKind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(kind));
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).with(about(kind, name))
    }

    /// Somebody else changed the object first, or a precondition does not hold.
    pub(crate) fn conflict(kind: &ResourceKind, name: &str, why: &str) -> Self {
        Self::conflict_on(&kind.plural, kind, name, why)
    }

    /// A precondition of a deletion does not hold. Kubernetes gives the kind there where it has
    /// the resource elsewhere.
    pub(crate) fn unmet(kind: &ResourceKind, name: &str, why: &str) -> Self {
        Self::conflict_on(&kind.kind, kind, name, why)
    }

    fn conflict_on(resource: &str, kind: &ResourceKind, name: &str, why: &str) -> Self {
        let dot = if kind.group.is_empty() { "" } else { "." };
        let message = format!(
            "Operation cannot be fulfilled on {resource}{dot}{} \"{name}\": {why}",
            kind.group
        );
        Self::new(StatusCode::CONFLICT, "Conflict", message).with(Details {
            kind: resource.to_owned(),
            ..about(kind, name)
        })
    }

    /// Others own what an apply would change.
    pub(crate) fn apply_conflict(message: String, causes: Vec<Cause>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message).with(Details {
            causes,
            ..Details::default()
        })
    }

    /// The object may not be changed in this way.
    pub(crate) fn forbidden(kind: &ResourceKind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", qualified(kind));
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with(about(kind, name))
    }

    /// The caller may not do this at all.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// The caller did not say who they are, or not truly.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// The object is wrong; every reason at once.
    pub(crate) fn invalid(kind: &ResourceKind, name: &str, errors: &[FieldError]) -> Self {
        let subject = if kind.group.is_empty() {
            kind.kind.clone()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        Self::invalid_of(&subject, name, errors).with(Details {
            kind: kind.kind.clone(),
            group: kind.group.clone(),
            ..Self::causes_of(name, errors)
        })
    }

    /// Like [`ApiError::invalid`] for things that are not served kinds, such as list options.
    pub(crate) fn invalid_of(subject: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut lines: Vec<String> = errors.iter().map(sentence).collect();
        lines.dedup();
        let text = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{subject} \"{name}\" is invalid: {text}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
            .with(Self::causes_of(name, errors))
    }

    /// What a request asks for beside its object is wrong. `options` is their kind, like `PatchOptions`.
    pub(crate) fn invalid_options(options: &str, errors: &[FieldError]) -> Self {
        const GROUP: &str = "meta.k8s.io";
        Self::invalid_of(&format!("{options}.{GROUP}"), "", errors).with(Details {
            kind: options.to_owned(),
            group: GROUP.to_owned(),
            ..Self::causes_of("", errors)
        })
    }

    fn causes_of(name: &str, errors: &[FieldError]) -> Details {
        let causes = errors
            .iter()
            .map(|e| Cause {
                reason: e.reason.to_owned(),
                message: worded(e),
                field: e.field.clone(),
            })
            .collect();
        Details {
            name: name.to_owned(),
            causes,
            ..Details::default()
        }
    }

    /// A patch that is well formed but does not apply to the object.
    pub(crate) fn patch_failed(why: &str) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {why}"),
        )
        .with(Details::default())
    }

    /// The version that the caller continues from is no longer known.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// The pages of a list are too far apart; `token` goes on without being consistent.
    pub(crate) fn expired_list(token: String) -> Self {
        Self {
            continue_with: Some(token),
            ..Self::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You can start a new list without the continue parameter, or use the continue \
                 token in this response to retrieve the remainder of the results. Continuing with \
                 the provided token results in an inconsistent list - objects that were created, \
                 modified, or deleted between the time the first chunk was returned and now may \
                 show up in the list.",
            )
        }
    }

    /// The caller asks for a state of the future.
    pub(crate) fn version_too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with(Details {
            causes: vec![Cause {
                reason: "ResourceVersionTooLarge".to_owned(),
                message: "Too large resource version".to_owned(),
                field: String::new(),
            }],
            retry_after_seconds: 1,
            ..Details::default()
        })
    }

    /// The body is larger than `limit` bytes.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::too_much(format!("Request entity too large: limit is {limit}"))
    }

    /// The request would make the server do or keep more than it accepts.
    pub(crate) fn too_much(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    /// The answer is wanted in a form that is not spoken here.
    pub(crate) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// The body is of a type that is not understood here.
    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types \
                 include: {accepted}"
            ),
        )
    }

    /// A bound is reached; trying again later helps.
    pub(crate) fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message).with(Details {
            retry_after_seconds: 1,
            ..Details::default()
        })
    }

    /// The body did not arrive in time.
    pub(crate) fn slow_body(limit: Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "Timeout",
            format!(
                "the body of the request did not arrive within {} seconds",
                limit.as_secs_f64()
            ),
        )
    }

    /// The server is closing.
    pub(crate) fn closing() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "the API server is shutting down; nothing was changed",
        )
        .with(Details {
            retry_after_seconds: 1,
            ..Details::default()
        })
    }

    /// The server failed.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = format!("Internal error occurred: {}", message.into());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// The `Status` object.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        if let Some(token) = &self.continue_with {
            status["metadata"]["continue"] = json!(token);
        }
        if let Some(details) = &self.details {
            status["details"] = serde_json::to_value(details).unwrap_or_else(|_| json!({}));
        }
        status
    }
}

/// The words that Kubernetes puts before a field's message.
fn prefix(reason: &str) -> &'static str {
    match reason {
        "FieldValueRequired" => "Required value",
        "FieldValueForbidden" => "Forbidden",
        "FieldValueNotSupported" => "Unsupported value",
        "FieldValueDuplicate" => "Duplicate value",
        "FieldValueNotFound" => "Not found",
        "FieldValueTooLong" => "Too long",
        "FieldValueTooMany" => "Too many",
        _ => "Invalid value",
    }
}

fn worded(error: &FieldError) -> String {
    let prefix = prefix(error.reason);
    // Knative's messages begin with the same words, in lower case.
    let begins = error.message.get(..prefix.len());
    if begins.is_some_and(|begins| begins.eq_ignore_ascii_case(prefix)) {
        error.message.clone()
    } else if error.message.is_empty() {
        prefix.to_owned()
    } else {
        format!("{prefix}: {}", error.message)
    }
}

fn sentence(error: &FieldError) -> String {
    if error.field.is_empty() {
        worded(error)
    } else {
        format!("{}: {}", error.field, worded(error))
    }
}
