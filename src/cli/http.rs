//! Plain HTTP for the commands that do not speak to the API: the admin listener and brokers.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::failure::Failure;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest line of a stream, in bytes: the largest event, with room for its JSON form.
const LINE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The longest text that is read, in bytes; what is longer is cut off.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// How much of a refusal is shown, in characters.
const REASON_SHOWN_MAX: usize = 300;

/// A server and how messages call it.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    base: String,
    what: &'static str,
    flag: &'static str,
}

impl Http {
    /// The admin listener at `base`.
    ///
    /// # Errors
    ///
    /// When the address is not a URL.
    pub fn admin(base: &str) -> Result<Self, Failure> {
        Self::new(base, "the admin listener", "--admin")
    }

    /// Any server; `what` and `flag` are for messages.
    ///
    /// # Errors
    ///
    /// When the address is not a URL.
    pub fn new(base: &str, what: &'static str, flag: &'static str) -> Result<Self, Failure> {
        Ok(Self {
            client: client(base, flag, 4)?,
            base: base.to_owned(),
            what,
            flag,
        })
    }

    /// Gets a text. `path` begins with a slash.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses.
    pub async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let response = self.get(path).await?;
        read_text(response, TEXT_BYTES_MAX)
            .await
            .map_err(|error| self.broken(&error))
    }

    /// Puts a text.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses.
    pub async fn put_text(&self, path: &str, body: String) -> Result<(), Failure> {
        let url = format!("{}{path}", self.base);
        let sent = self.client.put(url).body(body).send().await;
        self.checked(sent).await.map(drop)
    }

    /// Gets a stream of lines.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses; in the stream, when it breaks off.
    pub async fn get_lines(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<String, Failure>> + Send + use<>, Failure> {
        Ok(self.lines(self.get(path).await?))
    }

    /// Posts a document, and gets a stream of lines.
    ///
    /// # Errors
    ///
    /// As [`Http::get_lines`].
    pub async fn post_lines(
        &self,
        path: &str,
        document: &serde_json::Value,
    ) -> Result<impl Stream<Item = Result<String, Failure>> + Send + use<>, Failure> {
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(document.to_string());
        Ok(self.lines(self.checked(request.send().await).await?))
    }

    fn lines(
        &self,
        response: reqwest::Response,
    ) -> impl Stream<Item = Result<String, Failure>> + Send + use<> {
        let reader = StreamReader::new(
            response
                .bytes_stream()
                .map(|chunk| chunk.map_err(std::io::Error::other)),
        );
        let codec = LinesCodec::new_with_max_length(LINE_BYTES_MAX);
        let what = self.what;
        FramedRead::new(reader, codec).map(move |line| {
            line.map_err(|error| Failure::failed(format!("{what} broke off: {error}")))
        })
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response, Failure> {
        let sent = self.client.get(format!("{}{path}", self.base)).send().await;
        self.checked(sent).await
    }

    async fn checked(
        &self,
        sent: reqwest::Result<reqwest::Response>,
    ) -> Result<reqwest::Response, Failure> {
        let response = sent.map_err(|error| self.broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = refusal(response).await;
        Err(Failure::failed(format!(
            "{} answered {status}: {}",
            self.what,
            reason(&body)
        )))
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        Failure::unreachable(self.what, &self.base, self.flag, &root_cause(error))
    }
}

/// The body of an answer as text, up to `limit` bytes.
///
/// # Errors
///
/// When the connection breaks.
async fn read_text(mut response: reqwest::Response, limit: usize) -> reqwest::Result<String> {
    let mut bytes = Vec::new();
    while bytes.len() < limit
        && let Some(chunk) = response.chunk().await?
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(limit);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The body of a refusal, as much of it as came.
pub(crate) async fn refusal(response: reqwest::Response) -> String {
    read_text(response, TEXT_BYTES_MAX)
        .await
        .unwrap_or_default()
}

/// A client for URLs like `base` that keeps up to `idle` connections open.
///
/// # Errors
///
/// When `base` is not a URL, or TLS cannot be set up for it.
pub fn client(base: &str, flag: &str, idle: usize) -> Result<reqwest::Client, Failure> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(idle)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none());
    // Only TLS needs certificates: without it a machine that has none is served too. What the
    // provider is installed for may have been done before, by whoever runs this in a process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = match base.split_once("://") {
        Some(("http", rest)) if !rest.is_empty() => builder.no_proxy().tls_certs_only([]),
        Some(("https", rest)) if !rest.is_empty() => builder,
        _ => {
            return Err(Failure::usage(format!(
                "{flag} {base:?} is not a URL that begins with http:// or https://"
            )));
        }
    };
    builder
        .build()
        .map_err(|error| Failure::failed(format!("cannot speak to {base}: {}", root_cause(&error))))
}

/// The innermost cause of an error, which says what happened.
#[must_use]
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What a refusal says: the title and detail of a problem document (RFC 9457), or its first line.
#[must_use]
pub fn reason(body: &str) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let part = |name: &str| {
        problem
            .as_ref()
            .and_then(|problem| problem.get(name))
            .and_then(serde_json::Value::as_str)
    };
    let text = match (part("title"), part("detail"), part("message")) {
        (Some(title), Some(detail), _) => format!("{title}: {detail}"),
        (Some(text), None, _) | (None, Some(text), _) | (None, None, Some(text)) => text.to_owned(),
        (None, None, None) => body.lines().next().unwrap_or_default().to_owned(),
    };
    text.chars().take(REASON_SHOWN_MAX).collect()
}

/// Encodes a text for the query of a URL (RFC 3986: everything but the unreserved characters).
#[must_use]
pub fn query_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
