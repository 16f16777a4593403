//! Admission: what is filled in for the user, and what is refused.
//!
//! All kinds are admitted alike ([`BySchema`]): by their schema, and by what they say beyond it. A
//! kind of ours says that as two pure functions over its type ([`Admit`]), which are given JSON here
//! ([`typed`]). The order of events is an API server's: drop unknown fields, write the schema's
//! defaults, report what does not fit it, decode, fill in, validate. Laws, each with a test:
//!
//! - defaulting what was defaulted changes nothing;
//! - neither function panics, whatever the JSON;
//! - validation reports everything that is wrong at once (at most 100 things);
//! - what a schema preserves without naming it survives;
//! - an object that is being deleted is not refused, so that its finalizers can go.

mod by_schema;
mod changes;
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

pub(crate) use by_schema::{Beyond, BySchema, Nothing};
pub(crate) use errors::{Errors, join, shown};
pub(crate) use metadata::NameRule;

use crate::resource::{AdmissionContext, FieldError};
use crate::schema::KindSchema;

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

/// What a Rust type says beyond its schema.
pub(crate) struct Typed<T> {
    schema: KindSchema,
    namespaced: bool,
    kind: PhantomData<fn() -> T>,
}

/// Admission of a Rust type by its schema and its two functions.
pub(crate) fn typed<T: Admit>(schema: &KindSchema, namespaced: bool) -> BySchema<Typed<T>> {
    let beyond = Typed {
        schema: schema.clone(),
        namespaced,
        kind: PhantomData,
    };
    BySchema::new(schema, beyond)
}

impl<T: Admit> Typed<T> {
    /// The stored object. One that this version cannot read restrains nothing.
    fn decode_old(&self, old: Option<&Value>) -> Option<T> {
        let mut old = old?.clone();
        self.schema.read(&mut old);
        decode(&old).ok()
    }
}

fn decode<T: DeserializeOwned>(object: &Value) -> Result<T, Vec<FieldError>> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "" } else { &path };
        let mut errors = Errors::default();
        errors.wrong_type(path, &error.inner().to_string());
        errors.into_vec()
    })
}

impl<T: Admit> Beyond for Typed<T> {
    const COMPLETES: bool = true;

    fn complete(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        let mut typed: T = decode(object)?;
        if typed.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let before = to_value(&typed)?;
        typed
            .fill_in(self.decode_old(old).as_ref(), context)
            .map_err(|error| vec![error])?;
        changes::apply(object, &before, &to_value(&typed)?);
        Ok(())
    }

    fn check(
        &self,
        object: &Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        let typed: T = match decode(object) {
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
