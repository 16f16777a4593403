//! Rules of references and destinations, wherever they stand.

use super::{Errors, join};
use crate::duck::{Destination, KReference};

/// The schemes of URIs that events can be sent to. `local://<handler>` names a handler that runs
/// in this process.
const SCHEMES: [&str; 3] = ["http", "https", "local"];
/// The most bytes of a URI.
const MAX_URI: usize = 4096;

/// Gives a destination's reference the namespace of the object.
pub(crate) fn fill_in(destination: Option<&mut Destination>, namespace: &str) {
    if let Some(reference) = destination.and_then(|d| d.reference.as_mut()) {
        fill_in_reference(reference, namespace);
    }
}

/// Gives a reference the namespace of the object.
pub(crate) fn fill_in_reference(reference: &mut KReference, namespace: &str) {
    if reference
        .namespace
        .as_deref()
        .unwrap_or_default()
        .is_empty()
        && !namespace.is_empty()
    {
        reference.namespace = Some(namespace.to_owned());
    }
}

/// Reports what is wrong with a reference at `path`.
pub(crate) fn check_reference(reference: &KReference, path: &str, errors: &mut Errors) {
    for (field, value) in [
        ("name", &reference.name),
        ("apiVersion", &reference.api_version),
        ("kind", &reference.kind),
    ] {
        if value.is_empty() {
            errors.missing(&join(path, field));
        }
    }
    if reference.group.is_some() {
        errors.forbidden(&join(path, "group"), "write the group into apiVersion");
    }
}

/// Reports what is wrong with a destination at `path`.
pub(crate) fn check(destination: &Destination, path: &str, errors: &mut Errors) {
    match (&destination.reference, destination.uri.as_deref()) {
        (None, None) => errors.none_of(path, &["ref", "uri"]),
        (Some(reference), None) => check_reference(reference, &join(path, "ref"), errors),
        (Some(reference), Some(uri)) => {
            check_reference(reference, &join(path, "ref"), errors);
            if split_scheme(uri).is_some() {
                let message = format!(
                    "Absolute URI is not allowed when Ref or [apiVersion, kind, name] is present: \
                     {path}.ref, {path}.uri"
                );
                errors.push("FieldValueInvalid", &join(path, "uri"), message);
            } else {
                check_characters(uri, &join(path, "uri"), errors);
            }
        }
        (None, Some(uri)) => check_absolute(uri, &join(path, "uri"), errors),
    }
    if let Some(certificates) = &destination.ca_certs
        && !is_certificates(certificates)
    {
        let path = join(path, "CACerts");
        let message =
            format!("invalid value: CA certificates: {path}: expected PEM blocks of CERTIFICATE");
        errors.push("FieldValueInvalid", &path, message);
    }
}

fn check_absolute(uri: &str, path: &str, errors: &mut Errors) {
    let Some((scheme, rest)) = split_scheme(uri) else {
        let message = format!(
            "invalid value: Relative URI is not allowed when Ref and [apiVersion, kind, name] is \
             absent: {path}"
        );
        errors.push("FieldValueInvalid", path, message);
        return;
    };
    if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
        let detail = "expected a URI of scheme http, https or local";
        errors.invalid(path, uri, detail);
        return;
    }
    let authority = rest
        .strip_prefix("//")
        .and_then(|rest| rest.split(['/', '?', '#']).next())
        .unwrap_or_default();
    if host(authority).is_empty() {
        errors.invalid(
            path,
            uri,
            "expected a host, like in http://example.com/path",
        );
        return;
    }
    if check_characters(uri, path, errors)
        && (uri.parse::<http::Uri>().is_err() || !has_good_port(authority))
    {
        errors.invalid(
            path,
            uri,
            "expected a URI, like http://example.com:8080/path",
        );
    }
}

/// The host of an authority, without user information and port.
fn host(authority: &str) -> &str {
    split_port(authority).0
}

/// Whether the authority has no port, or one from 0 to 65535.
fn has_good_port(authority: &str) -> bool {
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    split_port(authority)
        .1
        .is_none_or(|port| port.is_empty() || digits(port) && port.parse::<u16>().is_ok())
}

/// The host and the port of an authority. An IPv6 address stands in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let rest = authority
        .rsplit_once('@')
        .map_or(authority, |(_, rest)| rest);
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    }
}

/// Reports characters that no URI has, and tells whether there was none.
fn check_characters(uri: &str, path: &str, errors: &mut Errors) -> bool {
    if uri.len() > MAX_URI {
        errors.invalid(path, uri, &format!("expected at most {MAX_URI} bytes"));
        return false;
    }
    let good = uri
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
    if !good {
        errors.invalid(
            path,
            uri,
            "expected the characters of URIs; percent-encode the others",
        );
    }
    good
}

/// The scheme of an absolute URI and what follows its colon.
fn split_scheme(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    good.then_some((scheme, rest))
}

/// Whether the text holds at least one PEM block, and only certificates. The certificates
/// themselves are read when a connection is made; this finds what was pasted wrong.
fn is_certificates(text: &str) -> bool {
    let mut blocks = 0;
    let mut body: Option<String> = None;
    for line in text.lines().map(str::trim) {
        match &mut body {
            None if line == "-----BEGIN CERTIFICATE-----" => body = Some(String::new()),
            // Text between blocks is a comment; a block of another kind is a mistake.
            None if line.starts_with("-----") => return false,
            None => {}
            Some(base64) if line == "-----END CERTIFICATE-----" => {
                if !is_der_sequence(base64) {
                    return false;
                }
                blocks += 1;
                body = None;
            }
            Some(base64) => base64.push_str(line),
        }
    }
    blocks > 0 && body.is_none()
}

/// Whether the text is base64 of something that begins as a certificate does.
fn is_der_sequence(base64: &str) -> bool {
    let data = base64.trim_end_matches('=');
    // A certificate is a DER sequence, whose first byte is 0x30: the base64 digit M, then A to P.
    base64.len().is_multiple_of(4)
        && base64.len() - data.len() <= 2
        && data.starts_with('M')
        && data
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}
