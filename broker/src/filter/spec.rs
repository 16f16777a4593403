//! What a user asked for, as plain data: the input of [`super::Filter::compile`].
//!
//! The control plane fills this in from its resources; the data path knows no others.

/// Names of attributes and texts.
pub type Texts = Vec<(String, String)>;

/// One element of a Trigger's `filters`. Exactly one dialect should be set; on objects that were
/// stored with several, the first one counts, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Each attribute has the text; an empty text asks for any that is not empty.
    pub exact: Texts,
    /// Each attribute begins with the text.
    pub prefix: Texts,
    /// Each attribute ends with the text.
    pub suffix: Texts,
    /// Every element passes.
    pub all: Vec<Self>,
    /// At least one element passes.
    pub any: Vec<Self>,
    /// The element does not pass.
    pub not: Option<Box<Self>>,
    /// The CloudEvents SQL expression is true.
    pub cesql: Option<String>,
    /// The event's data fits: an element of the dialect `heddle.dev/data`, as it was written.
    pub data: Option<serde_json::Value>,
}

/// The dialect that an element is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect<'a> {
    /// `exact`
    Exact(&'a Texts),
    /// `prefix`
    Prefix(&'a Texts),
    /// `suffix`
    Suffix(&'a Texts),
    /// `all`
    All(&'a [Spec]),
    /// `any`
    Any(&'a [Spec]),
    /// `not`
    Not(&'a Spec),
    /// `cesql`
    Cesql(&'a str),
    /// `heddle.dev/data`
    Data(&'a serde_json::Value),
}

impl Spec {
    /// The dialect that counts; `None` where the element says nothing.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect<'_>> {
        Some(if !self.exact.is_empty() {
            Dialect::Exact(&self.exact)
        } else if !self.prefix.is_empty() {
            Dialect::Prefix(&self.prefix)
        } else if !self.suffix.is_empty() {
            Dialect::Suffix(&self.suffix)
        } else if !self.all.is_empty() {
            Dialect::All(&self.all)
        } else if !self.any.is_empty() {
            Dialect::Any(&self.any)
        } else if let Some(not) = &self.not {
            Dialect::Not(not)
        } else if let Some(text) = self.cesql.as_deref().filter(|text| !text.is_empty()) {
            Dialect::Cesql(text)
        } else {
            Dialect::Data(self.data.as_ref()?)
        })
    }
}
