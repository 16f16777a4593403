//! How the servers are reached: their addresses, who we are, and whom we trust.

use std::sync::Arc;

use async_nats::{ConnectInfo, ConnectOptions, Protocol, ServerAddr, ServerInfo};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::event::header::decode;

/// What servers show our connections as.
pub(super) const CLIENT: &str = "heddle";

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
        let mut options = match self.login()? {
            Some(Login::Password(name, password)) => options.user_and_password(name, password),
            Some(Login::Token(token)) => options.token(token),
            None => options,
        };
        if let Some(credentials) = &self.credentials {
            let read = options.credentials(credentials);
            options = read.map_err(|error| format!("the credentials cannot be used: {error}"))?;
        }
        if self.is_secured() {
            options = options.tls_client_config(self.trust()?).require_tls(true);
        }
        Ok(options)
    }

    /// What to say to a server that has greeted us with `info`; or what is wrong, for people.
    pub(super) fn hello(&self, info: &ServerInfo, secured: bool) -> Result<ConnectInfo, String> {
        let (mut user, mut password, mut token) = (None, None, None);
        match self.login()? {
            Some(Login::Password(name, word)) => (user, password) = (Some(name), Some(word)),
            Some(Login::Token(text)) => token = Some(text),
            None => {}
        }
        let (mut jwt, mut signature) = (None, None);
        if let Some(credentials) = &self.credentials {
            let unusable = |reason: &str| format!("the credentials cannot be used: {reason}");
            let [of_user, seed] = decorated(credentials)
                .ok_or_else(|| unusable("a token and the seed of a key are wanted"))?;
            let signed = KeyPair::from_seed(seed).and_then(|key| key.sign(info.nonce.as_bytes()));
            let signed = signed.map_err(|error| unusable(&error.to_string()))?;
            jwt = Some(of_user.to_owned());
            signature = Some(URL_SAFE_NO_PAD.encode(signed));
        }
        Ok(ConnectInfo {
            verbose: false,
            pedantic: false,
            user_jwt: jwt,
            nkey: None,
            signature,
            name: Some(CLIENT.to_owned()),
            echo: false,
            lang: "rust".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: Protocol::Dynamic,
            tls_required: secured,
            user,
            pass: password,
            auth_token: token,
            headers: true,
            no_responders: true,
        })
    }

    /// Whether we insist on TLS.
    pub(super) fn is_secured(&self) -> bool {
        self.identity.is_some() || self.roots.is_some()
    }

    /// Who we are by the URL of the servers.
    fn login(&self) -> Result<Option<Login>, String> {
        let plain = |text: &str| {
            let decoded = decode(text.as_bytes());
            decoded
                .map(String::from)
                .map_err(|_| "the name or password in the URL is no UTF-8".to_owned())
        };
        let Some(user) = self.urls().find_map(|url| url.user) else {
            return Ok(None);
        };
        Ok(Some(match user.split_once(':') {
            Some((name, password)) => Login::Password(plain(name)?, plain(password)?),
            None => Login::Token(plain(user)?),
        }))
    }

    /// Whom we trust, and what we show.
    pub(super) fn trust(&self) -> Result<ClientConfig, String> {
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

/// Who we are by a URL.
enum Login {
    Password(String, String),
    Token(String),
}

/// The two texts of a credentials file, each between a line of dashes that begins it and one that ends it.
fn decorated(credentials: &str) -> Option<[&str; 2]> {
    let lines: Vec<&str> = credentials.lines().map(str::trim).collect();
    let mut texts = lines.windows(3).filter_map(|lines| {
        let &[before, text, after] = lines else {
            return None;
        };
        let dashed = before.starts_with("---") && after.starts_with("---");
        (dashed && !text.is_empty() && !text.starts_with('-')).then_some(text)
    });
    Some([texts.next()?, texts.next()?])
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
    fn a_server_is_told_who_we_are() {
        let hello = |access: &Access| access.hello(&ServerInfo::default(), false).unwrap();
        let by_name = hello(&Access::new("nats://us%65r:p@a:1"));
        assert_eq!(by_name.user.as_deref(), Some("user"));
        assert_eq!(by_name.pass.as_deref(), Some("p"));
        let by_token = hello(&Access::new("nats://token@a:1"));
        assert_eq!(by_token.auth_token.as_deref(), Some("token"));
    }

    #[test]
    fn a_key_signs_what_the_server_asks_for() {
        let key = KeyPair::new_user();
        let seed = key.seed().unwrap();
        let access = Access {
            credentials: Some(format!(
                "-----BEGIN NATS USER JWT-----\r\na.b-c_d\r\n------END NATS USER JWT------\r\n\r\n\
                 ************************* IMPORTANT *************************\r\n\
                 -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
            )),
            ..Access::new("nats://a:1")
        };
        let info = ServerInfo {
            nonce: "number".to_owned(),
            ..ServerInfo::default()
        };
        let hello = access.hello(&info, false).unwrap();
        assert_eq!(hello.user_jwt.as_deref(), Some("a.b-c_d"));
        let signature = URL_SAFE_NO_PAD.decode(hello.signature.unwrap()).unwrap();
        key.verify(b"number", &signature).unwrap();
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
