//! Admission: what is filled in for the user, and what is refused.
//!
//! A kind says both as two pure functions over its type ([`Admit`]); this module gives them JSON
//! ([`TypedAdmission`]). The order of events is an API server's: drop unknown fields, report wrong
//! types, decode, fill in, validate. Laws, each with a test:
//!
//! - defaulting what was defaulted changes nothing;
//! - neither function panics, whatever the JSON;
//! - validation reports everything that is wrong at once (at most 100 things);
//! - what a schema preserves without naming it survives;
//! - an object that is being deleted is not refused, so that its finalizers can go.

pub(crate) mod config;
pub(crate) mod delivery;
pub(crate) mod destination;
mod errors;
pub(crate) mod metadata;

use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use errors::{Errors, join, shown};
pub(crate) use metadata::NameRule;

use crate::resource::{Admission, AdmissionContext, FieldError};
use crate::schema;

/// The two functions that admit objects of one type. Pure but for the context.
pub(crate) trait Admit:
    kube::Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + 'static
{
    /// What names of objects look like.
    const NAMES: NameRule = NameRule::Subdomain;

    /// Fills in what the user left out. Fails only for a fault in the installation, such as
    /// defaults that cannot be read.
    fn fill_in(
        &mut self,
        old: Option<&Self>,
        context: &dyn AdmissionContext,
    ) -> Result<(), FieldError>;

    /// Reports what is wrong with the object besides its metadata. `old` is the stored object on
    /// an update.
    fn check(&self, old: Option<&Self>, context: &dyn AdmissionContext, errors: &mut Errors);
}

/// Admission of a Rust type by its schema.
pub(crate) struct TypedAdmission<T> {
    schema: Value,
    namespaced: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: Admit> TypedAdmission<T> {
    /// `schema` is that of the kind, without `metadata`.
    pub(crate) fn new(schema: &Value, namespaced: bool) -> Self {
        Self {
            schema: schema::whole(schema),
            namespaced,
            kind: PhantomData,
        }
    }

    fn decode(&self, object: &Value) -> Result<T, Vec<FieldError>> {
        let mut errors = Errors::default();
        schema::check(object, &self.schema, "", &mut errors);
        if !errors.is_empty() {
            return Err(errors.into_vec());
        }
        serde_path_to_error::deserialize(object).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { "" } else { &path };
            errors.wrong_type(path, &error.inner().to_string());
            errors.into_vec()
        })
    }

    /// The stored object. One that this version cannot read restrains nothing.
    fn decode_old(&self, old: Option<&Value>) -> Option<T> {
        let mut old = old?.clone();
        schema::apply_defaults(&mut old, &self.schema);
        schema::prune(&mut old, &self.schema);
        self.decode(&old).ok()
    }
}

impl<T: Admit> Admission for TypedAdmission<T> {
    fn default(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        schema::apply_defaults(object, &self.schema);
        schema::prune(object, &self.schema);
        let mut typed = self.decode(object)?;
        if typed.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let before = to_value(&typed)?;
        typed
            .fill_in(self.decode_old(old).as_ref(), context)
            .map_err(|error| vec![error])?;
        schema::apply_changes(object, &before, &to_value(&typed)?);
        Ok(())
    }

    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        let typed = match self.decode(object) {
            Ok(typed) => typed,
            Err(errors) => return errors,
        };
        let mut errors = Errors::default();
        metadata::check(typed.meta(), T::NAMES, self.namespaced, &mut errors);
        if typed.meta().deletion_timestamp.is_none() {
            typed.check(self.decode_old(old).as_ref(), context, &mut errors);
        }
        errors.into_vec()
    }
}

fn to_value<T: Serialize>(typed: &T) -> Result<Value, Vec<FieldError>> {
    serde_json::to_value(typed).map_err(|error| {
        let mut errors = Errors::default();
        errors.wrong_type("", &format!("cannot be written as JSON: {error}"));
        errors.into_vec()
    })
}

/// The namespace of an object; empty where it has none.
pub(crate) fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// An annotation of an object.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Sets an annotation where the object does not have it.
pub(crate) fn annotate_if_absent(meta: &mut ObjectMeta, name: &str, value: &str) {
    meta.annotations
        .get_or_insert_default()
        .entry(name.to_owned())
        .or_insert_with(|| value.to_owned());
}
