//! How the API is entered: openly on a loopback address, with credentials on any other; and the
//! kubeconfig that says so to clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use heddle_crds::api::{Access, Now, open_kubeconfig, write_private};
use tokio_util::sync::CancellationToken;

use super::data_dir::DataDir;

/// How often the certificates are made anew. They last for a year.
const RENEW: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How the API is entered.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    url: String,
    access: Option<Arc<Access>>,
    data: DataDir,
}

impl Entrance {
    /// Reads the credentials, or makes them, if the API is to be guarded at this address.
    pub(super) fn open(
        data: &DataDir,
        address: SocketAddr,
        url: String,
        extra_names: &[String],
        now: Now,
    ) -> anyhow::Result<Self> {
        let access = if url.starts_with("https") {
            let access = Access::open(&data.access(), names(address.ip(), extra_names), now)
                .context("the credentials of the API cannot be used")?;
            Some(Arc::new(access))
        } else {
            None
        };
        Ok(Self {
            url,
            access,
            data: data.clone(),
        })
    }

    /// What guards the socket.
    pub(super) fn access(&self) -> Option<Arc<Access>> {
        self.access.clone()
    }

    /// Writes the kubeconfig, with a new client certificate where the API is guarded.
    pub(super) fn write_kubeconfig(&self) -> anyhow::Result<()> {
        let config = match &self.access {
            Some(access) => access.kubeconfig(&self.url)?,
            None => open_kubeconfig(&self.url),
        };
        let path = self.data.kubeconfig();
        write_private(&path, serde_saphyr::to_string(&config)?.as_bytes())
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Keeps the certificates young until `stop` is cancelled.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let Some(access) = &self.access else {
            return;
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RENEW) => {}
            }
            let renewed = access.renew().map_err(anyhow::Error::from);
            if let Err(error) = renewed.and_then(|()| self.write_kubeconfig()) {
                tracing::error!(%error, "the certificates of the API could not be renewed");
            }
        }
    }
}

/// The URL of the API at an address. One that stands for all addresses is reached from this
/// machine by the loopback address.
pub(super) fn url(address: SocketAddr, tls: bool) -> String {
    let open = address.ip().is_loopback() && !tls;
    let mut reached = address;
    if address.ip().is_unspecified() {
        reached.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let scheme = if open { "http" } else { "https" };
    format!("{scheme}://{reached}")
}

/// Under which names the server is reached.
fn names(ip: IpAddr, extra: &[String]) -> Vec<String> {
    let mut names: Vec<String> = [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ]
    .map(str::to_owned)
    .into();
    if !ip.is_unspecified() {
        names.push(ip.to_string());
    } else if let Some(ip) = outgoing() {
        names.push(ip.to_string());
    }
    if let Ok(host) = std::fs::read_to_string("/etc/hostname") {
        names.push(host.trim().to_owned());
    }
    names.extend(extra.iter().cloned());
    let is_name = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    names.retain(is_name);
    names.sort();
    names.dedup();
    names
}

/// The address from which this machine reaches others. Nothing is sent: the kernel only picks the
/// route to an address that is reserved for documents.
fn outgoing() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
