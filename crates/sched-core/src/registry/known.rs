//! Names this project knows although their crate may not be linked: it lets an error say what to enable.

use super::PluginKind;

/// The cargo feature of the facade that provides `alias`, for plug-ins that exist.
pub(super) fn feature_of(kind: PluginKind, alias: &str) -> Option<&'static str> {
    Some(match (kind, alias) {
        (
            PluginKind::Trigger,
            "date" | "interval" | "cron" | "crontab" | "calendarinterval" | "and" | "or" | "except"
            | "offset" | "limit",
        ) => "triggers",
        (PluginKind::Trigger, "rrule") => "rrule",
        (PluginKind::JobStore, "memory") => "memory",
        (PluginKind::JobStore, "sql" | "sqlalchemy") => "sql",
        (PluginKind::JobStore, "mongodb") => "mongodb",
        (PluginKind::JobStore, "redis") => "redis",
        (PluginKind::Executor, "threadpool" | "debug") => "thread",
        (PluginKind::Executor, "processpool") => "process",
        (PluginKind::Executor, "rayon") => "rayon",
        (PluginKind::Executor, "tokio" | "asyncio") => "tokio",
        (PluginKind::Executor, "async-std") => "async-std",
        (PluginKind::Executor, "smol") => "smol",
        (PluginKind::EventBroker, "mqtt") => "mqtt",
        (PluginKind::EventBroker, "redis") => "redis",
        (PluginKind::EventBroker, "mongodb") => "mongodb",
        (PluginKind::EventBroker, "postgres" | "postgresql") => "postgres",
        _ => return None,
    })
}

/// The alias behind a Python class path of an APScheduler dictionary.
pub(super) fn alias_of_class(kind: PluginKind, class: &str) -> Option<&'static str> {
    let (module, name) = class.strip_prefix("apscheduler.")?.split_once(':')?;
    Some(match (kind, module, name) {
        (PluginKind::Executor, "executors.pool", "ThreadPoolExecutor") => "threadpool",
        (PluginKind::Executor, "executors.pool", "ProcessPoolExecutor") => "processpool",
        (PluginKind::Executor, "executors.debug", "DebugExecutor") => "debug",
        (PluginKind::Executor, "executors.asyncio", "AsyncIOExecutor") => "asyncio",
        (PluginKind::JobStore, "jobstores.memory", "MemoryJobStore") => "memory",
        (PluginKind::JobStore, "jobstores.sqlalchemy", "SQLAlchemyJobStore") => "sqlalchemy",
        (PluginKind::JobStore, "jobstores.mongodb", "MongoDBJobStore") => "mongodb",
        (PluginKind::JobStore, "jobstores.redis", "RedisJobStore") => "redis",
        _ => return None,
    })
}
