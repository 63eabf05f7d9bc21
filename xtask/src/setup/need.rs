//! A row of the table of needs: what it is, for whom, and how it is installed. The rows are in `needs`.

use anyhow::Result;

use super::python_tool::PythonTool;

/// What the machine is prepared for; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Building the programs and running them.
    Run,
    /// That, and every test.
    Test,
    /// That, and what the benches hold beside our programs.
    Bench,
    /// That, and the services that a campaign watches.
    Services,
}

/// One row of the table.
pub(crate) struct Need {
    /// What it is.
    pub(crate) name: &'static str,
    /// What for.
    pub(crate) why: &'static str,
    /// The least purpose that needs it.
    pub(crate) purpose: Purpose,
    /// Whether it is here.
    pub(crate) is_here: fn() -> bool,
    /// How it comes onto Debian 12.
    pub(crate) install: Install,
    /// What to do on any other system.
    pub(crate) elsewhere: &'static str,
}

/// A way to install.
pub(crate) enum Install {
    /// Debian packages.
    Packages(&'static [&'static str]),
    /// Commands taken out of a Debian package, without installing its service.
    Extract {
        /// The package.
        package: &'static str,
        /// The commands' paths in it.
        files: &'static [&'static str],
    },
    /// A kernel to boot in QEMU, kept in the cache of tools and not installed.
    Kernel {
        /// Its series.
        series: &'static str,
        /// The package that depends on the newest of the series.
        latest: &'static str,
    },
    /// A crate, built into the cache of tools.
    Crate {
        /// The crate.
        name: &'static str,
        /// The exact version.
        version: &'static str,
        /// Options for `cargo install`.
        options: &'static [&'static str],
    },
    /// A Python package, in a virtual environment in the cache of tools.
    Python(&'static PythonTool),
    /// Packages of another language, in the cache of tools.
    Foreign(fn() -> Result<()>),
    /// Components of the Rust toolchain.
    Components(&'static [&'static str]),
}
