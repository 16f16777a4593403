//! Attribute text as HTTP header values, and back (HTTP binding, section 3.1.3.2).
//!
//! Out: space, double quote, percent and everything outside of U+0021 to U+007E is
//! percent-encoded. In: double-quoted strings are unescaped, then one round of percent-decoding
//! follows. A percent sign that no two hexadecimal digits follow stands for itself, as does a
//! quote that is never closed; many producers do not encode at all, and their text is meant as it
//! stands.

use std::borrow::Cow;

use super::attributes::Rule;

/// Whether the byte stands for itself in both directions.
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && byte != b'"' && byte != b'%'
}

/// Whether all of the bytes stand for themselves. Looks at every byte rather than stopping early,
/// which is faster for values of ordinary length.
pub(super) fn is_all_plain(value: &[u8]) -> bool {
    value
        .iter()
        .fold(true, |plain, &byte| plain & is_plain(byte))
}

/// The text that a header value stands for.
///
/// # Errors
///
/// [`Rule::Utf8`], where the bytes are not UTF-8 before or after percent-decoding.
pub fn decode(value: &[u8]) -> Result<Cow<'_, str>, Rule> {
    let text = std::str::from_utf8(value).map_err(|_| Rule::Utf8)?;
    if is_all_plain(value) {
        return Ok(Cow::Borrowed(text));
    }
    let unquoted = unquote(value);
    if !unquoted.contains(&b'%') {
        return match unquoted {
            Cow::Borrowed(_) => Ok(Cow::Borrowed(text)),
            Cow::Owned(bytes) => String::from_utf8(bytes)
                .map(Cow::Owned)
                .map_err(|_| Rule::Utf8),
        };
    }
    String::from_utf8(percent_decode(&unquoted))
        .map(Cow::Owned)
        .map_err(|_| Rule::Utf8)
}

/// The header value that stands for the text.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, str> {
    if is_all_plain(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            encoded.push('%');
            for nibble in [byte >> 4, byte & 15] {
                encoded.push(
                    DIGITS
                        .get(usize::from(nibble))
                        .map_or('0', |&d| char::from(d)),
                );
            }
        }
    }
    Cow::Owned(encoded)
}

/// Takes double quotes away, and the backslashes between them. As it is, where a quote stays open.
fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'"') {
        return Cow::Borrowed(value);
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut quoted = false;
    let mut rest = value.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => match rest.next() {
                Some(&escaped) => plain.push(escaped),
                None => return Cow::Borrowed(value),
            },
            _ => plain.push(byte),
        }
    }
    if quoted {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(plain)
    }
}

fn percent_decode(value: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%'
            && let Some((&[high, low], after)) = after.split_first_chunk()
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            decoded.push(high << 4 | low);
            rest = after;
        } else {
            decoded.push(byte);
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn decodes_as_the_binding_says() {
        for (header, text) in [
            ("plain/text?x=1", "plain/text?x=1"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("%e2%82%ac", "€"),
            ("un%6Eecessary", "unnecessary"),
            ("hello world", "hello world"),
            ("\"hello world\"", "hello world"),
            (r#""a \"b\" \\ %41""#, r#"a "b" \ A"#),
            ("a \"b\" c", "a b c"),
            ("open \"quote", "open \"quote"),
            ("ends in \"backslash\\", "ends in \"backslash\\"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%2541", "%41"),
            ("Euro € raw", "Euro € raw"),
            ("", ""),
        ] {
            assert_eq!(decode(header.as_bytes()).unwrap(), text, "{header}");
        }
        for bad in [&b"%C0%A0"[..], b"%ff", b"\xff", b"%F0%9F%98", b"%ED%A0%80"] {
            assert_eq!(decode(bad), Err(Rule::Utf8), "{bad:?}");
        }
    }

    #[test]
    fn encodes_as_the_binding_says() {
        assert_eq!(encode("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encode("a\"b%c~!"), "a%22b%25c~!");
        assert!(matches!(encode("/plain?x=1"), Cow::Borrowed(_)));
    }
}
