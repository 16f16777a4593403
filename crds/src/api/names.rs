//! What names, labels and finalizers may look like, and the sentences that say so.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
    'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
    characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
    '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or \
    '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
    'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, \
    '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
    'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const DATA_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or \
    '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
    '[-._a-zA-Z0-9]+')";

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

/// A DNS subdomain: the name of most objects.
pub(crate) fn subdomain(text: &str) -> Result<(), String> {
    if text.len() > 253 {
        return Err("must be no more than 253 characters".to_owned());
    }
    if text.split('.').all(is_label) {
        Ok(())
    } else {
        Err(SUBDOMAIN.to_owned())
    }
}

/// A key of the data of a ConfigMap or a Secret.
pub(crate) fn data_key(text: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text.len() > 253 {
        Err("must be no more than 253 characters".to_owned())
    } else if text.is_empty() || !text.bytes().all(good) {
        Err(DATA_KEY.to_owned())
    } else if text == "." || text == ".." {
        Err(format!("must not be '{text}'"))
    } else if text.starts_with("..") {
        Err("must not start with '..'".to_owned())
    } else {
        Ok(())
    }
}

/// A part of a path: the name of a role or of a binding.
pub(crate) fn path_segment(text: &str) -> Result<(), String> {
    if text == "." || text == ".." {
        return Err(format!("may not be '{text}'"));
    }
    match text.chars().find(|c| ['/', '%'].contains(c)) {
        Some(c) => Err(format!("may not contain '{c}'")),
        None => Ok(()),
    }
}

/// A DNS label of RFC 1035: a name in a definition.
pub(crate) fn dns_1035_label(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err("must be no more than 63 characters".to_owned());
    }
    if is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase()) {
        Ok(())
    } else {
        Err(LABEL_1035.to_owned())
    }
}

/// A DNS label: the name of a Namespace or a Service.
pub(crate) fn dns_label(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err("must be no more than 63 characters".to_owned());
    }
    if is_label(text) {
        Ok(())
    } else if subdomain(text).is_ok() {
        Err("must not contain dots".to_owned())
    } else {
        Err(LABEL.to_owned())
    }
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// The key of a label or annotation, or a finalizer: an optional domain, a slash, a name.
pub(crate) fn label_key(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            if prefix.is_empty() {
                return Err("prefix part must be non-empty".to_owned());
            }
            subdomain(prefix).map_err(|why| format!("prefix part {why}"))?;
            name
        }
        None => text,
    };
    if name.is_empty() {
        return Err("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Err("name part must be no more than 63 characters".to_owned());
    }
    if is_name_part(name) {
        Ok(())
    } else {
        Err(QUALIFIED.to_owned())
    }
}

/// The value of a label.
pub(crate) fn label_value(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err("must be no more than 63 characters".to_owned());
    }
    if text.is_empty() || is_name_part(text) {
        Ok(())
    } else {
        Err(VALUE.to_owned())
    }
}

/// Five characters for `generateName`, without vowels so that they spell nothing.
pub(crate) fn random_suffix() -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let random = uuid::Uuid::new_v4().as_u128();
    (0..5)
        .map(|place: u32| {
            let digit = (random >> (place * 16)) & 0xffff;
            char::from(LETTERS[usize::try_from(digit % 27).unwrap_or_default()])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_an_optional_prefix() {
        for key in ["a", "A.b_c-d", "eventing.knative.dev/broker.class", "a/b"] {
            assert_eq!(label_key(key), Ok(()), "{key}");
        }
        for key in ["", "/a", "a/", "a/b/c", "-a", "A/b", "a b", &"a".repeat(64)] {
            assert!(label_key(key).is_err(), "{key}");
        }
    }
}
