//! Where the rows of a table run: an API to talk to, a folder, and a client of some version.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::normal::normal;
use super::support::Heddle;
use super::table::Answer;

/// Seconds that one row may take.
const ROW_SECONDS: &str = "60";

/// The folder that an environment variable names. Where it is not set this says so, and fails where
/// nothing may be missing.
pub(crate) fn given(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable);
    if folder.is_none() {
        assert!(
            std::env::var_os("HEDDLE_REQUIRE_CONFORMANCE").is_none(),
            "{variable} must name the folder of a client: see tests/scripts/clients.sh"
        );
        super::support::report::line(&format!("{variable} is not set: not run"));
    }
    folder.map(PathBuf::from)
}

/// A program, as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// The folder that it is in.
    pub(crate) folder: PathBuf,
    /// `1.36`.
    pub(crate) version: String,
}

impl Client {
    /// The program `name` in the folder that an environment variable names.
    pub(crate) fn given(name: &str, variable: &str) -> Option<Self> {
        let folder = given(variable)?.join("bin");
        Some(Self {
            version: version(&folder.join(name)),
            folder,
        })
    }

    /// The program `name` that the PATH gives, if any.
    pub(crate) fn on_path(name: &str) -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let folder = std::env::split_paths(&path).find(|folder| folder.join(name).is_file())?;
        Some(Self {
            version: version(&folder.join(name)),
            folder,
        })
    }

    /// Whether this is as new as `1.23`.
    pub(crate) fn is_since(&self, version: &str) -> bool {
        numbers(&self.version) >= numbers(version)
    }
}

/// The numbers of a version, for comparison.
pub(crate) fn numbers(version: &str) -> Vec<u32> {
    version.split('.').filter_map(|n| n.parse().ok()).collect()
}

/// The version that a program says that it has, as `major.minor`.
fn version(program: &Path) -> String {
    let arguments: &[&str] = match program.file_name().and_then(|name| name.to_str()) {
        Some("kubectl") => &["version", "--client", "--output", "json"],
        _ => &["version"],
    };
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.split('v').find_map(|rest| {
        let mut parts = rest.splitn(3, '.');
        let (major, minor) = (parts.next()?, parts.next()?);
        let both = [major, minor].map(|n| n.parse::<u32>().is_ok());
        both.iter()
            .all(|is| *is)
            .then(|| format!("{major}.{minor}"))
    });
    found.unwrap_or_else(|| panic!("{} has no version: {text}", program.display()))
}

/// An API, and a folder with all that a client needs to find it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) heddle: Option<Heddle>,
    folder: tempfile::TempDir,
    namespace: String,
}

impl Site {
    /// A `heddle up` of its own.
    pub(crate) async fn heddle(namespace: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let heddle = Heddle::up(&data).await;
        heddle.ready("brokers", "default").await;
        let site = Self::new(folder, namespace, Some(heddle));
        std::fs::copy(data.join("kubeconfig"), site.kubeconfig()).unwrap();
        site
    }

    /// A cluster that a kubeconfig names.
    pub(crate) fn cluster(namespace: &str, kubeconfig: &Path) -> Self {
        let site = Self::new(tempfile::tempdir().unwrap(), namespace, None);
        std::fs::copy(kubeconfig, site.kubeconfig()).unwrap();
        site
    }

    fn new(folder: tempfile::TempDir, namespace: &str, heddle: Option<Heddle>) -> Self {
        for part in ["home", "files"] {
            std::fs::create_dir(folder.path().join(part)).unwrap();
        }
        Self {
            heddle,
            folder,
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("home/kubeconfig")
    }

    /// What rows see of their surroundings, and what the table calls it.
    fn places(&self) -> Vec<(String, &'static str)> {
        let mut places = vec![(self.folder.path().display().to_string(), "<folder>")];
        if let Some(heddle) = &self.heddle {
            places.push((heddle.api.clone(), "http://<api>"));
            places.push((heddle.ingress.clone(), "http://<ingress>"));
        }
        let authorities: Vec<_> = places
            .iter()
            .filter_map(|(place, stands)| {
                let bare = place.strip_prefix("http://")?;
                Some((bare.to_owned(), stands.strip_prefix("http://")?))
            })
            .collect();
        places.extend(authorities);
        places
    }

    /// Makes the namespace that rows work in, and the default one of the kubeconfig.
    pub(crate) fn begin(&self, client: &Client) {
        let script = format!(
            "kubectl create namespace {0} && kubectl config set-context --current --namespace {0}",
            self.namespace
        );
        let answer = self.run(client, &script);
        assert_eq!(answer.exit, 0, "{}: {answer}", self.namespace);
    }

    /// Takes away what rows may have left, where the API is not this site's own.
    pub(crate) fn end(&self, client: &Client) {
        if self.heddle.is_none() {
            let script = format!("kubectl delete namespace {} --timeout=50s", self.namespace);
            let answer = self.run(client, &script);
            assert_eq!(answer.exit, 0, "{answer}");
        }
    }

    /// Runs a script to its end.
    pub(crate) fn run(&self, client: &Client, script: &str) -> Answer {
        let folder = self.folder.path();
        let heddle = |url: fn(&Heddle) -> &String| self.heddle.as_ref().map_or("", |h| url(h));
        let output = Command::new("timeout")
            .args(["--kill-after=1", ROW_SECONDS, "bash", "-euc", script])
            .current_dir(folder.join("files"))
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", path(&client.folder))
            .env("HOME", folder.join("home"))
            .env("KUBECONFIG", self.kubeconfig())
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env("NAMESPACE", &self.namespace)
            .env("API", heddle(|h| &h.api))
            .env("INGRESS", heddle(|h| &h.ingress))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answer = Answer {
            // As a shell tells it.
            exit: output
                .status
                .code()
                .or_else(|| output.status.signal().map(|signal| 128 + signal))
                .unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        normal(&answer, &self.places())
    }
}

/// The client before all others, and kubectl for those that are not it.
fn path(folder: &Path) -> std::ffi::OsString {
    let mut folders = vec![folder.to_owned()];
    if let Some(kubectl) = std::env::var_os("HEDDLE_KUBECTL") {
        folders.push(PathBuf::from(kubectl).join("bin"));
    }
    folders.extend(["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from));
    std::env::join_paths(folders).unwrap()
}
