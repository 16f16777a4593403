//! What makes an attribute valid: its name, its value, and how much of it there may be.
//!
//! The rules are those of the CloudEvents specification, sections "Naming Conventions", "Type
//! System" and "Context Attributes", for 1.0 and for 0.3. They are checked once, where an event
//! comes into being: on decoding, and in [`super::EventBuilder`]. The checks look and never change
//! anything: a timestamp or a URI stays the text that the producer wrote, in the producer's time
//! zone and spelling.
//!
//! Checks of shape are deliberately plain. `time` has the form of RFC 3339 and names a day that
//! exists; a URI is not empty and has neither spaces nor control characters; a media type is
//! `type/subtype`, perhaps with parameters. What passes here but means nothing is for the
//! subscriber to judge.
//!
//! Every refusal is an [`EventError`]: which attribute, and which [`Rule`] it breaks.

use std::fmt;

use super::packed::{MAX_ATTRIBUTES, MAX_NAME};

/// The longest value of one attribute, in bytes of UTF-8.
pub const MAX_VALUE: usize = 64 * 1024;

/// The extension that counts the hops that an event has left: a Broker takes one away, and a reply
/// that repeats its event has one less.
pub const TTL: &str = "knativebrokerttl";

/// How much of a name that breaks the rules is repeated in an error, in bytes.
const NAME_SHOWN: usize = 64;

/// An attribute breaks a rule. The producer's fault; sending the event again unchanged is no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute `{attribute}` {rule}")]
pub struct EventError {
    /// The name of the attribute, cut at 64 bytes where it is itself at fault.
    pub attribute: Box<str>,
    /// The rule that it breaks.
    pub rule: Rule,
}

impl EventError {
    /// `attribute` breaks `rule`.
    #[must_use]
    pub fn new(attribute: &str, rule: Rule) -> Self {
        let mut end = attribute.len().min(NAME_SHOWN);
        while !attribute.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            attribute: attribute.get(..end).unwrap_or_default().into(),
            rule,
        }
    }
}

/// The rules for attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `specversion`, `id`, `source` and `type` must be there.
    Required,
    /// The value must not be empty.
    NotEmpty,
    /// Names are `a` to `z` and `0` to `9`.
    NameCharacters,
    /// Names have at most [`MAX_NAME`] bytes.
    NameLength,
    /// `data` and `data_base64` are not attributes.
    ReservedName,
    /// A value has at most [`MAX_VALUE`] bytes.
    ValueLength {
        /// The length found, in bytes.
        found: usize,
    },
    /// An event has at most [`MAX_ATTRIBUTES`] attributes.
    Count,
    /// Each attribute is given once.
    Once,
    /// Text has neither control characters nor Unicode noncharacters.
    Characters,
    /// Text is UTF-8.
    Utf8,
    /// The form of an RFC 3339 timestamp.
    Timestamp,
    /// The form of a URI-reference.
    Uri,
    /// The form of a media type.
    MediaType,
    /// In JSON, the attributes that the specification defines are strings.
    String,
    /// In JSON, an extension is a string, a boolean or a whole number of 32 bits; not a number
    /// with a fraction or an exponent.
    Fraction,
    /// In JSON, a whole number fits into 32 bits.
    Integer32,
    /// In JSON, an extension is neither an object nor an array.
    Structure,
    /// In JSON, a string is made of whole characters: no half of a surrogate pair.
    Surrogate,
    /// The binary mode carries `datacontenttype` in Content-Type, and nowhere else.
    ContentTypeHeader,
    /// `1.0` and `0.3` are understood.
    SpecVersion {
        /// The version found, cut at 64 bytes.
        found: Box<str>,
    },
    /// `data_base64` is base64 (RFC 4648, with padding).
    Base64,
    /// Only one of `data` and `data_base64` may be there.
    OneData,
    /// `data_base64` belongs to CloudEvents 1.0.
    DataBase64InV03,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required => f.write_str("is missing"),
            Self::NotEmpty => f.write_str("must not be empty"),
            Self::NameCharacters => {
                f.write_str("has a name with other characters than `a` to `z` and `0` to `9`")
            }
            Self::NameLength => write!(f, "has a name of more than {MAX_NAME} bytes"),
            Self::ReservedName => f.write_str("has a name that is reserved for the data"),
            Self::ValueLength { found } => {
                write!(f, "has {found} bytes; at most {MAX_VALUE} are taken")
            }
            Self::Count => {
                write!(
                    f,
                    "is one too many: an event has at most {MAX_ATTRIBUTES} attributes"
                )
            }
            Self::Once => f.write_str("is given more than once"),
            Self::Characters => {
                f.write_str("has control characters or noncharacters, which text must not have")
            }
            Self::Utf8 => f.write_str("is not UTF-8"),
            Self::Timestamp => {
                f.write_str("is not an RFC 3339 timestamp such as 2018-04-05T17:31:00Z")
            }
            Self::Uri => f.write_str("is not a URI-reference: it has spaces or control characters"),
            Self::MediaType => f.write_str("is not a media type such as application/json"),
            Self::String => f.write_str("must be a JSON string"),
            Self::Fraction => {
                f.write_str("is a number with a fraction or an exponent; send it as a string")
            }
            Self::Integer32 => f.write_str("does not fit into 32 bits; send it as a string"),
            Self::Structure => f.write_str("is an object or an array; only `data` may be one"),
            Self::Surrogate => f.write_str("has half of a surrogate pair"),
            Self::ContentTypeHeader => {
                f.write_str("travels in the Content-Type header, not in ce-datacontenttype")
            }
            Self::SpecVersion { found } => {
                write!(
                    f,
                    "is `{found}`; the versions `1.0` and `0.3` are understood"
                )
            }
            Self::Base64 => f.write_str("is not base64 with padding"),
            Self::OneData => f.write_str("is there beside `data`; only one of them may be"),
            Self::DataBase64InV03 => f.write_str(
                "is not part of CloudEvents 0.3; use `data` with datacontentencoding `base64`",
            ),
        }
    }
}

/// Shortens text that an error repeats.
pub(super) fn shown(text: &str) -> Box<str> {
    text.chars().take(NAME_SHOWN).collect::<String>().into()
}

/// Checks an attribute's name.
pub fn check_name(name: &str) -> Result<(), EventError> {
    let fail = |rule| Err(EventError::new(name, rule));
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    {
        return if name == "data_base64" {
            fail(Rule::ReservedName)
        } else {
            fail(Rule::NameCharacters)
        };
    }
    if name.len() > MAX_NAME {
        return fail(Rule::NameLength);
    }
    if name == "data" {
        return fail(Rule::ReservedName);
    }
    Ok(())
}

/// Checks the text of the attribute `name`, whose name has been checked.
pub fn check_value(name: &str, text: &str) -> Result<(), EventError> {
    if !is_allowed_text(text) {
        return Err(EventError::new(name, Rule::Characters));
    }
    check_plain_value(name, text)
}

/// [`check_value`] for text that is known to have no forbidden characters.
pub(super) fn check_plain_value(name: &str, text: &str) -> Result<(), EventError> {
    let fail = |rule| Err(EventError::new(name, rule));
    if text.len() > MAX_VALUE {
        return fail(Rule::ValueLength { found: text.len() });
    }
    match name {
        "id" | "type" | "subject" if text.is_empty() => fail(Rule::NotEmpty),
        "source" | "dataschema" | "schemaurl" => {
            if text.is_empty() {
                fail(Rule::NotEmpty)
            } else if text.bytes().any(|b| b == b' ') {
                fail(Rule::Uri)
            } else {
                Ok(())
            }
        }
        "time" if !is_timestamp(text) => fail(Rule::Timestamp),
        "datacontenttype" if !is_media_type(text) => fail(Rule::MediaType),
        _ => Ok(()),
    }
}

/// Whether the specification defines the attribute, in one of its versions, and so its type,
/// which is then a string on every wire.
#[must_use]
pub fn is_core(name: &str) -> bool {
    matches!(
        name,
        "id" | "source"
            | "type"
            | "specversion"
            | "time"
            | "subject"
            | "datacontenttype"
            | "dataschema"
            | "schemaurl"
            | "datacontentencoding"
    )
}

/// No C0 or C1 controls, no noncharacters. A `str` cannot hold surrogates.
fn is_allowed_text(text: &str) -> bool {
    if text.is_ascii() {
        return text
            .bytes()
            .fold(true, |fine, b| fine & (0x20..0x7f).contains(&b));
    }
    text.chars().all(|c| {
        let code = u32::from(c);
        !c.is_control() && !(0xfdd0..=0xfdef).contains(&code) && code & 0xfffe != 0xfffe
    })
}

/// Whether the text has the form of RFC 3339 and names a moment that exists.
#[must_use]
pub fn is_timestamp(text: &str) -> bool {
    let b = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<u32> {
        b.get(from..from + len)?.iter().try_fold(0, |sum, d| {
            d.is_ascii_digit().then(|| sum * 10 + u32::from(d - b'0'))
        })
    };
    let at = |position: usize, wanted: u8| {
        b.get(position)
            .is_some_and(|found| found.to_ascii_uppercase() == wanted)
    };
    let (Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)) = (
        number(0, 4),
        number(5, 2),
        number(8, 2),
        number(11, 2),
        number(14, 2),
        number(17, 2),
    ) else {
        return false;
    };
    let separators = at(4, b'-') && at(7, b'-') && at(10, b'T') && at(13, b':') && at(16, b':');
    let date = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    // A leap second is written as :60.
    if !separators || !date || hour > 23 || minute > 59 || second > 60 {
        return false;
    }
    let mut offset = 19;
    if at(offset, b'.') {
        let digits = b
            .iter()
            .skip(offset + 1)
            .take_while(|d| d.is_ascii_digit())
            .count();
        if digits == 0 {
            return false;
        }
        offset += 1 + digits;
    }
    if at(offset, b'Z') {
        return b.len() == offset + 1;
    }
    (at(offset, b'+') || at(offset, b'-'))
        && at(offset + 3, b':')
        && b.len() == offset + 6
        && number(offset + 1, 2).is_some_and(|hours| hours <= 23)
        && number(offset + 4, 2).is_some_and(|minutes| minutes <= 59)
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Whether the text has the form `type/subtype`, perhaps with parameters after a semicolon
/// (RFC 9110, section 8.3.1). Parameters are not looked into.
#[must_use]
pub fn is_media_type(text: &str) -> bool {
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    essence
        .trim_end_matches([' ', '\t'])
        .split_once('/')
        .is_some_and(|(t, s)| token(t) && token(s))
        && parameters
            .bytes()
            .all(|b| b == b'\t' || (0x20..0x7f).contains(&b))
}

/// Whether the media type says that the content is JSON: its subtype is `json` or ends in
/// `+json` (JSON event format, section 3.1.1).
#[must_use]
pub fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type);
    let ends_with = |suffix: &str| {
        essence
            .len()
            .checked_sub(suffix.len())
            .and_then(|at| essence.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    ends_with("/json") || ends_with("+json")
}

/// Whether the media type says that the content is text in UTF-8, so that it may stand in JSON as
/// a string: `text/*`, XML, YAML, form data; with no other charset declared.
#[must_use]
pub fn is_text(media_type: &str) -> bool {
    let essence = essence(media_type).to_ascii_lowercase();
    let text = essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+yaml")
        || matches!(
            essence.as_str(),
            "application/xml" | "application/yaml" | "application/x-www-form-urlencoded"
        );
    text && charset(media_type).is_none_or(is_utf8_charset)
}

/// Whether a charset is UTF-8, or ASCII, which is a part of it.
pub(super) fn is_utf8_charset(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"]
        .iter()
        .any(|name| charset.eq_ignore_ascii_case(name))
}

/// The media type without its parameters.
pub(super) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// The charset parameter of a media type, where there is one.
pub(super) fn charset(media_type: &str) -> Option<&str> {
    media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests;
