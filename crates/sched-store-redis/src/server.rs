//! What a server must be: new enough, a primary, with a schema this program knows. And what it had better be.

use redis::Value;
use sched_core::{Error, ErrorKind};

use crate::config::Config;
use crate::pool::Pool;
use crate::script::{self, Request};

/// The newest schema this program knows.
const SCHEMA: u32 = 1;

/// The oldest server that has every command of the scripts.
const OLDEST: (u32, u32) = (6, 2);

/// Looks at the server, and writes the schema's version when there is none.
///
/// **Errors**: [`Unsupported`](ErrorKind::Unsupported) for an old server and a new schema,
/// [`Unavailable`](ErrorKind::Unavailable) for a replica.
pub(crate) fn check(pool: &Pool, config: &Config) -> Result<(), Error> {
    // A user without the right to ask, as with some providers, finds out by errors.
    match pool.command(&redis::cmd("INFO")) {
        Ok(info) => check_info(&info_text(info), config)?,
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) if error.to_string().contains("NOPERM") => {
            tracing::debug!(server = %config.address, "the server does not tell about itself");
        }
        Err(error) => return Err(error),
    }
    check_schema(pool, config)
}

/// The text of `INFO`; of one node where a cluster answers for each.
fn info_text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::VerbatimString { text, .. } => text,
        Value::Map(nodes) => nodes.into_iter().next().map(|(_, info)| info_text(info)).unwrap_or_default(),
        _ => String::new(),
    }
}

fn check_info(info: &str, config: &Config) -> Result<(), Error> {
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let wrong = |kind, message: String| Err(Error::new(kind, message).in_context(&config.address));
    if let Some(version) = field("redis_version") {
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            let message =
                format!("the server is Redis {version}, at least {}.{} is needed", OLDEST.0, OLDEST.1);
            return wrong(ErrorKind::Unsupported, message);
        }
    }
    if !config.cluster && field("role") == Some("slave") {
        return wrong(ErrorKind::Unavailable, "the server is a read-only replica".to_owned());
    }
    if !config.cluster && field("cluster_enabled") == Some("1") {
        return wrong(
            ErrorKind::InvalidConfig,
            "the server is a node of a cluster: set `cluster`".to_owned(),
        );
    }
    if let Some(policy) = field("maxmemory_policy").filter(|policy| *policy != "noeviction") {
        tracing::warn!(server = %config.address, policy, "the server may evict jobs: set maxmemory-policy to noeviction");
    }
    if field("aof_enabled") == Some("0") {
        tracing::warn!(server = %config.address, "the server has no append-only file: a crash undoes what was committed");
    }
    Ok(())
}

fn check_schema(pool: &Pool, config: &Config) -> Result<(), Error> {
    let mut request = Request::read(&script::OPEN, &config.keys);
    request.number(SCHEMA);
    let found = script::text(pool.write(&request)?)?;
    let space = &config.keys.space;
    match found.parse::<u32>() {
        Ok(found) if found <= SCHEMA => Ok(()),
        Ok(found) => {
            let message = format!(
                "the keys \"{space}*\" have schema version {found}, newer than {SCHEMA}, the newest this program knows"
            );
            Err(Error::new(ErrorKind::Unsupported, message).in_context(&config.address))
        }
        Err(_) => {
            let message = format!("the key \"{space}schema\" is no version");
            Err(Error::new(ErrorKind::Corrupt, message).in_context(&config.address))
        }
    }
}
