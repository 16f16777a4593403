//! Who is let in over the network.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::support::{Fixture, fixture, now};
use crate::api::access::{Access, AccessError};

fn open(dir: &Path) -> Access {
    Access::open(dir, vec!["127.0.0.1".to_owned()], now()).unwrap()
}

/// A guarded API on a loopback address.
struct Guarded {
    fixture: Fixture,
    access: Arc<Access>,
    url: String,
    drain: CancellationToken,
}

impl Guarded {
    async fn start() -> Self {
        let fixture = fixture();
        let access = Arc::new(open(&fixture.dir.path().join("access")));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let drain = CancellationToken::new();
        let guard = Some(Arc::clone(&access));
        fixture
            .api
            .serve(listener, guard, &TaskTracker::new(), &drain);
        Self {
            fixture,
            access,
            url,
            drain,
        }
    }

    fn kubeconfig(&self) -> Kubeconfig {
        serde_json::from_value(self.access.kubeconfig(&self.url).unwrap()).unwrap()
    }

    /// A client that shows this token, or its certificate if there is none.
    async fn client(&self, token: Option<&str>) -> kube::Client {
        let mut config = self.kubeconfig();
        if let Some(token) = token {
            let user = config.auth_infos[0].auth_info.as_mut().unwrap();
            *user = kube::config::AuthInfo {
                token: Some(token.to_owned().into()),
                ..Default::default()
            };
        }
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
            .await
            .unwrap();
        kube::Client::try_from(config).unwrap()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.drain.cancel();
    }
}

fn code(error: &kube::Error) -> (u16, &str, &str) {
    match error {
        kube::Error::Api(status) => (status.code, &status.reason, &status.message),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn callers_must_say_who_they_are() {
    let server = Guarded::start().await;
    let good = server.client(None).await;
    good.apiserver_version().await.unwrap();
    let token = server.client(Some(server.access.token())).await;
    token.apiserver_version().await.unwrap();
    let wrong = format!("{}x", server.access.token());
    for token in [wrong.as_str(), &server.access.token()[1..], "none"] {
        let client = server.client(Some(token)).await;
        let error = client.apiserver_version().await.unwrap_err();
        assert_eq!(
            code(&error),
            (401, "Unauthorized", "Unauthorized"),
            "{token}"
        );
    }
    // Health tells strangers nothing but that there is somebody.
    let stranger = server.client(Some("none")).await;
    let health = http::Request::get("/livez").body(Vec::new()).unwrap();
    assert_eq!(stranger.request_text(health).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_worth_nothing() {
    let server = Guarded::start().await;
    let other = tempfile::tempdir().unwrap();
    let stranger: Kubeconfig =
        serde_json::from_value(open(other.path()).kubeconfig(&server.url).unwrap()).unwrap();
    let mut config = server.kubeconfig();
    config.auth_infos.clone_from(&stranger.auth_infos);
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(config, &options)
        .await
        .unwrap();
    let client = kube::Client::try_from(config).unwrap();
    client.apiserver_version().await.unwrap_err();
    // Nor does a client that trusts another authority take this server for its own.
    let config = Config::from_custom_kubeconfig(stranger, &options)
        .await
        .unwrap();
    let client = kube::Client::try_from(config).unwrap();
    client.apiserver_version().await.unwrap_err();
}

#[tokio::test]
async fn plain_http_is_told_that_this_is_https() {
    let server = Guarded::start().await;
    let address = server.url.strip_prefix("https://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /api HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 24];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400 Bad Request");
}

#[tokio::test]
async fn certificates_are_renewed_under_the_same_authority() {
    let server = Guarded::start().await;
    let before = server.client(None).await;
    before.apiserver_version().await.unwrap();
    server.access.renew().unwrap();
    // A new connection meets the new certificate.
    let after = server.client(None).await;
    after.apiserver_version().await.unwrap();
    let dir = server.fixture.dir.path().join("access");
    let again = open(&dir);
    assert_eq!(again.token(), server.access.token());
    let ca = |access: &Access| access.kubeconfig("https://x").unwrap()["clusters"].clone();
    assert_eq!(ca(&again), ca(&server.access));
    for file in ["ca.crt", "ca.key", "admin-token"] {
        let mode = std::fs::metadata(dir.join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let mode = std::fs::metadata(&dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn an_authority_is_replaced_in_its_last_year() {
    let dir = tempfile::tempdir().unwrap();
    let at = |text: &'static str| -> crate::api::Now { Arc::new(move || text.parse().unwrap()) };
    let ca = |now| {
        let access = Access::open(dir.path(), vec!["localhost".to_owned()], now).unwrap();
        access.kubeconfig("https://x").unwrap()["clusters"].clone()
    };
    let first = ca(at("2026-01-01T00:00:00Z"));
    assert_eq!(ca(at("2034-11-01T00:00:00Z")), first);
    let second = ca(at("2035-02-01T00:00:00Z"));
    assert_ne!(second, first);
    assert_eq!(ca(at("2035-02-02T00:00:00Z")), second);
}

#[test]
fn damaged_credentials_are_not_used() {
    for file in ["ca.key", "ca.crt", "admin-token"] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        std::fs::write(dir.path().join(file), "short").unwrap();
        let error = Access::open(dir.path(), Vec::new(), now()).unwrap_err();
        let AccessError::Damaged { path, .. } = error else {
            panic!("{file}: {error}");
        };
        assert!(path.ends_with(file), "{path}");
    }
}
