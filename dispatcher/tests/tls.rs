//! Deliveries over TLS: whom they trust, and what they speak. Certificates are made in the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::convert::Infallible;
use std::sync::Arc;

use heddle_dispatcher::config::{ConsumerConfig, Target};
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use support::{World, event, policy, target, until};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A subscriber with a certificate that nobody knows but this test.
struct Secret {
    url: String,
    /// The certificate, in PEM.
    certificate: Arc<str>,
    received: Arc<Mutex<Vec<(Version, String)>>>,
    _server: JoinSet<()>,
}

impl Secret {
    /// Starts one that offers these protocols.
    async fn start(protocols: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}/in",
            listener.local_addr().unwrap().port()
        );
        let received = Arc::new(Mutex::new(Vec::new()));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, acceptor, Arc::clone(&received)));
        Self {
            url,
            certificate: made.cert.pem().into(),
            received,
            _server: server,
        }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    received: Arc<Mutex<Vec<(Version, String)>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, received) = (acceptor.clone(), Arc::clone(&received));
        connections.spawn(async move {
            // A client that does not trust the certificate hangs up here.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let answer = service_fn(move |request: Request<Incoming>| {
                let received = Arc::clone(&received);
                async move {
                    let id = request.headers()["ce-id"].to_str().unwrap().to_owned();
                    let version = request.version();
                    request.into_body().collect().await.unwrap();
                    received.lock().push((version, id));
                    let answer = Response::builder().status(202).body(Empty::<Bytes>::new());
                    Ok::<_, Infallible>(answer.unwrap())
                }
            });
            // How the connection ends is the client's matter.
            let _ended = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

#[tokio::test]
async fn a_certificate_is_trusted_only_where_the_target_says_so() {
    let world = World::new();
    let subscriber = Secret::start(&["http/1.1"]).await;
    let config = ConsumerConfig {
        policy: policy(1_000),
        ..world.consumer("t", &subscriber.url)
    };
    world.dispatcher.apply(config.clone()).await.unwrap();
    world.publish([event(1)]).await;
    until("an attempt has failed", || {
        world.stats("t").failed_attempts > 0
    })
    .await;
    assert!(subscriber.received.lock().is_empty());
    let reason = world.stats("t").last_error.unwrap();
    assert!(reason.contains("certificate"), "{reason}");
    let trusting = Target {
        ca_certs: Some(Arc::clone(&subscriber.certificate)),
        ..target(&subscriber.url)
    };
    let config = ConsumerConfig {
        subscriber: Some(trusting.into()),
        ..config
    };
    world.dispatcher.apply(config).await.unwrap();
    world.idle("t").await;
    assert_eq!(
        *subscriber.received.lock(),
        [(Version::HTTP_11, "1".to_owned())]
    );
}

#[tokio::test]
async fn the_protocol_is_negotiated() {
    for (offered, spoken) in [
        (&["http/1.1"][..], Version::HTTP_11),
        (&["h2", "http/1.1"][..], Version::HTTP_2),
    ] {
        let world = World::new();
        let subscriber = Secret::start(offered).await;
        let trusting = Target {
            ca_certs: Some(Arc::clone(&subscriber.certificate)),
            ..target(&subscriber.url)
        };
        let config = ConsumerConfig {
            subscriber: Some(trusting.into()),
            ..world.consumer("t", &subscriber.url)
        };
        world.dispatcher.apply(config).await.unwrap();
        world.publish((0..20).map(event)).await;
        world.idle("t").await;
        let received = subscriber.received.lock();
        assert_eq!(received.len(), 20);
        assert!(
            received.iter().all(|(version, _)| *version == spoken),
            "{received:?}"
        );
    }
}
