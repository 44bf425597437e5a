//! [`OwnServer`]: a database server that one test starts, kills and is the administrator of.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, MysqlConnection, PgConnection};
use sched_store_sql::{SqlStore, SqlStoreBuilder, diesel};
use sched_testkit::server;
use tempfile::TempDir;

use crate::stage::PATIENCE;

/// The administrator's name and everybody's password.
const OWNER: &str = "sched";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Postgres,
    Mariadb,
}

/// A running server in a directory of its own.
pub(crate) struct OwnServer {
    pub(crate) kind: Kind,
    program: PathBuf,
    directory: TempDir,
    port: u16,
    /// Whom it runs as when the caller is root.
    user: Option<(u32, u32)>,
    child: Option<Child>,
}

impl OwnServer {
    /// A new server; `None`, reported as skipped, where its program is not installed.
    pub(crate) fn new(kind: Kind) -> Option<Self> {
        let Some(program) = kind.program() else {
            server::skipped(&format!("no server program of {kind:?} is installed"));
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it has an address").port();
        let directory = TempDir::new().expect("a temporary directory");
        let user = (id("-u", None) == Some(0)).then(|| kind.user()).flatten();
        if let Some((user, group)) = user {
            chown(directory.path(), Some(user), Some(group)).expect("root may");
        }
        let mut server = Self { kind, program, directory, port, user, child: None };
        server.initialise();
        drop(free);
        server.start();
        Some(server)
    }

    fn initialise(&self) {
        let mut command = match self.kind {
            Kind::Postgres => {
                let password = self.path("password");
                fs::write(&password, OWNER).expect("the directory is there");
                let mut initdb = Command::new(self.program.with_file_name("initdb"));
                initdb.args(["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--no-locale"]);
                initdb.arg(format!("--username={OWNER}")).arg(format!("--pwfile={}", password.display()));
                initdb.arg(format!("--pgdata={}", self.path("data").display()));
                initdb
            }
            Kind::Mariadb => {
                // The server runs this at each start.
                let statements = format!(
                    "CREATE DATABASE IF NOT EXISTS {OWNER};\n\
                     CREATE USER IF NOT EXISTS '{OWNER}'@'%' IDENTIFIED BY '{OWNER}';\n\
                     GRANT ALL ON *.* TO '{OWNER}'@'%' WITH GRANT OPTION;\n"
                );
                fs::write(self.path("init.sql"), statements).expect("the directory is there");
                let mut install = Command::new("mariadb-install-db");
                install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=socket"]);
                install.arg(format!("--datadir={}", self.path("data").display()));
                install.env("TMPDIR", self.directory.path());
                install
            }
        };
        let output = self.as_user(&mut command).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts the server on its port with its data, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let begin = Instant::now();
        while !self.answers() {
            assert!(begin.elapsed() < PATIENCE, "{:?} does not start: {}", self.kind, self.log());
            // What is left of one that was killed may keep the data locked for a moment.
            let has_ended = |child: &mut Child| child.try_wait().expect("it is a child").is_some();
            if self.child.as_mut().is_none_or(has_ended) {
                self.child = Some(self.spawn());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn spawn(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let data = self.path("data").display().to_string();
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Postgres => command.args(["-D", &data, "-p", &self.port.to_string()]).args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ]),
            Kind::Mariadb => command
                .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"])
                .args(["--socket=socket", "--pid-file=pid", "--innodb-buffer-pool-size=32M"])
                .arg(format!("--datadir={data}"))
                .arg(format!("--tmpdir={}", self.directory.path().display()))
                .arg(format!("--init-file={}", self.path("init.sql").display()))
                .arg(format!("--port={}", self.port)),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.as_user(&mut command).spawn().expect("it starts")
    }

    /// Ends the server as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
    }

    /// Asks the server to end; it does not wait for its clients.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let signal = if self.kind == Kind::Postgres { "-INT" } else { "-TERM" };
        let asked = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(asked.is_ok_and(|status| status.success()));
        child.wait().expect("it ends");
    }

    /// The URL of a user.
    pub(crate) fn url_of(&self, user: &str, password: &str) -> String {
        let (scheme, database) = match self.kind {
            Kind::Postgres => ("postgres", "postgres"),
            Kind::Mariadb => ("mysql", OWNER),
        };
        format!("{scheme}://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// A store of a user.
    pub(crate) fn builder_for(&self, user: &str) -> SqlStoreBuilder {
        SqlStore::builder(self.url_of(user, OWNER)).connect_timeout(Duration::from_secs(2))
    }

    /// The administrator's store.
    pub(crate) fn store(&self) -> SqlStore {
        self.builder_for(OWNER).build().expect("the configuration is right")
    }

    /// Runs the administrator's statements.
    pub(crate) fn execute(&self, sql: &str) {
        self.connected(|conn| conn.batch_execute(sql))
            .expect("it answers")
            .expect("the statements are right");
    }

    fn answers(&self) -> bool {
        self.connected(|conn| conn.batch_execute("SELECT 1")).is_some_and(|done| done.is_ok())
    }

    /// Does something as the administrator; `None` when the server does not answer.
    fn connected<T>(&self, work: impl FnOnce(&mut dyn SimpleConnection) -> T) -> Option<T> {
        let url = self.url_of(OWNER, OWNER);
        match self.kind {
            Kind::Postgres => PgConnection::establish(&url).ok().map(|mut conn| work(&mut conn)),
            Kind::Mariadb => MysqlConnection::establish(&url).ok().map(|mut conn| work(&mut conn)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn as_user<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.current_dir(self.directory.path())
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Kind {
    /// The server's program, where it is installed.
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Postgres => {
                let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
                let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
                let newest = versions.map(|entry| entry.path()).max_by_key(|path| version(path));
                newest.map(|path| path.join("bin/postgres")).filter(|file| file.is_file())
            }
            Self::Mariadb => {
                let directories = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from);
                directories.map(|path| path.join("mariadbd")).into_iter().find(|file| file.is_file())
            }
        }
    }

    /// A user and a group that are not root's.
    fn user(self) -> Option<(u32, u32)> {
        let names = if self == Self::Postgres { ["postgres", "nobody"] } else { ["mysql", "nobody"] };
        names.into_iter().find_map(|name| Some((id("-u", Some(name))?, id("-g", Some(name))?)))
    }
}

fn id(what: &str, user: Option<&str>) -> Option<u32> {
    let output = Command::new("id").arg(what).args(user).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
