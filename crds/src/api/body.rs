//! What a client sends with a write, in the body and beside it: the object or the patch, its own
//! name, and how strictly it wants to be read.

use http::header;
use serde_json::Value;

use super::call::Call;
use super::decode::{self, Decoded};
use super::error::ApiError;
use super::http::text;
use super::openapi::FieldValidation;
use super::patch::{Patch, Patching};
use super::registry::KindId;
use super::{protobuf, rules};
use crate::resource::ResourceKind;

/// Bytes of the name of a client that writes.
const MAX_MANAGER: usize = 128;
const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

impl Call<'_> {
    /// Reads a body that is an object.
    pub(crate) fn json_body(&self, body: &[u8]) -> Result<Decoded, ApiError> {
        match self.media() {
            "" | "application/json" => parse(body),
            YAML => yaml(body),
            protobuf::MEDIA => protobuf::decode(body).map(Decoded::of).map_err(Into::into),
            _ => {
                let types = ["application/json", YAML, protobuf::MEDIA];
                Err(ApiError::unsupported_media_type(&types.join(", ")))
            }
        }
    }

    /// What to do with fields that are not known or are given twice.
    fn validation(&self) -> Result<FieldValidation, ApiError> {
        let wanted = self.query.get("fieldValidation");
        FieldValidation::parse(wanted).ok_or_else(|| {
            let wanted = wanted.unwrap_or_default();
            self.bad_options(
                "FieldValueNotSupported",
                "fieldValidation",
                format!("{wanted:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""),
            )
        })
    }

    /// Checks the fields of a body against the schema, as the client wants it.
    pub(crate) fn checked(
        &self,
        kind: KindId,
        body: Decoded,
    ) -> Result<(Value, Vec<String>), ApiError> {
        let kind = self.api.store.kind(kind)?;
        let warnings = self
            .validation()?
            .check(&kind, &body.value, body.mistakes)?;
        readable(&kind, &body.value)?;
        Ok((body.value, warnings))
    }

    /// The name of the client that writes, as it says itself.
    pub(crate) fn manager(&self) -> Result<String, ApiError> {
        let Some(name) = self.query.get("fieldManager") else {
            return Ok(agent(
                text(self.headers, header::USER_AGENT).unwrap_or_default(),
            ));
        };
        if name.len() > MAX_MANAGER {
            return Err(self.bad_options(
                "FieldValueTooLong",
                "fieldManager",
                format!("may not be more than {MAX_MANAGER} bytes"),
            ));
        }
        match name.char_indices().find(|(_, c)| c.is_control()) {
            None => Ok(name.to_owned()),
            Some((at, c)) => Err(self.bad_options(
                "FieldValueInvalid",
                "fieldManager",
                format!(
                    "{name:?}: invalid character U+{:04X} (at position {at})",
                    u32::from(c)
                ),
            )),
        }
    }

    /// The content type without its parameters.
    fn media(&self) -> &str {
        let value = text(self.headers, header::CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    /// Reads a patch.
    pub(crate) fn patch_body(&self, kind: KindId, body: &[u8]) -> Result<Patching, ApiError> {
        let mergeable = rules::is_built_in(&*self.api.store.kind(kind)?);
        let media = self.media();
        if media != APPLY_PATCH && self.query.get("force").is_some() {
            return Err(self.bad_options(
                "FieldValueForbidden",
                "force",
                "may not be specified for non-apply patch",
            ));
        }
        let (patch, mistakes) = match media {
            MERGE_PATCH => {
                let body = parse(body)?;
                (Patch::Merge(body.value), body.mistakes)
            }
            STRATEGIC_PATCH if mergeable => {
                let body = parse(body)?;
                (Patch::Strategic(body.value), body.mistakes)
            }
            JSON_PATCH => {
                let body = parse(body)?;
                (Patch::Json(body.value), body.mistakes)
            }
            APPLY_PATCH => self.apply_body(body)?,
            _ => {
                let strategic = if mergeable { STRATEGIC_PATCH } else { "" };
                let types = [JSON_PATCH, MERGE_PATCH, strategic, APPLY_PATCH];
                let types: Vec<&str> = types.into_iter().filter(|t| !t.is_empty()).collect();
                return Err(ApiError::unsupported_media_type(&types.join(", ")));
            }
        };
        Ok(Patching {
            patch,
            by: self.manager()?,
            validation: self.validation()?,
            mistakes,
        })
    }

    fn apply_body(&self, body: &[u8]) -> Result<(Patch, Vec<String>), ApiError> {
        if self.query.get("fieldManager").is_none() {
            return Err(self.bad_options(
                "FieldValueRequired",
                "fieldManager",
                "is required for apply patch",
            ));
        }
        let force = self.query.flag("force")?.unwrap_or(false);
        let body = yaml(body)?;
        let config = body.value;
        Ok((Patch::Apply { config, force }, body.mistakes))
    }
}

/// Refuses values of the wrong type in kinds of Kubernetes itself, whose servers cannot read them.
fn readable(kind: &ResourceKind, body: &Value) -> Result<(), ApiError> {
    if !rules::is_built_in(kind) {
        return Ok(());
    }
    match kind.schema.mistyped(body) {
        None => Ok(()),
        Some(why) => Err(ApiError::bad_request(format!(
            "{0} in version \"{1}\" cannot be handled as a {0}: {why}",
            kind.kind, kind.version
        ))),
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

fn yaml(body: &[u8]) -> Result<Decoded, ApiError> {
    decode::yaml(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))
}

fn parse(body: &[u8]) -> Result<Decoded, ApiError> {
    decode::json(body).map_err(|error| {
        ApiError::bad_request(format!(
            "the body of the request is not valid JSON: {error}"
        ))
    })
}
