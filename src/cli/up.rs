//! The arguments of `heddle up`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::telemetry::LogFormat;

/// Start the broker, its API and everything else on this machine
///
/// Events are accepted at `POST /<namespace>/<broker>`; what was accepted is on disk. Everything is
/// kept in one data directory and is there again after a restart.
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    /// Apply these manifests first (a file, a directory, or - for the standard input), then send
    /// the CloudEvents in them
    #[arg(short, long = "filename", value_name = "FILE|DIR")]
    pub filename: Vec<PathBuf>,
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "./heddle-data")]
    pub data: PathBuf,
    /// Where events are accepted
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where the Kubernetes-style API is served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub api: SocketAddr,
    /// A name or an address under which the API is reached from other machines; may be repeated
    #[arg(long, value_name = "NAME")]
    pub api_name: Vec<String>,
    /// Serve the API over TLS, and only to callers with credentials, on a loopback address too;
    /// on every other address this is always so
    #[arg(long)]
    pub api_tls: bool,
    /// Where health, metrics and the log level are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8082")]
    pub admin: SocketAddr,
    /// The largest event that is accepted, in bytes (1 KiB to 64 MiB)
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 1024 * 1024,
        value_parser = clap::value_parser!(u32).range(1024..=64 * 1024 * 1024)
    )]
    pub max_event_bytes: u32,
    /// What to log: a level, or levels of modules (warn,heddle_broker=debug)
    #[arg(
        long,
        value_name = "FILTER",
        env = "HEDDLE_LOG",
        hide_env_values = true,
        default_value = "info"
    )]
    pub log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}
