//! The block of bytes that an event is, in memory and in the log.
//!
//! ```text
//! u8   layout, 1
//! u8   specversion: 0 = "1.0", 1 = "0.3"
//! u8   form of the data: 0 none, 1 bytes, 2 base64 in JSON, 3 JSON text
//! u8   number of attributes
//! u32  length of all attributes, in bytes
//!      the attributes: `id`, `source`, `type`, then the others in the order of their arrival
//!        u8   length of the name
//!        u8   type: 0 string, 1 integer, 2 boolean; bit 7: a header text follows the value
//!        u32  length of the value
//!             name, value
//!        u32  length of the header text (only with bit 7), and the text
//!      the data, up to the end
//! ```
//!
//! Integers are little-endian. `specversion` is an attribute for readers, but is stored in the
//! head only. A header text is kept where the producer's spelling of a header value is not the
//! one that we would choose, so that it goes out as it came in.
//!
//! Invariant: an `Event` was packed by [`Packer`] or checked by [`Event::unpack`], so that reading
//! it cannot fail.

use bytes::{BufMut, Bytes};

use super::attributes::check_name;

const LAYOUT: u8 = 1;
pub(super) const HEAD: usize = 8;
const ATTRIBUTE_HEAD: usize = 6;
const HAS_HEADER_TEXT: u8 = 0x80;
/// The attributes that stand first, in this order.
const REQUIRED: [&str; 3] = ["id", "source", "type"];

/// The most attributes that one event may have, `specversion` not counted.
pub const MAX_ATTRIBUTES: usize = 255;
/// The longest attribute name, in bytes.
pub const MAX_NAME: usize = 255;

/// The version of the CloudEvents specification that an event was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecVersion {
    /// 1.0, and its patch releases.
    V1,
    /// 0.3.
    V03,
}

impl SpecVersion {
    /// The value of the `specversion` attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V03 => "0.3",
        }
    }
}

/// The type that an attribute's value had on the wire (CloudEvents, section "Type system").
/// URIs, timestamps and binary values are strings on every wire, and stay so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttributeKind {
    /// A string, or something that is written as one.
    String,
    /// A whole number of 32 bits.
    Integer,
    /// `true` or `false`.
    Boolean,
}

/// How the data came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataForm {
    /// The event has no data.
    None,
    /// Bytes, as the body of a binary-mode message.
    Bytes,
    /// Bytes that were base64 text in a structured message; kept decoded.
    Base64,
    /// The text of a JSON value, as it stood in a structured message.
    Json,
}

/// One attribute of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The name: lower-case ASCII letters and digits.
    pub name: &'a str,
    /// The type it had on the wire.
    pub kind: AttributeKind,
    /// The canonical text of the value.
    pub text: &'a str,
    /// The HTTP header value that the producer sent, where it differs from the one that the HTTP
    /// binding (section 3.1.3.2) gives for `text`.
    pub header: Option<&'a str>,
}

/// A block of bytes is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a packed event: {0}")]
pub struct UnpackError(pub &'static str);

/// A CloudEvent. Cheap to clone: all clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    packed: Bytes,
}

impl Event {
    /// Checks a block of bytes, in one pass, and takes it as an event.
    pub fn unpack(packed: Bytes) -> Result<Self, UnpackError> {
        let head: &[u8; HEAD] = packed
            .first_chunk()
            .ok_or(UnpackError("shorter than its head"))?;
        let &[layout, version, form, count, ..] = head;
        if layout != LAYOUT {
            return Err(UnpackError("unknown layout"));
        }
        if version > 1 || form > 3 || count < 3 {
            return Err(UnpackError("bad head"));
        }
        let data_at = data_start(&packed);
        let attributes = packed
            .get(HEAD..data_at)
            .ok_or(UnpackError("attributes cut off"))?;
        let mut rest = attributes;
        for position in 0..count {
            let (attribute, after) = split_attribute(rest).ok_or(UnpackError("bad attribute"))?;
            if REQUIRED
                .get(usize::from(position))
                .is_some_and(|name| *name != attribute.name)
            {
                return Err(UnpackError("a required attribute is not in its place"));
            }
            if check_name(attribute.name).is_err() || attribute.name == "specversion" {
                return Err(UnpackError("bad name of an attribute"));
            }
            rest = after;
        }
        if !rest.is_empty() {
            return Err(UnpackError("bytes after the last attribute"));
        }
        if form == 0 && packed.len() > data_at {
            return Err(UnpackError("data where there should be none"));
        }
        Ok(Self { packed })
    }

    /// The block of bytes.
    #[must_use]
    pub fn packed(&self) -> &Bytes {
        &self.packed
    }

    /// The length of the block, in bytes: what the event costs in memory and in the log.
    #[must_use]
    pub fn size(&self) -> usize {
        self.packed.len()
    }

    /// The version of the specification that the event was written to.
    #[must_use]
    pub fn spec_version(&self) -> SpecVersion {
        if self.packed.get(1) == Some(&1) {
            SpecVersion::V03
        } else {
            SpecVersion::V1
        }
    }

    /// The `id` attribute.
    #[must_use]
    pub fn id(&self) -> &str {
        self.nth(0)
    }

    /// The `source` attribute.
    #[must_use]
    pub fn source(&self) -> &str {
        self.nth(1)
    }

    /// The `type` attribute.
    #[must_use]
    pub fn ty(&self) -> &str {
        self.nth(2)
    }

    /// The attribute of that name, `specversion` included; extensions are attributes too.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        if name == "specversion" {
            return Some(Attribute {
                name: "specversion",
                kind: AttributeKind::String,
                text: self.spec_version().as_str(),
                header: None,
            });
        }
        self.attributes().named(name)
    }

    /// All attributes but `specversion`: `id`, `source`, `type`, then in the order of arrival.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'_> {
        let end = data_start(&self.packed).min(self.packed.len());
        Attributes {
            rest: self.packed.get(HEAD..end).unwrap_or_default(),
        }
    }

    /// The data, borrowed.
    /// The data, borrowed.
    pub(crate) fn data_slice(&self) -> &[u8] {
        self.packed
            .get(data_start(&self.packed)..)
            .unwrap_or_default()
    }

    /// How the data came in.
    #[must_use]
    pub fn data_form(&self) -> DataForm {
        match self.packed.get(2) {
            Some(1) => DataForm::Bytes,
            Some(2) => DataForm::Base64,
            Some(3) => DataForm::Json,
            _ => DataForm::None,
        }
    }

    /// The data, in the form that [`Event::data_form`] names. Shares the event's memory.
    #[must_use]
    pub fn data(&self) -> Bytes {
        self.packed
            .slice(data_start(&self.packed).min(self.packed.len())..)
    }

    fn nth(&self, n: usize) -> &str {
        self.attributes()
            .nth(n)
            .map_or("", |attribute| attribute.text)
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        map.entry(&"specversion", &self.spec_version().as_str());
        for attribute in self.attributes() {
            map.entry(&attribute.name, &attribute.text);
        }
        map.entry(&"data", &format_args!("{} bytes", self.data().len()))
            .finish()
    }
}

/// Walks over the attributes of an event.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The first attribute of that name among those that are left. Passes over the others without
    /// reading them.
    pub(super) fn named(self, name: &str) -> Option<Attribute<'a>> {
        let mut rest = self.rest;
        loop {
            let (_, after) = rest.split_first_chunk::<ATTRIBUTE_HEAD>()?;
            if after.starts_with(name.as_bytes())
                && rest.first().map(|&len| usize::from(len)) == Some(name.len())
            {
                return Some(split_attribute(rest)?.0);
            }
            rest = skip_attribute(rest)?;
        }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (attribute, rest) = split_attribute(self.rest)?;
        self.rest = rest;
        Some(attribute)
    }
}

/// Puts an event together. The caller has validated names and values (see
/// [`super::attributes`]); `id`, `source` and `type` come first, in that order.
#[derive(Clone, Debug)]
pub struct Packer {
    buffer: Vec<u8>,
    count: u8,
}

impl Packer {
    /// Starts an event without attributes. `capacity` is a guess at the whole size in bytes; where
    /// it is exact, the event costs one allocation.
    #[must_use]
    pub fn new(version: SpecVersion, capacity: usize) -> Self {
        let mut buffer = Vec::with_capacity(capacity.max(HEAD));
        buffer.put_u8(LAYOUT);
        buffer.put_u8(match version {
            SpecVersion::V1 => 0,
            SpecVersion::V03 => 1,
        });
        buffer.put_bytes(0, HEAD - 2);
        Self { buffer, count: 0 }
    }

    /// Starts again, with the same version and room.
    pub(super) fn restart(&self) -> Self {
        let mut buffer = Vec::with_capacity(self.buffer.capacity());
        buffer.extend_from_slice(self.buffer.get(..HEAD).unwrap_or_default());
        Self { buffer, count: 0 }
    }

    /// The attributes so far.
    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes {
            rest: self.buffer.get(HEAD..).unwrap_or_default(),
        }
    }

    /// Starts an event with all attributes of another one, to which `more` bytes of attributes will
    /// be added, and then the data of that event.
    pub(super) fn extend(event: &Event, more: usize) -> Self {
        let packed = &event.packed;
        let mut buffer = Vec::with_capacity(packed.len() + more);
        let end = data_start(packed).min(packed.len());
        buffer.extend_from_slice(packed.get(..end).unwrap_or_default());
        Self {
            buffer,
            count: packed.get(3).copied().unwrap_or_default(),
        }
    }

    /// Adds one attribute. False, and nothing added, when the event has [`MAX_ATTRIBUTES`]
    /// already, the name or the value is too long to be described, or one of `id`, `source` and
    /// `type` is due.
    #[must_use]
    pub fn push(&mut self, attribute: &Attribute<'_>) -> bool {
        let (Ok(name_len), Ok(value_len)) = (
            u8::try_from(attribute.name.len()),
            u32::try_from(attribute.text.len()),
        ) else {
            return false;
        };
        let header = attribute
            .header
            .map(|text| (u32::try_from(text.len()), text));
        let Some(count) = self.count.checked_add(1) else {
            return false;
        };
        if REQUIRED
            .get(usize::from(self.count))
            .is_some_and(|name| *name != attribute.name)
        {
            return false;
        }
        let mut kind = match attribute.kind {
            AttributeKind::String => 0,
            AttributeKind::Integer => 1,
            AttributeKind::Boolean => 2,
        };
        if header.is_some() {
            kind |= HAS_HEADER_TEXT;
        }
        if matches!(header, Some((Err(_), _))) {
            return false;
        }
        self.count = count;
        self.buffer.put_u8(name_len);
        self.buffer.put_u8(kind);
        self.buffer.put_u32_le(value_len);
        self.buffer.put_slice(attribute.name.as_bytes());
        self.buffer.put_slice(attribute.text.as_bytes());
        if let Some((Ok(header_len), text)) = header {
            self.buffer.put_u32_le(header_len);
            self.buffer.put_slice(text.as_bytes());
        }
        true
    }

    /// Ends the event with its data.
    ///
    /// # Errors
    ///
    /// When the required attributes were not pushed first, or all attributes together are too
    /// long to be described (4 GiB).
    pub fn finish(mut self, form: DataForm, data: &[u8]) -> Result<Event, UnpackError> {
        let attributes_len = u32::try_from(self.buffer.len() - HEAD)
            .map_err(|_| UnpackError("attributes are too long"))?;
        if self.count < 3 {
            return Err(UnpackError("a required attribute is not in its place"));
        }
        if let Some(head) = self.buffer.first_chunk_mut::<HEAD>() {
            head[2] = match form {
                DataForm::None => 0,
                DataForm::Bytes => 1,
                DataForm::Base64 => 2,
                DataForm::Json => 3,
            };
            head[3] = self.count;
            head[4..].copy_from_slice(&attributes_len.to_le_bytes());
        }
        if form != DataForm::None {
            self.buffer.put_slice(data);
        }
        // What `push` took is text, so the block needs no second look at every byte.
        Ok(Event {
            packed: self.buffer.into(),
        })
    }
}

/// What an attribute without a header text takes in an event, in bytes.
pub(super) fn size_of(name: &str, text_len: usize) -> usize {
    ATTRIBUTE_HEAD + name.len() + text_len
}

fn data_start(packed: &[u8]) -> usize {
    match packed.get(4..HEAD).and_then(<[u8]>::first_chunk) {
        Some(&len) => HEAD.saturating_add(u32::from_le_bytes(len) as usize),
        None => HEAD,
    }
}

/// What follows the first attribute.
fn skip_attribute(bytes: &[u8]) -> Option<&[u8]> {
    let (&[name_len, kind, a, b, c, d], rest) = bytes.split_first_chunk()?;
    let value_len = u32::from_le_bytes([a, b, c, d]) as usize;
    let rest = rest.get(usize::from(name_len).checked_add(value_len)?..)?;
    if kind & HAS_HEADER_TEXT == 0 {
        return Some(rest);
    }
    let (&len, after) = rest.split_first_chunk()?;
    after.get(u32::from_le_bytes(len) as usize..)
}

fn split_attribute(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let (&[name_len, kind, a, b, c, d], rest) = bytes.split_first_chunk()?;
    let value_len = u32::from_le_bytes([a, b, c, d]) as usize;
    let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
    let (text, mut rest) = rest.split_at_checked(value_len)?;
    let mut header = None;
    if kind & HAS_HEADER_TEXT != 0 {
        let (&len, after) = rest.split_first_chunk()?;
        let (text, after) = after.split_at_checked(u32::from_le_bytes(len) as usize)?;
        header = Some(std::str::from_utf8(text).ok()?);
        rest = after;
    }
    let attribute = Attribute {
        name: std::str::from_utf8(name).ok()?,
        kind: match kind & !HAS_HEADER_TEXT {
            0 => AttributeKind::String,
            1 => AttributeKind::Integer,
            2 => AttributeKind::Boolean,
            _ => return None,
        },
        text: std::str::from_utf8(text).ok()?,
        header,
    };
    Some((attribute, rest))
}
