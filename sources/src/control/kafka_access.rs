//! How Kafka's servers are spoken to, from what an object says and the Secrets that it names.

use heddle_broker::log::kafka::{Access, Mechanism, Sasl, Tls};
use heddle_crds::sources::kafka_source::{KafkaNet, SecretValue};
use heddle_crds::world::World;

/// Why it is not known how servers are to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// A Secret that is needed does not exist.
    #[error("Secret {namespace}/{name} does not exist; {field} names it")]
    NoSecret {
        /// The namespace of the object.
        namespace: String,
        /// The name of the Secret.
        name: String,
        /// Where it is named.
        field: &'static str,
    },
    /// A Secret lacks a key.
    #[error("Secret {namespace}/{name} has no key {key:?}; {field} names it")]
    NoKey {
        /// The namespace of the object.
        namespace: String,
        /// The name of the Secret.
        name: String,
        /// The key.
        key: String,
        /// Where it is named.
        field: &'static str,
    },
    /// A value that has to be text is not.
    #[error("the value that {0} names is not text")]
    NotText(&'static str),
    /// A value is needed, and none is named.
    #[error("{0} has to name a key of a Secret")]
    Missing(&'static str),
    /// A mechanism that is not known.
    #[error("{0:?} is not a mechanism that is known here: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")]
    Mechanism(String),
}

impl AccessError {
    /// The reason of a condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSecret { .. } | Self::NoKey { .. } => "SecretNotFound",
            Self::NotText(_) | Self::Missing(_) | Self::Mechanism(_) => "SecretInvalid",
        }
    }
}

/// What `net` of an object in `namespace` says.
///
/// # Errors
///
/// When a Secret does not hold what is named.
pub fn of_net(
    world: &World,
    namespace: &str,
    servers: &[String],
    net: &KafkaNet,
) -> Result<Access, AccessError> {
    let value = |value: &SecretValue, field| named(world, namespace, value, field);
    let needed =
        |found: &SecretValue, field| value(found, field)?.ok_or(AccessError::Missing(field));
    let tls = if net.tls.enable {
        let certificate = value(&net.tls.cert, "spec.net.tls.cert")?;
        let identity = match certificate {
            Some(certificate) => Some((certificate, needed(&net.tls.key, "spec.net.tls.key")?)),
            None => None,
        };
        Some(Tls {
            ca: value(&net.tls.ca_cert, "spec.net.tls.caCert")?,
            identity,
        })
    } else {
        None
    };
    let sasl = if net.sasl.enable {
        let mechanism = value(&net.sasl.mechanism, "spec.net.sasl.type")?;
        let mechanism = mechanism.unwrap_or_else(|| Mechanism::Plain.name().to_owned());
        Some(Sasl {
            user: needed(&net.sasl.user, "spec.net.sasl.user")?,
            password: needed(&net.sasl.password, "spec.net.sasl.password")?,
            mechanism: Mechanism::parse(&mechanism)
                .filter(|mechanism| *mechanism != Mechanism::OAuthBearer)
                .ok_or(AccessError::Mechanism(mechanism))?,
        })
    } else {
        None
    };
    Ok(Access {
        servers: servers.join(","),
        tls,
        sasl,
    })
}

/// The value that is named, if one is.
fn named(
    world: &World,
    namespace: &str,
    value: &SecretValue,
    field: &'static str,
) -> Result<Option<String>, AccessError> {
    let Some(place) = &value.secret_key_ref else {
        return Ok(None);
    };
    let optional = place.optional.unwrap_or_default();
    let (namespace, name) = (namespace.to_owned(), place.name.clone());
    let Some(secret) = world.secrets.get(&namespace, &name) else {
        let error = AccessError::NoSecret {
            namespace,
            name,
            field,
        };
        return if optional { Ok(None) } else { Err(error) };
    };
    let data = secret.data.as_ref().and_then(|data| data.get(&place.key));
    let Some(bytes) = data else {
        let error = AccessError::NoKey {
            namespace,
            name,
            key: place.key.clone(),
            field,
        };
        return if optional { Ok(None) } else { Err(error) };
    };
    let text = std::str::from_utf8(&bytes.0).map_err(|_| AccessError::NotText(field))?;
    // What editors put at the end of a file is no part of a name or a password.
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}
