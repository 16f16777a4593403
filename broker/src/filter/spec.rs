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
}
