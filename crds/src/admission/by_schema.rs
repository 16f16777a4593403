//! Admission by a schema, and by what a kind says beyond it.

use serde_json::Value;

use crate::resource::{Admission, AdmissionContext, FieldError};
use crate::schema::KindSchema;

/// What a kind says that its schema cannot. Both functions are given objects that fit the schema.
pub(crate) trait Beyond: Send + Sync {
    /// Whether there is anything to fill in, so that objects are held against the schema before.
    const COMPLETES: bool;
    /// Whether it fills in fields that the schema requires.
    const SUPPLIES: bool = false;

    /// Fills in what the schema has no default for.
    fn complete(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>>;

    /// Everything that is wrong with the object besides.
    fn check(
        &self,
        object: &Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Vec<FieldError>;
}

/// A kind that its schema says everything of.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Beyond for Nothing {
    const COMPLETES: bool = false;

    fn complete(
        &self,
        _: &mut Value,
        _: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        Ok(())
    }

    fn check(&self, _: &Value, _: Option<&Value>, _: &dyn AdmissionContext) -> Vec<FieldError> {
        Vec::new()
    }
}

/// Prunes, fills in and validates by the schema, and does what it cannot say.
#[derive(Debug)]
pub(crate) struct BySchema<B> {
    schema: KindSchema,
    beyond: B,
}

impl<B: Beyond> BySchema<B> {
    pub(crate) fn new(schema: &KindSchema, beyond: B) -> Self {
        Self {
            schema: schema.clone(),
            beyond,
        }
    }

    fn fits(&self, object: &Value, old: Option<&Value>) -> Result<(), Vec<FieldError>> {
        let faults = self.schema.judge(object, old).into_vec();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

impl<B: Beyond> Admission for BySchema<B> {
    fn default(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        self.schema.read(object);
        if !B::COMPLETES {
            return Ok(());
        }
        // What has another shape than it should is reported before anything is filled in.
        let faults = self.schema.judge(object, old);
        if !(faults.is_empty() || B::SUPPLIES && faults.only_missing()) {
            return Err(faults.into_vec());
        }
        self.beyond.complete(object, old, context)?;
        // What was filled in may lack what nobody but the user can say.
        self.fits(object, old)
    }

    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        match self.fits(object, old) {
            Ok(()) => self.beyond.check(object, old, context),
            Err(faults) => faults,
        }
    }

    fn read(&self, object: &mut Value) {
        self.schema.read(object);
    }
}
