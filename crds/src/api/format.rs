//! How objects are written: in full, as metadata only, or as rows of a table.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ApiError;
use super::object::Object;
use super::{table, version};
use crate::resource::ResourceKind;

/// The form that the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The object itself.
    Full,
    /// `PartialObjectMetadata`.
    Metadata,
    /// A `Table` for people.
    Table {
        /// Whether each row holds the metadata of its object, or nothing, or all of it.
        include: Include,
    },
}

/// What a row of a table holds of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Format {
    /// Reads the `Accept` header, and for a table what its rows are to hold.
    ///
    /// # Errors
    /// None of the types that the header names is spoken here, or rows cannot hold that.
    pub(crate) fn of(accept: Option<&str>, include: Option<&str>) -> Result<Self, ApiError> {
        let format = Self::accepted(accept.unwrap_or_default());
        let format = format.ok_or_else(ApiError::not_acceptable)?;
        let Self::Table { .. } = format else {
            return Ok(format);
        };
        let include = match include.unwrap_or_default() {
            "" | "Metadata" => Include::Metadata,
            "None" => Include::None,
            "Object" => Include::Object,
            other => {
                return Err(ApiError::bad_request(format!(
                    "Unable to convert to Table as requested: includeObject: Invalid value: \
                     {other:?}: must be 'Metadata', 'Object', 'None', or empty"
                )));
            }
        };
        Ok(Self::Table { include })
    }

    fn accepted(accept: &str) -> Option<Self> {
        if accept.trim().is_empty() {
            return Some(Self::Full);
        }
        accept.split(',').find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if !["application/json", "application/*", "*/*"].contains(&media) {
                return None;
            }
            match parts.find_map(|p| p.strip_prefix("as=")) {
                None => Some(Self::Full),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Self::Metadata),
                Some("Table") => Some(Self::Table {
                    include: Include::Metadata,
                }),
                Some(_) => None,
            }
        })
    }

    /// One object. `heading` says whether a table tells its columns.
    pub(crate) fn one(
        self,
        kind: &ResourceKind,
        object: &Object,
        now: Timestamp,
        heading: bool,
    ) -> Bytes {
        match self {
            Self::Full => version::bytes(kind, object),
            Self::Metadata => bytes_of(&metadata_of(&object.value())),
            Self::Table { include } => {
                let rows = [table::row(
                    kind,
                    &version::shown(kind, object),
                    now,
                    include,
                )];
                let at = object.version().to_string();
                let mut table = table::table(kind, &rows, &json!({"resourceVersion": at}));
                if !heading {
                    table["columnDefinitions"] = Value::Null;
                }
                bytes_of(&table)
            }
        }
    }

    /// A bookmark.
    pub(crate) fn bookmark(self, kind: &ResourceKind, object: &Value) -> Bytes {
        match self {
            Self::Full => bytes_of(object),
            Self::Metadata => bytes_of(&metadata_of(object)),
            Self::Table { include } => {
                let metadata = object["metadata"].clone();
                let row = table::row(kind, object, Timestamp::UNIX_EPOCH, include);
                bytes_of(&table::table(kind, &[row], &metadata))
            }
        }
    }

    /// The `kind` and `apiVersion` of a list in this form.
    pub(crate) fn list_kind(self, kind: &ResourceKind) -> (String, String) {
        match self {
            Self::Metadata => (
                "PartialObjectMetadataList".to_owned(),
                "meta.k8s.io/v1".to_owned(),
            ),
            Self::Full | Self::Table { .. } => (
                format!("{}List", kind.kind),
                super::registry::api_version(kind),
            ),
        }
    }
}

/// The `PartialObjectMetadata` of an object.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

fn bytes_of(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
