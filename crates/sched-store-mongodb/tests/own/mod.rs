//! A MongoDB server of one's own, for tests that kill it or want it otherwise than the shared ones.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server that lasts as long as a test.
pub(crate) struct OwnServer {
    directory: tempfile::TempDir,
    program: PathBuf,
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl OwnServer {
    /// Starts a server with arguments that may name files of its directory, when its program is known:
    /// `SCHED_TEST_MONGOD`, or what `cargo xtask services up` has unpacked.
    pub(crate) fn with(arguments: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        let unpacked = "target/services/cache/mongodb-6.0.5/fiftyone/db/bin/mongod";
        let above =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|directory| directory.join(unpacked));
        let named = std::env::var_os("SCHED_TEST_MONGOD").map(PathBuf::from);
        let program = named.into_iter().chain(above).find(|program| program.exists())?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it has an address").port();
        let arguments = arguments(directory.path());
        drop(free);
        let mut server = Self { directory, program, port, arguments, child: None };
        server.start();
        Some(server)
    }

    /// Its URL, for somebody (`user:password@`, or nothing).
    pub(crate) fn url(&self, login: &str) -> String {
        format!("mongodb://{login}127.0.0.1:{}/", self.port)
    }

    pub(crate) fn start(&mut self) {
        let directory = self.directory.path();
        let mut command = Command::new(&self.program);
        command.arg("--dbpath").arg(directory).arg("--logpath").arg(directory.join("log")).arg("--logappend");
        command.args(["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]);
        command.args(["--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=10MB)"]);
        command.args(["--port", &self.port.to_string()]).args(&self.arguments).stdout(Stdio::null());
        self.child = Some(command.spawn().expect("it starts"));
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is killed");
            child.wait().expect("it is dead");
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}
