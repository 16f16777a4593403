//! What a server is told: its ports, its listeners, and who may enter.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

/// The user that protected listeners know.
pub(crate) const USER: &str = "heddle";
/// The user's password.
pub(crate) const PASSWORD: &str = "a-secret";

/// Errors, warnings, and the line that says that the server is ready.
pub(super) const LOG: &str = "\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
";

/// How the second listener is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// There is none.
    None,
    /// TLS, with a client's certificate.
    MutualTls,
    /// Name and password (PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512) or any token that nobody has signed
    /// (OAUTHBEARER), without TLS.
    Sasl,
    /// The same over TLS.
    SaslTls,
    /// None, but clients are told to come by this port, where somebody passes them on.
    Behind(u16),
}

impl Protection {
    fn protocol(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::MutualTls => Some("SSL"),
            Self::Sasl => Some("SASL_PLAINTEXT"),
            Self::SaslTls => Some("SASL_SSL"),
            Self::Behind(_) => Some("PLAINTEXT"),
        }
    }
}

/// What the servers of a cluster have in common.
#[derive(Debug)]
pub(super) struct Layout {
    /// The ports of the controllers.
    pub(super) voters: Vec<u16>,
    pub(super) protection: Protection,
}

/// A port that no other test takes, as long as this lives.
///
/// A server that is started again needs its old port. Outgoing connections and listeners on any
/// free port use the kernel's own range, so that these lie below it; a UDP socket of the same
/// number tells other tests that it is taken, also while the server is down.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _held: UdpSocket,
}

/// The ports of one server.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) plain: Port,
    pub(super) protected: Port,
    pub(super) controller: Port,
}

const FIRST_PORT: u16 = 18_000;
const PORTS: u16 = 12_000;

impl Port {
    pub(crate) fn reserve() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Different processes look in different places first.
        let start = (std::process::id() % u32::from(PORTS)) as u16;
        for _ in 0..PORTS {
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
            let number = FIRST_PORT + (start + next) % PORTS;
            let Ok(held) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
                continue;
            };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self {
                    number,
                    _held: held,
                };
            }
        }
        panic!("no port is free");
    }
}

impl Ports {
    pub(super) fn reserve() -> Self {
        Self {
            plain: Port::reserve(),
            protected: Port::reserve(),
            controller: Port::reserve(),
        }
    }
}

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub(crate) certificate: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// A certificate for this name and the loopback address, and its key, both in PEM.
    pub(crate) fn sign(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        (certificate, key.serialize_pem())
    }
}

/// The arguments of the tool that prepares a server's directory.
pub(super) fn format(properties: &Path, layout: &Layout) -> Vec<String> {
    let mut arguments = vec!["format".to_owned(), "--config".to_owned()];
    arguments.push(properties.display().to_string());
    // Any 16 bytes in base64, the same for all servers of a cluster.
    arguments.extend([
        "--cluster-id".to_owned(),
        "aGVkZGxlLWhlZGRsZS0wMQ".to_owned(),
    ]);
    if matches!(layout.protection, Protection::Sasl | Protection::SaslTls) {
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let user = format!("{mechanism}=[name={USER},password={PASSWORD}]");
            arguments.extend(["--add-scram".to_owned(), user]);
        }
    }
    arguments
}

/// The file that a server is started with.
pub(super) fn properties(
    id: usize,
    home: &Path,
    ports: &Ports,
    layout: &Layout,
    authority: &Authority,
) -> String {
    let copies = layout.voters.len();
    let voters = (1..).zip(&layout.voters);
    let voters: Vec<String> = voters
        .map(|(id, port)| format!("{id}@127.0.0.1:{port}"))
        .collect();
    let protected = layout.protection.protocol();
    let mut listeners = vec![format!("PLAIN://127.0.0.1:{}", ports.plain.number)];
    let mut protocols = vec![
        "PLAIN:PLAINTEXT".to_owned(),
        "CONTROLLER:PLAINTEXT".to_owned(),
    ];
    let mut advertised = listeners.clone();
    if let Some(protocol) = protected {
        let listener = |port| format!("PROTECTED://127.0.0.1:{port}");
        let own = ports.protected.number;
        listeners.push(listener(own));
        advertised.push(listener(match layout.protection {
            Protection::Behind(port) => port,
            _ => own,
        }));
        protocols.push(format!("PROTECTED:{protocol}"));
    }
    let advertised = advertised.join(",");
    listeners.push(format!(
        "CONTROLLER://127.0.0.1:{}",
        ports.controller.number
    ));
    let mut lines = vec![
        "process.roles=broker,controller".to_owned(),
        format!("node.id={id}"),
        format!("controller.quorum.voters={}", voters.join(",")),
        "controller.listener.names=CONTROLLER".to_owned(),
        "inter.broker.listener.name=PLAIN".to_owned(),
        format!("listeners={}", listeners.join(",")),
        format!("advertised.listeners={advertised}"),
        format!("listener.security.protocol.map={}", protocols.join(",")),
        format!("log.dirs={}", home.join("data").display()),
        format!("offsets.topic.replication.factor={copies}"),
        "offsets.topic.num.partitions=4".to_owned(),
        format!("transaction.state.log.replication.factor={copies}"),
        format!("transaction.state.log.min.isr={}", copies.min(2)),
        "transaction.state.log.num.partitions=2".to_owned(),
        format!("share.coordinator.state.topic.replication.factor={copies}"),
        "share.coordinator.state.topic.min.isr=1".to_owned(),
        format!("min.insync.replicas={}", copies.min(2)),
        "auto.create.topics.enable=false".to_owned(),
        // Groups need not wait for members that will not come.
        "group.initial.rebalance.delay.ms=0".to_owned(),
        "group.min.session.timeout.ms=1000".to_owned(),
        "num.network.threads=2".to_owned(),
        "num.io.threads=2".to_owned(),
        "log.cleaner.dedupe.buffer.size=2097152".to_owned(),
    ];
    if let Some(protocol) = protected {
        lines.extend(entry(protocol, authority));
    }
    lines.join("\n") + "\n"
}

/// Who may enter by the protected listener.
fn entry(protocol: &str, authority: &Authority) -> Vec<String> {
    let listener = "listener.name.protected";
    let module = "org.apache.kafka.common.security";
    let mut lines = Vec::new();
    if protocol.ends_with("SSL") {
        let (certificate, key) = authority.sign("kafka");
        lines.extend([
            format!("{listener}.ssl.keystore.type=PEM"),
            format!(
                "{listener}.ssl.keystore.certificate.chain={}",
                one_line(&certificate)
            ),
            format!("{listener}.ssl.keystore.key={}", one_line(&key)),
            format!("{listener}.ssl.truststore.type=PEM"),
            format!(
                "{listener}.ssl.truststore.certificates={}",
                one_line(&authority.certificate)
            ),
        ]);
    }
    if protocol == "PLAINTEXT" {
        return lines;
    }
    if protocol == "SSL" {
        lines.push(format!("{listener}.ssl.client.auth=required"));
    } else {
        let token = format!(
            "{module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"kafka\";"
        );
        let scram = format!("{module}.scram.ScramLoginModule required;");
        lines.extend([
            format!("{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"),
            format!(
                "{listener}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";"
            ),
            format!("{listener}.scram-sha-256.sasl.jaas.config={scram}"),
            format!("{listener}.scram-sha-512.sasl.jaas.config={scram}"),
            format!("{listener}.oauthbearer.sasl.jaas.config={token}"),
        ]);
    }
    lines
}

/// A PEM document as one line of a properties file.
fn one_line(pem: &str) -> String {
    pem.trim_end().replace("\r\n", "\n").replace('\n', "\\n")
}
