//! Credentials and TLS, from Secrets.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::Method;
use nkeys::KeyPair;
use serde_json::{Value, json};

use super::support::api::{Event, condition, trigger};
use super::support::kafka::Authority;
use super::support::nats::{Server, program};
use super::support::{Heddle, Subscriber, data_directory, wait};
use super::{broker, configure};

const SECRETS: &str = "/api/v1/namespaces/knative-eventing/secrets";

/// Makes a Secret beside the configuration of NATS, or writes it anew.
async fn secret(heddle: &Heddle, name: &str, data: &Value) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "knative-eventing"},
        "stringData": data,
    });
    let url = format!("{}{SECRETS}", heddle.api);
    let answer = heddle.http.post_json(&url, &object).await;
    if answer.status == 409 {
        let patch = json!({"stringData": data}).to_string();
        let merge = [("content-type", "application/merge-patch+json")];
        let url = format!("{url}/{name}");
        let patched = heddle.http.send(Method::PATCH, &url, &merge, patch).await;
        patched.expect(200);
    } else {
        answer.expect(201);
    }
}

/// An event goes in, and comes out.
async fn works(heddle: &Heddle) {
    let subscriber = Subscriber::start().await;
    heddle.create("brokers", &broker("nats")).await;
    heddle.ready("brokers", "nats").await;
    let wanted = trigger("all", "nats", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&wanted).await;
    heddle.accepted("nats", &Event::new("1", "t")).await;
    subscriber.wait_for_id("1").await;
}

/// Waits until a condition of the Broker says something.
async fn says(heddle: &Heddle, kind: &str, what: &str) {
    let url = format!("{}/nats", heddle.resources("brokers"));
    wait::until(&format!("{kind} to say {what:?}"), || async {
        let object = heddle.http.get(&url).await.expect(200).json();
        let message = condition(&object, kind)["message"].to_string();
        if message.contains(what) {
            Ok(())
        } else {
            Err(object["status"].to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_and_a_right_one_is_taken_up() {
    let Some(program) = program() else { return };
    let users = "authorization { users: [{user: \"events\", password: \"s3cret\"}] }";
    let server = Server::configured(&program, users);
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let with = |password| format!("url: nats://events:{password}@127.0.0.1:{}", server.port());
    configure(&heddle, &with("w0rd")).await;
    heddle.create("brokers", &broker("nats")).await;
    says(&heddle, "Ready", "authorization violation").await;
    let answer = heddle.post("nats", &Event::new("1", "t")).await;
    assert_eq!(answer.status, 503);
    let shown = heddle.output();
    assert!(!shown.contains("w0rd"), "{shown}");
    let patch = json!({"data": {"eventing-nats": with("s3cret")}}).to_string();
    let url = format!(
        "{}/api/v1/namespaces/knative-eventing/configmaps/config-nats",
        heddle.api
    );
    let merge = [("content-type", "application/merge-patch+json")];
    let patched = heddle.http.send(Method::PATCH, &url, &merge, patch).await;
    patched.expect(200);
    heddle.ready("brokers", "nats").await;
    heddle.accepted("nats", &Event::new("2", "t")).await;
    // However often the servers refused, it was told once.
    let shown = heddle.output();
    let told = shown.matches("the NATS servers cannot be used").count();
    assert_eq!(told, 1, "{shown}");
}

/// An operator's servers, with one account and its users.
struct Operated {
    account: KeyPair,
    config: String,
}

impl Operated {
    fn new() -> Self {
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        let all = json!({
            "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
            "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1,
            "payload": -1, "wildcards": true,
        });
        let of_operator = json!({"type": "operator", "version": 2});
        let of_account = json!({"type": "account", "version": 2, "limits": all});
        let mut of_system = of_account.clone();
        for field in ["mem_storage", "disk_storage", "streams", "consumer"] {
            of_system["limits"][field] = json!(0);
        }
        let of = |of: &KeyPair, name, what| token(&operator, &of.public_key(), name, what);
        // The servers' own account.
        let system = KeyPair::new_account();
        let lines = [
            format!("operator: {}", of(&operator, "o", &of_operator)),
            format!("system_account: {}", system.public_key()),
            "resolver: MEMORY\nresolver_preload: {".to_owned(),
            format!("{}: {}", system.public_key(), of(&system, "s", &of_system)),
            format!(
                "{}: {}",
                account.public_key(),
                of(&account, "a", &of_account)
            ),
            "}\n".to_owned(),
        ];
        let config = lines.join("\n");
        Self { account, config }
    }

    /// The credentials file of a new user.
    fn credentials(&self) -> String {
        let user = KeyPair::new_user();
        let of_user = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
        let token = token(&self.account, &user.public_key(), "u", &of_user);
        let seed = user.seed().unwrap();
        format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

/// A token of NATS, signed by `issuer`.
fn token(issuer: &KeyPair, subject: &str, name: &str, nats: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name,
        "sub": subject, "nats": nats,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credentials_file_comes_from_a_secret_and_follows_it() {
    let Some(program) = program() else { return };
    let operated = Operated::new();
    let server = Server::configured(&program, &operated.config);
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let url = server.url();
    let file = "auth: {credentialFile: {secret: {name: nats, key: creds}}}";
    configure(&heddle, &format!("url: {url}\n{file}\n")).await;
    heddle.create("brokers", &broker("nats")).await;
    says(&heddle, "Ready", "knative-eventing/nats does not exist").await;
    // Of another operator's account.
    let strange = Operated::new().credentials();
    secret(&heddle, "nats", &json!({"creds": strange})).await;
    says(&heddle, "Ready", "authorization violation").await;
    secret(&heddle, "nats", &json!({"creds": operated.credentials()})).await;
    heddle.ready("brokers", "nats").await;
    heddle.accepted("nats", &Event::new("1", "t")).await;
    // A slip does not end a connection that works; it is said.
    secret(&heddle, "nats", &json!({"creds": strange})).await;
    says(&heddle, "LogReachable", "authorization violation").await;
    heddle.accepted("nats", &Event::new("2", "t")).await;
    secret(&heddle, "nats", &json!({"creds": operated.credentials()})).await;
    let url = format!("{}/nats", heddle.resources("brokers"));
    wait::until("the trouble to be over", || async {
        let object = heddle.http.get(&url).await.expect(200).json();
        if condition(&object, "LogReachable").is_null() {
            Ok(())
        } else {
            Err(object["status"].to_string())
        }
    })
    .await;
    heddle.accepted("nats", &Event::new("3", "t")).await;
    assert_eq!(heddle.events("nats", 10).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_trusted_by_an_authority_and_know_us_by_a_certificate() {
    let Some(program) = program() else { return };
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = authority.sign("nats");
    let tls = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        file("cert", &certificate),
        file("key", &key),
        file("ca", &authority.certificate),
    );
    let server = Server::configured(&program, &tls);
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let (certificate, key) = authority.sign("heddle");
    let identity = json!({"tls.crt": certificate, "tls.key": key});
    secret(&heddle, "identity", &identity).await;
    let bundle = STANDARD.encode(&authority.certificate);
    let url = format!("tls://127.0.0.1:{}", server.port());
    let auth = "auth: {tls: {secret: {name: identity}}}";
    let text = format!("url: {url}\n{auth}\ntls: {{caBundle: {bundle}}}\n");
    configure(&heddle, &text).await;
    works(&heddle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_an_unknown_authority_are_not_trusted() {
    let Some(program) = program() else { return };
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.sign("nats");
    let (cert_file, key_file) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::write(&cert_file, certificate).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let tls = format!("tls {{ cert_file: {cert_file:?}, key_file: {key_file:?} }}");
    let server = Server::configured(&program, &tls);
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let other = Authority::new().certificate;
    secret(&heddle, "roots", &json!({"ca.crt": other})).await;
    let url = format!("tls://127.0.0.1:{}", server.port());
    configure(
        &heddle,
        &format!("url: {url}\ntls: {{secret: {{name: roots}}}}\n"),
    )
    .await;
    heddle.create("brokers", &broker("nats")).await;
    says(&heddle, "Ready", "cannot be used").await;
    let answer = heddle.post("nats", &Event::new("1", "t")).await;
    assert_eq!(answer.status, 503);
    let certificate = &authority.certificate;
    secret(&heddle, "roots", &json!({"ca.crt": certificate})).await;
    heddle.ready("brokers", "nats").await;
    heddle.accepted("nats", &Event::new("2", "t")).await;
}
