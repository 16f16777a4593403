//! How to reach a cluster, and who we are there.

use std::fmt;

use rdkafka::ClientConfig;

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// User and password, as they are.
    Plain,
    /// A proof that it knows the password.
    ScramSha256,
    /// The same with a longer hash.
    ScramSha512,
    /// A bearer token, which stands in the place of the password.
    OAuthBearer,
}

impl Mechanism {
    /// The mechanism of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Plain,
            Self::ScramSha256,
            Self::ScramSha512,
            Self::OAuthBearer,
        ];
        all.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Its name in SASL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }
}

/// Who we are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sasl {
    /// How that is proved.
    pub mechanism: Mechanism,
    /// The user, or the principal of a token.
    pub user: String,
    /// The password, or the token.
    pub password: String,
}

/// Passwords and keys do not get into logs.
impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mechanism.name())
    }
}

/// An encrypted connection.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tls {
    /// The certificates to trust, in PEM; the machine's where there are none.
    pub ca: Option<String>,
    /// Our own certificate and its key, in PEM.
    pub identity: Option<(String, String)>,
}

/// How to reach a cluster.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// Hosts and ports of some of its servers, separated by commas.
    pub servers: String,
    /// Whether and how connections are encrypted.
    pub tls: Option<Tls>,
    /// Who we are, where the servers ask.
    pub sasl: Option<Sasl>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.identity.is_some();
        write!(f, "tls (ca: {}, identity: {identity})", self.ca.is_some())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("servers", &self.servers)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .finish()
    }
}

impl Access {
    /// Plain connections to these servers.
    #[must_use]
    pub fn plain(servers: &str) -> Self {
        Self {
            servers: servers.to_owned(),
            ..Self::default()
        }
    }

    /// What all clients of the cluster are told.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.servers)
            .set("client.id", "heddle")
            // Idle connections are the server's to close, and no news.
            .set("log.connection.close", "false")
            .set("socket.timeout.ms", "10000")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "60000");
        config.set(
            "security.protocol",
            match (&self.tls, &self.sasl) {
                (None, None) => "plaintext",
                (Some(_), None) => "ssl",
                (None, Some(_)) => "sasl_plaintext",
                (Some(_), Some(_)) => "sasl_ssl",
            },
        );
        if let Some(tls) = &self.tls {
            match &tls.ca {
                Some(ca) => config.set("ssl.ca.pem", ca),
                None => config.set("ssl.ca.location", "probe"),
            };
            if let Some((certificate, key)) = &tls.identity {
                config.set("ssl.certificate.pem", certificate);
                config.set("ssl.key.pem", key);
            }
        }
        if let Some(sasl) = &self.sasl {
            config.set("sasl.mechanism", sasl.mechanism.name());
            // A token is handed over when it is asked for.
            if sasl.mechanism != Mechanism::OAuthBearer {
                config.set("sasl.username", &sasl.user);
                config.set("sasl.password", &sasl.password);
            }
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let access = Access {
            servers: "a:9092".to_owned(),
            tls: Some(Tls {
                ca: None,
                identity: Some(("certificate".to_owned(), "key".to_owned())),
            }),
            sasl: Some(Sasl {
                mechanism: Mechanism::Plain,
                user: "me".to_owned(),
                password: "hush".to_owned(),
            }),
        };
        let printed = format!("{access:?}");
        assert!(
            !printed.contains("hush") && !printed.contains("\"key"),
            "{printed}"
        );
        assert_eq!(access.config().get("security.protocol"), Some("sasl_ssl"));
    }

    #[test]
    fn mechanisms_have_their_names() {
        for name in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            assert_eq!(Mechanism::parse(name).map(Mechanism::name), Some(name));
        }
        assert_eq!(Mechanism::parse("GSSAPI"), None);
    }
}
