//! What a request is for: by its Host, or else by its path.
//!
//! `/<namespace>/<name>` is a broker, or where there is none, the channel or the KafkaSink of that name;
//! `/channels/<namespace>/<name>` is a channel, `/kafkasinks/<namespace>/<name>` a KafkaSink.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::{Uri, Version};

use super::error::{IngressError, cut};
use crate::directory::{Directory, Entry, EntryKind};

/// Finds the entry. Channel hosts come first, then what has a path.
pub(super) fn find(directory: &Directory, head: &Parts) -> Result<Arc<Entry>, IngressError> {
    let host = host(head)?;
    let path = head.uri.path();
    if !directory.hosts.is_empty()
        && let Some(host) = host
        && let Some(entry) = directory.hosts.get(&*name_of(host))
    {
        return if matches!(path, "" | "/") {
            Ok(Arc::clone(entry))
        } else {
            Err(IngressError::ChannelPath)
        };
    }
    if matches!(path, "" | "/") {
        return Err(IngressError::NoTarget);
    }
    let key = path.strip_prefix('/').unwrap_or(path);
    let key = key.strip_suffix('/').unwrap_or(key);
    // Two parts may name anything; behind a prefix they name one kind for certain, which is why addresses
    // of channels and sinks have it.
    let found = if is_pair(key) {
        let all = [EntryKind::Broker, EntryKind::Channel, EntryKind::KafkaSink];
        all.into_iter().find_map(|kind| directory.of(kind).get(key))
    } else {
        let (kind, rest) = match key.split_once('/') {
            Some(("channels", rest)) => (EntryKind::Channel, rest),
            Some(("kafkasinks", rest)) => (EntryKind::KafkaSink, rest),
            _ => return Err(IngressError::BadPath),
        };
        if !is_pair(rest) {
            return Err(IngressError::BadPath);
        }
        directory.of(kind).get(rest)
    };
    found
        .map(Arc::clone)
        .ok_or_else(|| IngressError::UnknownTarget { target: cut(key) })
}

/// Whether a path is a namespace and a name.
fn is_pair(path: &str) -> bool {
    path.split_once('/').is_some_and(|(namespace, name)| {
        !namespace.is_empty() && !name.is_empty() && !name.contains('/')
    })
}

/// The host of the request, perhaps with a port. HTTP/1.1 demands exactly one Host header
/// (RFC 9112, section 3.2); a host in the request line outweighs it.
fn host(head: &Parts) -> Result<Option<&str>, IngressError> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() || (first.is_none() && head.version == Version::HTTP_11) {
        return Err(IngressError::Host);
    }
    match (authority(&head.uri), first) {
        (Some(authority), _) => Ok(Some(authority)),
        (None, Some(value)) => value.to_str().map(Some).map_err(|_| IngressError::Host),
        (None, None) => Ok(None),
    }
}

fn authority(uri: &Uri) -> Option<&str> {
    uri.authority().map(http::uri::Authority::as_str)
}

/// The host without its port, in lower case.
fn name_of(host: &str) -> Cow<'_, str> {
    let end = match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if !port.contains(']') => name.len(),
        _ => host.len(),
    };
    let name = host.get(..end).unwrap_or(host);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn hosts_lose_their_port_and_case() {
        for (host, name) in [
            ("a.b", "a.b"),
            ("A.b:80", "a.b"),
            ("a:", "a"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(name_of(host), name);
        }
    }
}
