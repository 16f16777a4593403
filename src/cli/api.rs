//! A client of the Kubernetes-style API that knows no types.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::AsyncBufRead;
use http::{Method, Request, header};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::Body;
use kube::client::middleware::BaseUriLayer;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tower::ServiceBuilder;

use super::failure::Failure;
use super::http::root_cause;

/// Asks for a table, as `kubectl get` does, and for the plain list where there is none.
pub const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// Asks for objects.
pub const AS_JSON: &str = "application/json";

/// The API.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    /// Its address, for messages.
    url: String,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Api({})", self.url)
    }
}

/// Where the API is when nobody says anything else.
const DEFAULT_URL: &str = "http://127.0.0.1:8081";
/// The kubeconfig that is used when it is there and nobody says anything else.
const DEFAULT_KUBECONFIG: &str = "./heddle-data/kubeconfig";

impl Api {
    /// A client of the API at `url`, or where a kubeconfig says. Its credentials are for the
    /// server that it names: another `url` gets them only if the kubeconfig was asked for.
    ///
    /// # Errors
    ///
    /// When `url` is not one, or the kubeconfig cannot be used.
    pub async fn locate(url: Option<&str>, kubeconfig: Option<&Path>) -> Result<Self, Failure> {
        let found = kubeconfig.map(Path::to_owned).or_else(|| {
            let path = PathBuf::from(DEFAULT_KUBECONFIG);
            path.exists().then_some(path)
        });
        let Some(path) = found else {
            return Self::connect(url.unwrap_or(DEFAULT_URL));
        };
        let unusable = |error: &(dyn std::error::Error + 'static)| {
            let why = root_cause(error);
            Failure::usage(format!(
                "the kubeconfig {} cannot be used: {why}",
                path.display()
            ))
        };
        let config = Kubeconfig::read_from(&path).map_err(|error| unusable(&error))?;
        let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
            .await
            .map_err(|error| unusable(&error))?;
        if let Some(url) = url {
            let wanted: http::Uri = url.parse().map_err(|_| wrong_url(url))?;
            let meant =
                kubeconfig.is_some() || wanted.authority() == config.cluster_url.authority();
            if !meant || wanted.scheme_str() != Some("https") {
                return Self::connect(url);
            }
            config.cluster_url = wanted;
        }
        let url = config.cluster_url.to_string();
        let url = url.trim_end_matches('/');
        match config.cluster_url.scheme_str() {
            Some("https") => Self::secure(config, url),
            _ => Self::connect(url),
        }
    }

    fn secure(config: Config, url: &str) -> Result<Self, Failure> {
        // It may have been done before, by whoever runs this in a process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = kube::Client::try_from(config).map_err(|error| {
            Failure::failed(format!("cannot speak to {url}: {}", root_cause(&error)))
        })?;
        Ok(Self::from_client(client, url))
    }

    /// A client of the API at `url`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When `url` is not one.
    pub fn connect(url: &str) -> Result<Self, Failure> {
        let uri: http::Uri = url.parse().map_err(|_| wrong_url(url))?;
        match uri.scheme_str() {
            // Without TLS no certificates are read, so that a machine without any is served too,
            // and no time is lost over it.
            Some("http") => {
                let http = HyperClient::builder(TokioExecutor::new())
                    .build::<_, Body>(HttpConnector::new());
                let service = ServiceBuilder::new()
                    .layer(BaseUriLayer::new(uri))
                    .service(http);
                let client = kube::Client::new(service, "default");
                Ok(Self::from_client(client, url))
            }
            Some("https") => Self::secure(Config::new(uri), url),
            _ => Err(wrong_url(url)),
        }
    }

    /// The API behind a client that exists; `url` is for messages.
    #[must_use]
    pub fn from_client(client: kube::Client, url: &str) -> Self {
        Self {
            client,
            url: url.to_owned(),
        }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Gets a JSON document.
    ///
    /// # Errors
    ///
    /// When the API cannot be reached or refuses.
    pub async fn get(&self, path: &str, accept: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, accept, None).await
    }

    /// Gets a JSON document, or nothing where the API has none (404).
    ///
    /// # Errors
    ///
    /// When the API cannot be reached or refuses otherwise.
    pub async fn get_opt(&self, path: &str, accept: &str) -> Result<Option<Value>, Failure> {
        let request = request(Method::GET, path, accept, None)?;
        match self.client.request(request).await {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Deletes an object.
    ///
    /// # Errors
    ///
    /// When the API cannot be reached or refuses.
    pub async fn delete(&self, path: &str) -> Result<(), kube::Error> {
        let request = request(Method::DELETE, path, AS_JSON, None)
            .map_err(|failure| kube::Error::Service(failure.to_string().into()))?;
        self.client.request::<Value>(request).await.map(drop)
    }

    /// Gets a stream of lines (a watch).
    ///
    /// # Errors
    ///
    /// When the API cannot be reached or refuses.
    pub async fn stream(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<impl AsyncBufRead + use<>, Failure> {
        let request = request(Method::GET, path, accept, None)?;
        self.client
            .request_stream(request)
            .await
            .map_err(|error| self.failure(error))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<Bytes>,
    ) -> Result<Value, Failure> {
        let request = request(method, path, accept, body)?;
        self.client
            .request(request)
            .await
            .map_err(|error| self.failure(error))
    }

    /// What an error of the client means to the user.
    #[must_use]
    pub fn failure(&self, error: kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) => {
                let message = if status.message.is_empty() {
                    format!("the API answered {}", status.code)
                } else {
                    status.message
                };
                Failure::failed(message)
            }
            kube::Error::SerdeError(error) => {
                Failure::failed(format!("{} did not answer with JSON: {error}", self.url))
                    .with_hint("is this the address of a Heddle or Kubernetes API? see --api")
            }
            error => Failure::unreachable("the API", &self.url, "--api", &root_cause(&error)),
        }
    }
}

fn wrong_url(url: &str) -> Failure {
    Failure::usage(format!("--api {url:?} is not a URL"))
}

/// Builds a request for the client.
pub(crate) fn request(
    method: Method,
    path: &str,
    accept: &str,
    body: Option<Bytes>,
) -> Result<Request<Vec<u8>>, Failure> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, accept)
        .header(header::CONTENT_TYPE, AS_JSON)
        .body(body.map(|bytes| bytes.to_vec()).unwrap_or_default())
        .map_err(|error| Failure::usage(format!("{path:?} cannot be asked for: {error}")))
}
