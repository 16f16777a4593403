//! Kinds that are asked and not stored: who am I, may I, is this token good, give me a token.
//!
//! Whoever is let in may do everything, so every access is allowed, also that of others; only
//! somebody who is not authenticated may nothing.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::access::tokens::ISSUER;
use super::access::{AUTHENTICATED, User};
use super::error::ApiError;
use super::object::{Key, Object};
use super::store::Store;
use super::{Inner, Tokens};
use crate::resource::FieldError;

const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// How long a token lasts if nothing was said, and at least, in seconds.
const DEFAULT_SECONDS: i64 = 3_600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
const MAX_AUDIENCES: usize = 32;
const PREFIX: &str = "system:serviceaccount:";

/// A kind that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Review {
    /// The group; the version is always v1.
    pub(crate) group: &'static str,
    /// The name in URLs.
    pub(crate) plural: &'static str,
    /// The kind.
    pub(crate) kind: &'static str,
    /// Whether it is asked in a namespace.
    pub(crate) namespaced: bool,
}

const fn review(group: &'static str, plural: &'static str, kind: &'static str) -> Review {
    Review {
        group,
        plural,
        kind,
        namespaced: false,
    }
}

/// All of them.
pub(crate) const REVIEWS: [Review; 6] = [
    review(AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview"),
    review(AUTHENTICATION, "tokenreviews", "TokenReview"),
    Review {
        namespaced: true,
        ..review(
            AUTHORIZATION,
            "localsubjectaccessreviews",
            "LocalSubjectAccessReview",
        )
    },
    review(
        AUTHORIZATION,
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
    ),
    review(
        AUTHORIZATION,
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
    ),
    review(AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview"),
];

/// Finds the kind of a path.
pub(crate) fn find(group: &str, plural: &str, namespaced: bool) -> Option<Review> {
    REVIEWS.into_iter().find(|review| {
        review.group == group && review.plural == plural && review.namespaced == namespaced
    })
}

fn invalid(kind: &str, group: &str, field: &str, message: &str) -> ApiError {
    let error = FieldError {
        field: field.to_owned(),
        message: message.to_owned(),
        reason: "FieldValueInvalid",
    };
    ApiError::invalid_of(&format!("{kind}.{group}"), "", &[error])
}

impl Review {
    /// Answers the question in `body` of `user`.
    pub(crate) fn answer(
        self,
        api: &Inner,
        user: &User,
        mut body: Value,
    ) -> Result<(StatusCode, Value), ApiError> {
        expect(&mut body, self.kind, self.group)?;
        let status = match self.kind {
            "SelfSubjectReview" => json!({"userInfo": user_info(user)}),
            "TokenReview" => token_review(api, &body["spec"]),
            "SelfSubjectRulesReview" => json!({
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": false,
            }),
            _ => self.access(user, &body["spec"])?,
        };
        body["status"] = status;
        Ok((StatusCode::CREATED, body))
    }

    fn access(self, user: &User, spec: &Value) -> Result<Value, ApiError> {
        let has = |field: &str| spec[field].is_object();
        if has("resourceAttributes") == has("nonResourceAttributes") {
            let message = "exactly one of nonResourceAttributes or resourceAttributes must be \
                           specified";
            let field = "spec.resourceAttributes";
            return Err(invalid(self.kind, self.group, field, message));
        }
        let known = if self.kind == "SelfSubjectAccessReview" {
            user.groups.iter().any(|group| group == AUTHENTICATED)
        } else {
            let name = spec["user"].as_str().unwrap_or_default();
            let groups = spec["groups"].as_array().is_some_and(|all| !all.is_empty());
            if name.is_empty() && !groups {
                let message = "at least one of user or group must be specified";
                return Err(invalid(self.kind, self.group, "spec.user", message));
            }
            name != User::anonymous().name
        };
        Ok(if known {
            json!({"allowed": true, "reason": "whoever is authenticated may do everything"})
        } else {
            json!({"allowed": false, "reason": "not authenticated"})
        })
    }
}

/// Checks `apiVersion` and `kind`, which may be left out.
fn expect(body: &mut Value, kind: &str, group: &str) -> Result<(), ApiError> {
    let Some(map) = body.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the body of the request is not a {kind}"
        )));
    };
    for (field, wanted) in [
        ("kind", kind.to_owned()),
        ("apiVersion", format!("{group}/v1")),
    ] {
        let found = map.get(field).and_then(Value::as_str).unwrap_or_default();
        if !found.is_empty() && found != wanted {
            return Err(ApiError::bad_request(format!(
                "the {field} in the data ({found}) does not match the expected one ({wanted})"
            )));
        }
        map.insert(field.to_owned(), Value::from(wanted));
    }
    map.entry("metadata").or_insert_with(|| json!({}));
    Ok(())
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    info
}

fn token_review(api: &Inner, spec: &Value) -> Value {
    let audiences = match texts(&spec["audiences"]) {
        none if none.is_empty() => vec![ISSUER.to_owned()],
        some => some,
    };
    let token = spec["token"].as_str().unwrap_or_default();
    match holder(api, token) {
        None => json!({"user": {}, "error": "the token is not valid here"}),
        Some((user, meant)) => {
            let common: Vec<&String> = audiences.iter().filter(|a| meant.contains(a)).collect();
            if common.is_empty() {
                let error = "the token is meant for other audiences";
                json!({"user": {}, "error": error})
            } else {
                json!({"authenticated": true, "user": user_info(&user), "audiences": common})
            }
        }
    }
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

/// The service account that a token belongs to and that is there still, and for whom it is meant.
fn holder(api: &Inner, token: &str) -> Option<(User, Vec<String>)> {
    let claims = api.tokens.check(token, api.store.now().as_second())?;
    let kubernetes = &claims["kubernetes.io"];
    let namespace = kubernetes["namespace"].as_str()?;
    let account = &kubernetes["serviceaccount"];
    let (name, uid) = (account["name"].as_str()?, account["uid"].as_str()?);
    let found = service_account(&api.store, namespace, name).ok()?;
    if found.uid() != uid || found.terminating() {
        return None;
    }
    let groups = vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        AUTHENTICATED.to_owned(),
    ];
    let user = User {
        name: format!("{PREFIX}{namespace}:{name}"),
        uid: uid.to_owned(),
        groups,
    };
    Some((user, texts(&claims["aud"])))
}

/// The service account that calls with this token, if it is meant for the API.
pub(crate) fn caller(api: &Inner, token: &str) -> Option<User> {
    let (user, audiences) = holder(api, token)?;
    audiences.iter().any(|a| a == ISSUER).then_some(user)
}

fn service_account(store: &Store, namespace: &str, name: &str) -> Result<Arc<Object>, ApiError> {
    let kind = store
        .registry()
        .by_path("", "v1", "serviceaccounts")
        .ok_or_else(ApiError::no_such_resource)?;
    store.get(kind, &Key::new(namespace, name))
}

/// Makes a token of a service account (`serviceaccounts/NAME/token`).
pub(crate) fn issue(
    api: &Inner,
    key: &Key,
    mut body: Value,
) -> Result<(StatusCode, Value), ApiError> {
    let kind = "TokenRequest";
    expect(&mut body, kind, AUTHENTICATION)?;
    let account = service_account(&api.store, &key.namespace, &key.name)?;
    let spec = &body["spec"];
    let seconds = match &spec["expirationSeconds"] {
        Value::Null => DEFAULT_SECONDS,
        value => value.as_i64().unwrap_or_default(),
    };
    let wrong = |message| {
        let field = "spec.expirationSeconds";
        Err(invalid(kind, AUTHENTICATION, field, message))
    };
    if seconds < MIN_SECONDS {
        return wrong("may not specify a duration less than 10 minutes");
    }
    if seconds > MAX_SECONDS {
        return wrong("may not specify a duration larger than 2^32 seconds");
    }
    let mut audiences = texts(&spec["audiences"]);
    if audiences.len() > MAX_AUDIENCES {
        let message = format!("expected at most {MAX_AUDIENCES} audiences");
        return Err(invalid(kind, AUTHENTICATION, "spec.audiences", &message));
    }
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let now = api.store.now().as_second();
    let token = sign(&api.tokens, &account, &audiences, now, seconds);
    let end = Timestamp::from_second(now + seconds).unwrap_or(Timestamp::MAX);
    let mut given = Map::new();
    given.insert("audiences".to_owned(), json!(audiences));
    given.insert("expirationSeconds".to_owned(), json!(seconds));
    given.insert("boundObjectRef".to_owned(), spec["boundObjectRef"].clone());
    body["spec"] = Value::Object(given);
    body["metadata"] = json!({
        "name": key.name, "namespace": key.namespace,
        "creationTimestamp": Timestamp::from_second(now).unwrap_or_default().to_string(),
    });
    body["status"] = json!({"token": token, "expirationTimestamp": end.to_string()});
    Ok((StatusCode::CREATED, body))
}

fn sign(tokens: &Tokens, account: &Object, audiences: &[String], now: i64, seconds: i64) -> String {
    tokens.sign(&json!({
        "iss": ISSUER,
        "sub": format!("{PREFIX}{}:{}", account.namespace(), account.name()),
        "aud": audiences,
        "iat": now,
        "nbf": now,
        "exp": now + seconds,
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": {
            "namespace": account.namespace(),
            "serviceaccount": {"name": account.name(), "uid": account.uid()},
        },
    }))
}
