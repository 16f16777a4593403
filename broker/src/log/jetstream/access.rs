//! How the servers are reached: their addresses, who we are, and whom we trust.

use std::sync::Arc;

use async_nats::{ConnectOptions, ServerAddr};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::event::header::decode;

/// How to reach the servers. Its `Debug` form shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// URLs, separated by commas, like `nats://127.0.0.1:4222`; names and passwords may stand in them.
    pub servers: String,
    /// A credentials file of NATS: a user's token and the seed of its key.
    pub credentials: Option<String>,
    /// The certificate that we show and its key, in PEM.
    pub identity: Option<Identity>,
    /// Certificates of authorities in PEM, besides those of the system.
    pub roots: Option<String>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and the authority.
    pub certificates: String,
    /// Its key.
    pub key: String,
}

impl Access {
    /// Servers at these URLs, without credentials beside those in them.
    #[must_use]
    pub fn new(servers: &str) -> Self {
        Self {
            servers: servers.to_owned(),
            ..Self::default()
        }
    }

    /// The addresses, without names and passwords.
    #[must_use]
    pub fn shown(&self) -> String {
        let urls: Vec<String> = self.urls().map(|url| url.bare()).collect();
        urls.join(",")
    }

    fn urls(&self) -> impl Iterator<Item = Url<'_>> {
        self.servers.split(',').map(|url| Url::of(url.trim()))
    }

    /// Where the servers are.
    pub(super) fn addresses(&self) -> Result<Vec<ServerAddr>, String> {
        let parse = |url: Url<'_>| {
            let bare = url.bare();
            let parsed = bare.parse();
            parsed.map_err(|error| format!("{bare:?} is no URL of a NATS server: {error}"))
        };
        self.urls().map(parse).collect()
    }

    /// `options` with what this says; or what is wrong with it, for people.
    pub(super) fn apply(&self, options: ConnectOptions) -> Result<ConnectOptions, String> {
        let mut options = options;
        if let Some(user) = self.urls().find_map(|url| url.user) {
            let plain = |text: &str| {
                let decoded = decode(text.as_bytes());
                decoded
                    .map(String::from)
                    .map_err(|_| "the name or password in the URL is no UTF-8")
            };
            options = match user.split_once(':') {
                Some((name, password)) => options.user_and_password(plain(name)?, plain(password)?),
                None => options.token(plain(user)?),
            };
        }
        if let Some(credentials) = &self.credentials {
            let read = options.credentials(credentials);
            options = read.map_err(|error| format!("the credentials cannot be used: {error}"))?;
        }
        if self.identity.is_some() || self.roots.is_some() {
            options = options.tls_client_config(self.trust()?).require_tls(true);
        }
        Ok(options)
    }

    fn trust(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        // Roots of the system that cannot be read are left out, as with deliveries.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in certificates(self.roots.as_deref().unwrap_or_default(), "tls")? {
            let added = roots.add(certificate);
            added.map_err(|error| format!("tls holds no usable certificate: {error}"))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS is not available: {error}"))?
            .with_root_certificates(roots);
        let Some(identity) = &self.identity else {
            return Ok(config.with_no_client_auth());
        };
        let chain = certificates(&identity.certificates, "auth.tls")?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
            .map_err(|error| format!("auth.tls holds no usable key: {error}"))?;
        let config = config.with_client_auth_cert(chain, key);
        config.map_err(|error| format!("auth.tls cannot be used: {error}"))
    }
}

fn certificates(pem: &str, from: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
    all.map_err(|error| format!("{from} is not valid PEM: {error}"))
}

/// The URL of a server: `scheme://user:password@host:port`, or less.
struct Url<'a> {
    scheme: Option<&'a str>,
    user: Option<&'a str>,
    host: &'a str,
}

impl<'a> Url<'a> {
    fn of(url: &'a str) -> Self {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, url),
        };
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        Self { scheme, user, host }
    }

    fn bare(&self) -> String {
        match self.scheme {
            Some(scheme) => format!("{scheme}://{}", self.host),
            None => self.host.to_owned(),
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("servers", &self.shown())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let access = Access::new("nats://user:p@ss@a:4222, tls://token@b, c:1");
        assert_eq!(access.shown(), "nats://a:4222,tls://b,c:1");
        assert!(!format!("{access:?}").contains("ss@"), "{access:?}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let wrong = |access: Access| access.apply(ConnectOptions::new()).map(drop).unwrap_err();
        let credentials = Access {
            credentials: Some("no file".to_owned()),
            ..Access::default()
        };
        assert!(wrong(credentials).contains("credentials"));
        let identity = Access {
            identity: Some(Identity {
                certificates: String::new(),
                key: "no key".to_owned(),
            }),
            ..Access::default()
        };
        assert!(wrong(identity).contains("auth.tls"));
    }
}
