//! The data directory: which folder holds what, and who may use it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use heddle_crds::api::{close_private_dir, make_private_dir};
use serde::Serialize;

/// The layout of data directories that this version reads and writes.
const VERSION: &str = "1";

/// The folders of a data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

/// The addresses of a running process, as `endpoints.json` tells them to other programs.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoints {
    /// The process.
    pub pid: u32,
    /// Where events are posted to.
    pub ingress: String,
    /// The Kubernetes-style API.
    pub api: String,
    /// Health, metrics and what the logs hold.
    pub admin: String,
}

impl DataDir {
    /// Makes the directory where there is none, and its folders, for their owner alone: events and
    /// Secrets are in there. A directory that is there already keeps who may look into it; its
    /// folders do not, nor does what an earlier version has left in them.
    pub fn create(root: &Path) -> anyhow::Result<Self> {
        let data = Self {
            root: root.to_owned(),
        };
        let made = if root.is_dir() {
            Ok(())
        } else {
            make_private_dir(root)
        };
        made.and_then(|()| make_private_dir(&data.log()))
            .and_then(|()| make_private_dir(&data.api()))
            .and_then(|()| make_private_dir(&data.state()))
            .and_then(|()| close_private_dir(&data.log()))
            .and_then(|()| close_private_dir(&data.state()))
            .with_context(|| format!("the data directory {} cannot be made", root.display()))?;
        Ok(data)
    }

    /// The events of all brokers.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The resources.
    #[must_use]
    pub fn api(&self) -> PathBuf {
        self.root.join("api")
    }

    /// Positions and retries of consumers.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The credentials of the API, where it needs any.
    #[must_use]
    pub fn access(&self) -> PathBuf {
        self.root.join("access")
    }

    /// How clients find the API and enter it.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join(crate::cli::kubeconfig::FILE)
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a first start was completed here: whoever deletes the first Broker later does not get
    /// it back. A directory of a later version is not touched.
    pub fn is_initialized(&self) -> anyhow::Result<bool> {
        match std::fs::read_to_string(self.version()) {
            Ok(version) if version.trim() == VERSION => Ok(true),
            Ok(version) => anyhow::bail!(
                "{} was written by another version of heddle (layout {}, this is {VERSION})",
                self.root.display(),
                version.trim()
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context("the data directory's version cannot be read"),
        }
    }

    /// Says that the first start was completed.
    pub fn mark_initialized(&self) -> anyhow::Result<()> {
        std::fs::write(self.version(), format!("{VERSION}\n"))
            .context("the data directory's version cannot be written")
    }

    fn version(&self) -> PathBuf {
        self.root.join("version")
    }

    /// Says where the process listens, in one step: a reader sees the old file or the new one. It is no
    /// secret: who may look into the directory may read it.
    pub fn write_endpoints(&self, endpoints: &Endpoints) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(endpoints)?;
        let (new, file) = (self.root.join("endpoints.json.new"), self.endpoints());
        std::fs::write(&new, text)
            .and_then(|()| std::fs::set_permissions(&new, Permissions::from_mode(0o644)))
            .and_then(|()| std::fs::rename(&new, &file))
            .with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Forgets where the process listened, so that nobody takes an old address for a new one.
    pub fn remove_endpoints(&self) {
        if let Err(error) = std::fs::remove_file(self.endpoints())
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "endpoints.json could not be removed");
        }
    }

    fn endpoints(&self) -> PathBuf {
        self.root.join("endpoints.json")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_data_directory_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("above/data");
        let data = DataDir::create(&root).unwrap();
        for made in [&root, &data.log(), &data.api(), &data.state()] {
            assert_eq!(mode(made), 0o700, "{}", made.display());
        }
        // One that is shared on purpose stays so, but its folders are closed.
        let (inner, file) = (data.log().join("a"), data.log().join("a/segment"));
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(&file, "").unwrap();
        for shared in [&root, &data.log(), &inner, &file] {
            std::fs::set_permissions(shared, Permissions::from_mode(0o755)).unwrap();
        }
        let data = DataDir::create(&root).unwrap();
        assert_eq!((mode(&root), mode(&data.log())), (0o755, 0o700));
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
    }
}
