//! Which examples there are, and what each has to print.

/// An example as CI starts it.
pub(super) struct Example {
    /// A program of the package, or a script beside it.
    pub(super) name: &'static str,
    /// The server it needs; without one it is not told of any.
    pub(super) server: Option<&'static str>,
    /// It is started once for each of these; what it has to print then, in this order.
    pub(super) starts: &'static [&'static [&'static str]],
}

impl Example {
    /// Whether it is a script, which starts programs.
    pub(super) fn is_script(&self) -> bool {
        self.name.ends_with(".sh")
    }
}

const fn alone(name: &'static str, starts: &'static [&'static [&'static str]]) -> Example {
    Example { name, server: None, starts }
}

const fn with(
    server: &'static str,
    name: &'static str,
    starts: &'static [&'static [&'static str]],
) -> Example {
    Example { name, server: Some(server), starts }
}

/// All examples.
pub(super) static EXAMPLES: &[Example] = &[
    alone("hello", &[&["hello, world", "tick", "tick"]]),
    alone(
        "background_listener",
        &[&[
            "this thread is free",
            "works: The job worked :) 42",
            "fails: The job crashed :( failed: the disk is full",
            "panics: The job crashed :( ",
            "-- still here",
        ]],
    ),
    alone("decorator", &[&["a wrong argument: Some(InvalidJob", "report answered 8", "\"hello, world\""]]),
    alone(
        "manage_jobs",
        &[&[
            "added ",
            "paused)",
            "resumed ",
            "modified      Alternate name",
            "added again   Some(AlreadyExists",
            "replaced ",
            "never fires   Some(NeverFires",
            "removed       None",
            "imported      1 job",
            "working",
        ]],
    ),
    alone("combined_triggers", &[&["mornings: ", "10:00 CE", "working days: ", "next good morning: Some("]]),
    alone("run_and_wait", RUN_AND_WAIT),
    alone("retry", RETRY),
    alone("restart_sqlite", RESTART),
    alone("transactional_enqueue", TRANSACTION),
    alone("process_pool", PROCESS_POOL),
    alone("cpu_batch", &[&["part-", "33860 in parts, 33860 together"]]),
    alone("axum_service", &[&["try: curl", "tick", "\"report for ops, by run ", "tick: "]]),
    alone("config_dictionary", &[CONFIGURATION, FAULTS]),
    with("mongodb", "config_dictionary", &[CONFIGURATION, RUN_WITH_MONGODB]),
    with(
        "mongodb",
        "shared_mongodb",
        &[&["reports for the south", "answered: \"the south is well\"", "the north"]],
    ),
    with(
        "redis",
        "shared_redis",
        &[&["reports for the south", "answered: \"the south is well\"", "the north"]],
    ),
    with("postgres", "shared_postgres", &[&["share 6 jobs", " of them", " of them", " runs, each once"]]),
    with("redis", "roles.sh", ROLES),
    with("postgres", "replicas.sh", REPLICAS),
    alone(
        "third_party",
        &[&["trigger      beat", "executor     thread-per-run", "hello, world, from thread \"greeter\""]],
    ),
];

const RUN_AND_WAIT: &[&[&str]] = &[&[
    "42 / 6 is 7",
    "42 / 0 is an error: ",
    "wrong arguments are never queued: ",
    "the first works",
    "the urgent is queued",
    "the urgent works",
    "the usual works",
    "the patient works",
    "finished: \"the patient is done\"",
    "the delayed is queued",
    "the unwanted was cancelled: true",
    "the delayed works",
    "it started at its time",
]];

const RETRY: &[&[&str]] = &[&[
    "attempt 1 failed: connection refused; again in 200 ms",
    "attempt 2 failed: try later; again in 400 ms",
    "run of `fetch`, 3 attempts:",
    "1. failed: connection refused",
    "2. failed: try later",
    "3. succeeded \"news, at attempt 3\"",
    "run of `parse`, 1 attempts:",
    "1. failed: ",
]];

const RESTART: &[&[&str]] = &[
    &["has no job yet: this is the first start", "backed up", "backed up", "backed up", "stopped"],
    &["has the job, which was due", "fire times were missed", "one run makes up", "backed up", "stopped"],
];

const TRANSACTION: &[&[&str]] = &[&[
    "order 1 is not taken: Some(\"the payment was refused\")",
    "orders: 0, jobs: 0, runs: 0",
    "a receipt for order 2",
    "order 2 is taken: Some(String(\"receipt 2\"))",
    "orders: 1, jobs: 1, runs: 1",
]];

const PROCESS_POOL: &[&[&str]] = &[&[
    "40 + 2 = 42",
    "crash: the run failed: the worker process was killed by signal 6",
    "and the pool goes on: 2",
    "leak: the run ",
    "and the pool goes on: 2",
    "spin: the run timed out",
    "and the pool goes on: 2",
]];

const CONFIGURATION: &[&str] = &[
    "executor default: Some(ThreadPoolExecutor { max_workers: 20",
    "executor processpool: Some(ProcessPoolExecutor { max_workers: 5",
    "store default: Some(SqlStore",
    "store mongo: Some(MongoStore",
    "time zone UTC",
    "-- all are equal",
];

const FAULTS: &[&str] = &["unknown key (did you mean `max_workers`?)", "did you mean `Europe/Berlin`?"];

const RUN_WITH_MONGODB: &[&str] = &[
    "mongo on default, in a child: Some(Bool(false))",
    "default on processpool, in a child: Some(Bool(true))",
    "mongo on default, in a child: Some(Bool(false))",
    "default on processpool, in a child: Some(Bool(true))",
    "mongo on default, in a child: Some(Bool(false))",
    "default on processpool, in a child: Some(Bool(true))",
    "mongo on default, in a child: Some(Bool(false))",
    "default on processpool, in a child: Some(Bool(true))",
];

const ROLES: &[&[&str]] = &[&[
    "the front end took the order: look at /runs/",
    "it answers: \"cat.jpg, made small by worker ",
    "the worker runs what the planner plans",
    "all ended well",
]];

const REPLICAS: &[&[&str]] = &[&[
    "3 replicas run",
    "was killed in the middle of a run",
    "another replica has run it again",
    "the others ended well",
    "none lost, none twice",
]];
