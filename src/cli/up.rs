//! The arguments of `heddle up`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;

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
    /// How long Events of the API stay after their last change (1s to 8760h): what `kubectl get
    /// events` shows
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = event_ttl)]
    pub event_ttl: SignedDuration,
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

/// The longest life of an Event: a year.
const LONGEST: SignedDuration = SignedDuration::from_hours(8_760);

/// A time like `1h30m`.
fn event_ttl(text: &str) -> Result<SignedDuration, String> {
    match text.parse() {
        Ok(life) if (SignedDuration::from_secs(1)..=LONGEST).contains(&life) => Ok(life),
        _ => Err("expected a time from 1s to 8760h, like 1h or 90m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_an_event_is_as_kubernetes_writes_it() {
        assert_eq!(event_ttl("1h0m0s"), Ok(SignedDuration::from_hours(1)));
        assert_eq!(event_ttl("90m"), Ok(SignedDuration::from_mins(90)));
        assert_eq!(event_ttl("8760h"), Ok(LONGEST));
        for wrong in ["0s", "-1h", "999ms", "8761h", "1", "", "soon"] {
            assert!(event_ttl(wrong).is_err(), "{wrong}");
        }
    }
}
