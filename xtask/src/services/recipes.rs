//! How each server is made: its program, its data directory, the command that runs it, and the question it must answer.
//!
//! Durability is on everywhere. Each server listens on the loopback interface only, on a port that it is given.

use super::{
    mongo_wire,
    process::{User, run_as, succeeded},
    state::cannot,
};
use crate::run::Failure;
use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// The name of the database, of its user and of the password.
const SCHED: &str = "sched";

/// How long a server may take to answer one question.
const ANSWER: Duration = Duration::from_secs(5);

/// Where one server is made.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The server's program.
    pub(super) program: PathBuf,
    /// An empty directory that is the server's own.
    pub(super) directory: PathBuf,
    pub(super) port: u16,
    pub(super) user: Option<User>,
}

/// What is known of one kind of server.
pub(super) trait Recipe: Sync {
    /// The server's program, where it is installed.
    fn locate(&self, cache: &Path) -> Option<PathBuf>;

    /// Fills the data directory, before the first start.
    fn initialise(&self, place: &Place) -> Result<(), Failure>;

    /// The arguments of the program that run it in the foreground, first and later.
    fn arguments(&self, place: &Place) -> Vec<String>;

    /// Asks the running server whether it can be used, and does what is left to do for that. Repeated until it succeeds.
    fn probe(&self, place: &Place) -> Result<(), Failure>;

    /// The URL that tests are given.
    fn url(&self, port: u16) -> String;

    /// The signal that ends the server without waiting for its clients.
    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

impl Place {
    /// The data directory.
    fn data(&self) -> String {
        self.file("data")
    }

    /// A path in the server's own directory, as an argument.
    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// A program that lies beside the server's, or is found like any other.
    fn tool(&self, name: &str) -> Command {
        let beside = self.program.with_file_name(name);
        Command::new(if beside.is_file() { beside } else { installed(name).unwrap_or_else(|| name.into()) })
    }

    /// Runs a command as the server's user, in the server's directory.
    fn perform(&self, command: &mut Command) -> Result<String, Failure> {
        run_as(command, self.user.as_ref())?;
        succeeded(command.current_dir(&self.directory))
    }
}

/// A program among the installed ones. Servers lie where only root's search path reaches.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Connects to a server on this machine.
fn connect(port: u16) -> Result<TcpStream, Failure> {
    let silent = |error| Failure::new(format!("port {port} does not answer: {error}"));
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ANSWER).map_err(silent)?;
    stream.set_read_timeout(Some(ANSWER)).map_err(silent)?;
    stream.set_write_timeout(Some(ANSWER)).map_err(silent)?;
    Ok(stream)
}

/// PostgreSQL, of the highest installed version.
pub(super) struct Postgres;

impl Recipe for Postgres {
    fn locate(&self, _: &Path) -> Option<PathBuf> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let program = |version: u32| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin/postgres"));
        let newest = versions
            .filter_map(|version| version.file_name().to_str()?.parse().ok())
            .filter(|version| program(*version).is_file())
            .max();
        newest.map(program).or_else(|| installed("postgres")?.canonicalize().ok())
    }

    fn initialise(&self, place: &Place) -> Result<(), Failure> {
        // Passwords are asked for on TCP, and the superuser has none: nobody can be it.
        let mut initdb = place.tool("initdb");
        initdb.args(["--pgdata", &place.data(), "--username=postgres", "--encoding=UTF8", "--no-locale"]);
        initdb.args(["--auth-local=reject", "--auth-host=scram-sha-256", "--no-sync"]);
        place.perform(&mut initdb)?;
        let statements = format!(
            "CREATE ROLE {SCHED} LOGIN CREATEDB PASSWORD '{SCHED}'\nCREATE DATABASE {SCHED} OWNER {SCHED}\n"
        );
        let mut single = Command::new(&place.program);
        single.args(["--single", "-D", &place.data(), "postgres"]).stdout(Stdio::null());
        run_as(single.current_dir(&place.directory), place.user.as_ref())?;
        feed(&mut single, &statements)
    }

    fn arguments(&self, place: &Place) -> Vec<String> {
        let mut arguments = vec!["-D".to_owned(), place.data(), "-p".to_owned(), place.port.to_string()];
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=on",
            "synchronous_commit=on",
            "max_connections=200",
        ] {
            arguments.extend(["-c".to_owned(), setting.to_owned()]);
        }
        arguments
    }

    fn probe(&self, place: &Place) -> Result<(), Failure> {
        connect(place.port)?;
        let mut psql = place.tool("psql");
        psql.args([&self.url(place.port), "--no-psqlrc", "--quiet", "--command=SELECT 1"]);
        place.perform(psql.env("PGCONNECT_TIMEOUT", ANSWER.as_secs().to_string())).map(drop)
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://{SCHED}:{SCHED}@127.0.0.1:{port}/{SCHED}")
    }

    fn stop_signal(&self) -> &'static str {
        "INT"
    }
}

/// MariaDB.
pub(super) struct MariaDb;

impl Recipe for MariaDb {
    fn locate(&self, _: &Path) -> Option<PathBuf> {
        installed("mariadbd")
    }

    fn initialise(&self, place: &Place) -> Result<(), Failure> {
        // The server runs this at each start. Tests make databases of their own below the same name.
        let statements = format!(
            "CREATE DATABASE IF NOT EXISTS {SCHED} CHARACTER SET utf8mb4;\n\
             CREATE USER IF NOT EXISTS '{SCHED}'@'%' IDENTIFIED BY '{SCHED}';\n\
             GRANT ALL ON `{SCHED}%`.* TO '{SCHED}'@'%';\n"
        );
        let file = place.file("init.sql");
        fs::write(&file, statements).map_err(|error| cannot("write", &file, &error))?;
        // Only the system's root may be the server's root, through a socket.
        let mut install = place.tool("mariadb-install-db");
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=socket"]);
        install.arg(format!("--datadir={}", place.data()));
        // In a shared directory for temporary files, servers that start remove those of each other.
        place.perform(install.env("TMPDIR", &place.directory)).map(drop)
    }

    fn arguments(&self, place: &Place) -> Vec<String> {
        let mut arguments =
            ["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"].map(str::to_owned).to_vec();
        arguments.extend([
            format!("--datadir={}", place.data()),
            format!("--tmpdir={}", place.directory.display()),
            format!("--init-file={}", place.file("init.sql")),
            format!("--port={}", place.port),
        ]);
        // The socket is relative to the data directory, because the path of a socket must be short.
        const SETTINGS: [&str; 6] = [
            "--socket=socket",
            "--pid-file=pid",
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=64M",
            "--max-connections=250",
            "--character-set-server=utf8mb4",
        ];
        arguments.extend(SETTINGS.map(str::to_owned));
        arguments
    }

    fn probe(&self, place: &Place) -> Result<(), Failure> {
        connect(place.port)?;
        let mut client = place.tool("mariadb");
        client.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--connect-timeout=5"]);
        client.args([format!("--port={}", place.port), format!("--user={SCHED}")]);
        client.args([format!("--password={SCHED}").as_str(), "--execute=SELECT 1", SCHED]);
        place.perform(&mut client).map(drop)
    }

    fn url(&self, port: u16) -> String {
        format!("mysql://{SCHED}:{SCHED}@127.0.0.1:{port}/{SCHED}")
    }
}

/// Redis, alone or as the only node of a cluster.
pub(super) struct Redis {
    pub(super) cluster: bool,
}

impl Redis {
    fn ask(place: &Place, question: &[&str]) -> Result<String, Failure> {
        let mut client = place.tool("redis-cli");
        client.args(["-h", "127.0.0.1", "-p", &place.port.to_string()]).args(question);
        place.perform(&mut client)
    }
}

impl Recipe for Redis {
    fn locate(&self, _: &Path) -> Option<PathBuf> {
        installed("redis-server")
    }

    fn initialise(&self, place: &Place) -> Result<(), Failure> {
        fs::create_dir(place.data()).map_err(|error| cannot("make", place.data(), &error))
    }

    fn arguments(&self, place: &Place) -> Vec<String> {
        let port = place.port.to_string();
        let data = place.data();
        let mut arguments = vec!["--port", &port, "--bind", "127.0.0.1", "--dir", &data, "--save", ""];
        arguments.extend(["--appendonly", "yes", "--appendfsync", "everysec"]);
        if self.cluster {
            arguments.extend(["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]);
        }
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn probe(&self, place: &Place) -> Result<(), Failure> {
        connect(place.port)?;
        let answer = Self::ask(place, &["PING"])?;
        if !answer.starts_with("PONG") {
            return Err(Failure::new(format!("redis answers PING with {answer}")));
        }
        if !self.cluster || Self::ask(place, &["CLUSTER", "INFO"])?.contains("cluster_state:ok") {
            return Ok(());
        }
        // Refused once the slots are assigned; the node takes a moment to say that all is well.
        let assigned = Self::ask(place, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])?;
        Err(Failure::new(format!("the cluster is not ready: {assigned}")))
    }

    fn url(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}/")
    }
}

/// MongoDB, alone or as the only member of a replica set.
pub(super) struct MongoDb {
    pub(super) replica_set: bool,
}

/// The name of the replica set.
const REPLICA_SET: &str = "rs0";

impl Recipe for MongoDb {
    fn locate(&self, cache: &Path) -> Option<PathBuf> {
        installed("mongod")
            .or_else(|| Some(super::install::cached_mongod(cache)).filter(|file| file.is_file()))
    }

    fn initialise(&self, place: &Place) -> Result<(), Failure> {
        fs::create_dir(place.data()).map_err(|error| cannot("make", place.data(), &error))
    }

    fn arguments(&self, place: &Place) -> Vec<String> {
        let port = place.port.to_string();
        let data = place.data();
        let mut arguments = vec!["--dbpath", &data, "--port", &port, "--bind_ip", "127.0.0.1"];
        arguments.extend(["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]);
        // Without it a data directory takes 300 MB.
        arguments.extend(["--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=10MB)"]);
        for parameter in [
            // Tests make the server fail on purpose.
            "enableTestCommands=1",
            "ttlMonitorSleepSecs=1",
            "diagnosticDataCollectionEnabled=false",
            "shutdownTimeoutMillisForSignaledShutdown=0",
        ] {
            arguments.extend(["--setParameter", parameter]);
        }
        if self.replica_set {
            arguments.extend(["--replSet", REPLICA_SET, "--oplogSize", "16"]);
        }
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn probe(&self, place: &Place) -> Result<(), Failure> {
        let mut stream = connect(place.port)?;
        if mongo_wire::is_writable(&mut stream)? {
            return Ok(());
        }
        // Refused once it is done; the member takes a moment to elect itself.
        let asked = mongo_wire::initiate(&mut stream, REPLICA_SET, &format!("127.0.0.1:{}", place.port))?;
        Err(Failure::new(format!("the replica set has no primary: {asked}")))
    }

    fn url(&self, port: u16) -> String {
        let options = if self.replica_set { format!("?replicaSet={REPLICA_SET}") } else { String::new() };
        format!("mongodb://127.0.0.1:{port}/{options}")
    }
}

/// Mosquitto, an MQTT broker.
pub(super) struct Mosquitto;

impl Recipe for Mosquitto {
    fn locate(&self, _: &Path) -> Option<PathBuf> {
        installed("mosquitto")
    }

    fn initialise(&self, place: &Place) -> Result<(), Failure> {
        let data = place.data();
        fs::create_dir(&data).map_err(|error| cannot("make", &data, &error))?;
        // Started by root, it would become a user that cannot enter the directory.
        let settings = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {data}/\nuser root\n",
            place.port
        );
        let file = place.file("mosquitto.conf");
        fs::write(&file, settings).map_err(|error| cannot("write", &file, &error))
    }

    fn arguments(&self, place: &Place) -> Vec<String> {
        vec!["-c".to_owned(), place.file("mosquitto.conf")]
    }

    fn probe(&self, place: &Place) -> Result<(), Failure> {
        /// MQTT 3.1.1, section 3.1: CONNECT with a clean session, no keep-alive and an empty client id.
        const CONNECT: [u8; 14] = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0];
        /// Section 3.2: CONNACK, connection accepted.
        const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];
        let mut stream = connect(place.port)?;
        let mut answer = [0; ACCEPTED.len()];
        stream
            .write_all(&CONNECT)
            .and_then(|()| stream.read_exact(&mut answer))
            .map_err(|error| Failure::new(format!("the broker does not answer: {error}")))?;
        if answer == ACCEPTED { Ok(()) } else { Err(Failure::new(format!("the broker answers {answer:?}"))) }
    }

    fn url(&self, port: u16) -> String {
        format!("mqtt://127.0.0.1:{port}")
    }
}

/// Runs a command to its end with the given input; a failure carries what it wrote to standard error.
fn feed(command: &mut Command, input: &str) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error| Failure::new(format!("{program} failed: {error}"));
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    // The input is smaller than any pipe's buffer; dropping it tells the program that it ends.
    child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes())).map_err(failed)?;
    let output = child.wait_with_output().map_err(failed)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && !errors.contains("ERROR:") {
        return Ok(());
    }
    Err(Failure::new(format!("{program} failed ({}): {errors}", output.status)))
}
