//! The data directory: which folder holds what, and who may use it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

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
    /// Makes the directory where there is none.
    pub fn create(root: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(root)
            .with_context(|| format!("the data directory {} cannot be made", root.display()))?;
        Ok(Self {
            root: root.to_owned(),
        })
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

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Says where the process listens, in one step: a reader sees the old file or the new one.
    pub fn write_endpoints(&self, endpoints: &Endpoints) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(endpoints)?;
        let (new, file) = (self.root.join("endpoints.json.new"), self.endpoints());
        std::fs::write(&new, text)
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
