//! What `heddle up` prints when it is ready: where everything is, and what to type next.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::access::Entrance;
use super::data_dir::{DataDir, Endpoints};

/// Prints the addresses and three commands to copy.
pub(super) fn print(
    endpoints: &Endpoints,
    data: &DataDir,
    entrance: &Entrance,
    took: Duration,
) -> std::io::Result<()> {
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "heddle".to_owned());
    let Endpoints {
        pid: _,
        ingress,
        api,
        admin,
    } = endpoints;
    let kubeconfig = data.kubeconfig();
    let options = options(api, admin, &kubeconfig);
    let kubeconfig = kubeconfig.display();
    let enter = if entrance.access().is_some() {
        format!(
            "over TLS, with a client certificate or a token\n           \
             from other machines: {program} kubeconfig --data {data} --raw --server https://NAME:PORT",
            data = data.root().display()
        )
    } else {
        format!("kubectl --kubeconfig {kubeconfig}")
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "heddle {version} is ready after {took} ms

  events   {ingress}/<namespace>/<broker>
  API      {api}   ({enter})
  admin    {admin}   (/readyz /metrics)
  data     {data}

Try:
  curl -i {ingress}/default/default -H 'ce-specversion: 1.0' -H 'ce-type: com.example.hello' \\
    -H 'ce-source: /me' -H 'ce-id: 1' -H 'content-type: application/json' -d '{{\"message\": \"Hello\"}}'
  {program} get brokers,triggers{options}
  {program} events default --follow{options}
",
        version = env!("CARGO_PKG_VERSION"),
        took = took.as_millis(),
        data = data.root().display(),
    )?;
    out.flush()
}

/// The options that tell other commands where this process is, where it is not at the default place.
fn options(api: &str, admin: &str, kubeconfig: &Path) -> String {
    let mut options = String::new();
    if api.starts_with("https") {
        options.push_str(&format!(" --kubeconfig {}", kubeconfig.display()));
    } else if api != "http://127.0.0.1:8081" {
        options.push_str(&format!(" --api {api}"));
    }
    if admin != "http://127.0.0.1:8082" {
        options.push_str(&format!(" --admin {admin}"));
    }
    options
}
