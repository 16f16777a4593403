//! Tokens of service accounts: signed claims that say for whom, for which audiences and how long.
//!
//! They are JSON Web Tokens (RFC 7519) with HMAC-SHA-256, and are checked here alone. The key is
//! made on the first start and kept beside the objects; without it no token is worth anything.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::private;

/// Who signs, and for whom by default.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";
const KEY_BYTES: usize = 32;
/// Bytes of a token that is looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// Signs and checks tokens.
pub(crate) struct Tokens {
    key: hmac::Key,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the key in a directory, or makes it.
    pub(crate) fn open(dir: &Path) -> std::io::Result<Self> {
        let path = dir.join("token-key");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) if bytes.len() == KEY_BYTES => bytes,
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            // One that is damaged signs nothing that anybody could check.
            _ => {
                let mut bytes = vec![0; KEY_BYTES];
                SystemRandom::new()
                    .fill(&mut bytes)
                    .map_err(|_| std::io::Error::other("the system gives no randomness"))?;
                private::make_dir(dir)?;
                private::write(&path, &bytes)?;
                bytes
            }
        };
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
        })
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!(
            "{}.{}",
            part(&json!({"alg": "HS256", "typ": "JWT"})),
            part(claims)
        );
        let tag = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// The claims of a token that was signed here and is valid at `now`, in Unix seconds.
    pub(crate) fn check(&self, token: &str, now: i64) -> Option<Value> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, tag) = token.rsplit_once('.')?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &tag).ok()?;
        // What is signed was written here, so its header says nothing new.
        let (_, claims) = signed.split_once('.')?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let (from, to) = (claims["nbf"].as_i64()?, claims["exp"].as_i64()?);
        (from <= now && now < to).then_some(claims)
    }
}
