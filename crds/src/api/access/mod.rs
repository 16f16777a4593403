//! Who may call the API over the network.
//!
//! A loopback address is served without authentication: whoever reaches it runs on this machine.
//! Every other address is served over TLS, and only to those who show a client certificate of our
//! own authority, the admin token, or the token of a service account. All of it is made on the
//! first start and kept in a directory that only its owner can read.
//!
//! Laws:
//! - Nothing is answered before the caller is known, but for health, which tells nothing.
//! - Secrets are compared in constant time, and never logged.
//! - Server and client certificates are made anew at each start and every month, so they do not
//!   run out; the authority is replaced at a start in its last year.

mod authority;
pub(crate) mod private;
pub(crate) mod tokens;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use ring::hmac;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

pub use self::private::{
    close_dir as close_private_dir, make_dir as make_private_dir, write as write_private,
};

use self::authority::Authority;
use super::Now;

/// The group whose members may do everything.
pub(crate) const MASTERS: &str = "system:masters";
/// The group of everybody who was let in.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The name of the one administrator.
const ADMIN: &str = "heddle-admin";

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error(
        "{path} is damaged: {why}. Delete the directory it is in to have new credentials made; \
         the old ones are worth nothing then"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(String),
}

/// Somebody who calls the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The name, like `system:serviceaccount:default:robot`.
    pub(crate) name: String,
    /// The identity, where there is one.
    pub(crate) uid: String,
    /// The groups.
    pub(crate) groups: Vec<String>,
}

impl User {
    /// The administrator, who is also whoever calls over a loopback address or in the process.
    pub(crate) fn admin() -> Self {
        Self::of(ADMIN.to_owned(), vec![MASTERS.to_owned()])
    }

    /// Somebody who did not say who they are.
    pub(crate) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            uid: String::new(),
            groups: vec!["system:unauthenticated".to_owned()],
        }
    }

    /// A user who was let in.
    fn of(name: String, mut groups: Vec<String>) -> Self {
        groups.push(AUTHENTICATED.to_owned());
        Self {
            name,
            uid: String::new(),
            groups,
        }
    }
}

/// What guards a socket that strangers can reach.
pub struct Access {
    authority: Authority,
    names: Vec<String>,
    server: Arc<Server>,
    tls: Arc<ServerConfig>,
    /// A code of the admin token under a key of this process: what is compared.
    code: (hmac::Key, hmac::Tag),
    token: String,
    now: Now,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// The server's certificate, which changes while connections come in.
#[derive(Debug)]
struct Server(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Server {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Access {
    /// Reads the credentials in `dir`, or makes them. `names` are the DNS names and addresses
    /// under which the server is reached.
    ///
    /// # Errors
    ///
    /// When the files cannot be read, written or understood.
    pub fn open(dir: &Path, names: Vec<String>, now: Now) -> Result<Self, AccessError> {
        let authority = Authority::open(dir, now())?;
        let token = authority::token(dir)?;
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
            .map_err(|_| AccessError::Certificate("the system gives no randomness".to_owned()))?;
        let tag = hmac::sign(&key, token.as_bytes());
        let server = authority.server(&names, now())?;
        let server = Arc::new(Server(ArcSwap::from_pointee(server)));
        let tls = tls(&authority, Arc::clone(&server))?;
        Ok(Self {
            authority,
            names,
            server,
            tls: Arc::new(tls),
            code: (key, tag),
            token,
            now,
        })
    }

    /// Makes a new server certificate; connections that are open keep theirs.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn renew(&self) -> Result<(), AccessError> {
        let server = self.authority.server(&self.names, (self.now)())?;
        self.server.0.store(Arc::new(server));
        Ok(())
    }

    /// A kubeconfig for the administrator, with a new client certificate. `server` is the URL.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be made.
    pub fn kubeconfig(&self, server: &str) -> Result<Value, AccessError> {
        let client = self.authority.client(ADMIN, MASTERS, (self.now)())?;
        Ok(kubeconfig(
            json!({
                "server": server,
                "certificate-authority-data": encoded(self.authority.certificate()),
            }),
            &json!({
                "client-certificate-data": encoded(&client.certificate),
                "client-key-data": encoded(&client.key),
            }),
        ))
    }

    /// How TLS is spoken.
    pub(crate) fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }

    /// The user whom a client certificate names. TLS has checked it.
    pub(crate) fn certified(certificates: Option<&[CertificateDer<'static>]>) -> Option<User> {
        let (name, groups) = authority::subject(certificates?.first()?)?;
        Some(User::of(name, groups))
    }

    /// The user whom the `Authorization` header names.
    pub(crate) fn bearer(&self, headers: &HeaderMap) -> Option<User> {
        let token = bearer_token(headers)?;
        let (key, tag) = &self.code;
        hmac::verify(key, token.as_bytes(), tag.as_ref())
            .is_ok()
            .then(User::admin)
    }

    /// The admin token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// The bearer token of a request.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

/// A kubeconfig for an address that is served without authentication.
#[must_use]
pub fn open_kubeconfig(server: &str) -> Value {
    kubeconfig(json!({ "server": server }), &json!({}))
}

#[allow(clippy::needless_pass_by_value)] // Reads better with `json!`.
fn kubeconfig(cluster: Value, user: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "heddle", "cluster": cluster}],
        "users": [{"name": ADMIN, "user": user}],
        "contexts": [{
            "name": "heddle",
            "context": {"cluster": "heddle", "user": ADMIN, "namespace": "default"},
        }],
        "current-context": "heddle",
        "preferences": {},
    })
}

fn encoded(pem: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(pem)
}

fn tls(authority: &Authority, server: Arc<Server>) -> Result<ServerConfig, AccessError> {
    let fail = |error: &dyn std::fmt::Display| AccessError::Certificate(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).map_err(|e| fail(&e))?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|e| fail(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fail(&e))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(server);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
