//! Configuration: every way of writing it makes the same scheduler, and every fault is told at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::sync::Arc;

use chrono_tz::Tz;
use sched::config::{Format, from_pairs, from_variables, parse};
use sched::{
    BuildContext, Coalesce, Delivery, Error, ErrorKind, EventMask, Job, Registry, RunFilter, Scheduler,
    SchedulerConfig, StartMode,
};
use sched_testkit::scheduler::{HeldExecutor, ManualRuntime, Recorder};
use serde_json::{Value, json};

/// What a configuration makes, as far as it can be seen.
fn seen(scheduler: &Scheduler) -> Value {
    let mut executors: Vec<String> = scheduler
        .executors()
        .iter()
        .map(|alias| format!("{alias}: {:?}", scheduler.executor(alias).unwrap()))
        .collect();
    let mut stores: Vec<String> = scheduler
        .job_stores()
        .iter()
        .map(|alias| format!("{alias}: {:?}", scheduler.job_store(alias).unwrap()))
        .collect();
    executors.sort();
    stores.sort();
    let defaults = Value::Object(scheduler.job_defaults().to_config());
    json!({ "executors": executors, "stores": stores, "defaults": defaults, "zone": scheduler.timezone().name() })
}

fn faults(config: Value) -> Vec<String> {
    let error = Scheduler::from_config(config.clone()).err();
    let error = error.unwrap_or_else(|| panic!("{config} is taken"));
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{config}: {error}");
    error.faults().iter().map(ToString::to_string).collect()
}

#[test]
fn flat_nested_prefixed_and_textual_forms_make_the_same_scheduler() {
    let forms = [
        json!({
            "job_stores": { "other": { "type": "memory" }, "default": { "type": "memory" } },
            "executors": { "default": { "type": "threadpool", "max_workers": 20 }, "inline": { "type": "debug" } },
            "job_defaults": { "coalesce": false, "max_instances": 3 },
            "timezone": "UTC",
        }),
        json!({
            "apscheduler.jobstores.other": { "type": "memory" },
            "apscheduler.jobstores.default": { "class": "apscheduler.jobstores.memory:MemoryJobStore" },
            "apscheduler.executors.default": {
                "class": "apscheduler.executors.pool:ThreadPoolExecutor", "max_workers": "20"
            },
            "apscheduler.executors.inline": { "type": "debug" },
            "apscheduler.job_defaults.coalesce": "false",
            "apscheduler.job_defaults.max_instances": "3",
            "apscheduler.timezone": "UTC",
        }),
        json!({
            "sched.executors.default.max_workers": "20",
            "sched": { "executors": { "default.type": "threadpool", "inline": { "type": "debug" } } },
            "job_stores.other.type": "memory",
            "job_stores": { "default": { "type": "memory" } },
            "timezone": "utc",
            "job_defaults": { "coalesce": " No ", "max_instances": "3" },
        }),
        from_pairs([
            ("executors.inline.type", "debug"),
            ("executors.default.type", "threadpool"),
            ("executors.default.max_workers", "20"),
            ("job_stores.default.type", "memory"),
            ("job_stores.other.type", "memory"),
            ("job_defaults.coalesce", "all"),
            ("job_defaults.max_instances", "3"),
            ("timezone", "UTC"),
        ]),
        from_variables(
            [
                ("SCHED__EXECUTORS__INLINE__TYPE", "debug"),
                ("SCHED__EXECUTORS__DEFAULT__TYPE", "threadpool"),
                ("SCHED__EXECUTORS__DEFAULT__MAX_WORKERS", "20"),
                ("SCHED__JOB_STORES__DEFAULT__TYPE", "memory"),
                ("SCHED__JOB_STORES__OTHER__TYPE", "memory"),
                ("SCHED__JOB_DEFAULTS__COALESCE", "off"),
                ("SCHED__JOB_DEFAULTS__MAX_INSTANCES", "3"),
                ("SCHED__TIMEZONE", "UTC"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
    ];
    let first = seen(&Scheduler::from_config(forms[0].clone()).unwrap());
    assert_eq!((&first["zone"], &first["defaults"]["max_instances"]), (&json!("UTC"), &json!(3)));
    for form in &forms[1..] {
        assert_eq!(seen(&Scheduler::from_config(form.clone()).unwrap()), first, "{form}");
    }
}

#[test]
fn a_dictionary_may_be_used_twice_and_its_order_does_not_matter() {
    let forwards =
        r#"{"executors": {"a": {"type": "debug"}}, "executors.b.type": "debug", "timezone": "UTC"}"#;
    let backwards =
        r#"{"executors.b.type": "debug", "timezone": "UTC", "executors": {"a": {"type": "debug"}}}"#;
    let read = |text: &str| parse(text, Format::Json).unwrap();
    let registry = Registry::linked().unwrap();
    let config = read(forwards);
    for _ in 0..2 {
        SchedulerConfig::from_value(config.clone(), &registry).unwrap();
    }
    let made = |text| seen(&Scheduler::from_config(read(text)).unwrap());
    assert_eq!(made(forwards), made(backwards));
}

#[test]
fn all_faults_are_told_at_once_with_paths_and_suggestions() {
    let found = faults(json!({
        "executers": {},
        "timezone": "Europe/Berln",
        "claim_batch": 0,
        "executors": {
            "default": { "type": "threadpol" },
            "odd": 3,
            "bare": {},
            "busy": { "type": "threadpool", "max_worker": 3 },
            "green": { "class": "apscheduler.executors.gevent:GeventExecutor" },
        },
        "job_stores": { "mongo": { "type": "mongodb" } },
        "job_defaults": { "max_instance": 1, "coalesce": "yep", "misfire_grace_time": 0 },
        "jobs": [{ "task": "nothing", "every": "5 parsecs", "executor": "nowhere" }],
    }));
    let expected = [
        ("executers", "did you mean `executors`?"),
        ("timezone", "did you mean `Europe/Berlin`?"),
        ("claim_batch", "out of range"),
        ("executors.default.type", "did you mean `threadpool`?"),
        ("executors.odd", "expected a table"),
        ("executors.bare", "either \"type\" or \"class\" must be defined"),
        ("executors.busy.max_worker", "did you mean `max_workers`?"),
        ("job_defaults.max_instance", "did you mean `max_instances`?"),
        ("executors.green.class", "unknown class `apscheduler.executors.gevent:GeventExecutor`"),
        ("job_defaults.coalesce", "expected a boolean or one of latest, earliest, all, got `yep`"),
        ("job_defaults.misfire_grace_time", "or `none`, got `0`"),
        ("jobs[0].every", "`1h 30m`), got `5 parsecs`"),
    ];
    // A build that has the store has nothing to tell of it.
    let unlinked = [("job_stores.mongo.type", "enable the cargo feature `mongodb`")];
    let unlinked = unlinked.into_iter().filter(|_| cfg!(not(feature = "mongodb")));
    for (path, text) in expected.into_iter().chain(unlinked) {
        let told = found.iter().any(|fault| fault.starts_with(&format!("{path}:")) && fault.contains(text));
        assert!(told, "{path}: {text} is not among {found:#?}");
    }
}

#[test]
fn a_value_given_twice_is_a_fault() {
    let found = faults(json!({ "timezone": "UTC", "sched.timezone": "Europe/Berlin" }));
    assert_eq!(found, ["timezone: given twice, with different values"]);
}

#[test]
fn nothing_of_a_faulty_configuration_is_applied() {
    let scheduler =
        Scheduler::from_config(json!({ "timezone": "UTC", "executors": { "a": { "type": "debug" } } }))
            .unwrap();
    let before = seen(&scheduler);
    let registry = Registry::linked().unwrap();
    let config = json!({ "timezone": "Europe/Berlin", "executors": { "b": { "type": "nothing" } } });
    assert!(SchedulerConfig::from_value(config, &registry).is_err());
    assert_eq!(seen(&scheduler), before);
}

#[test]
fn code_wins_over_the_dictionary() {
    let scheduler = Scheduler::builder()
        .config(
            json!({ "timezone": "Europe/Berlin", "job_defaults": { "max_instances": 2, "coalesce": "all" } }),
        )
        .timezone(Tz::UTC)
        .job_defaults(sched::JobSettings { max_instances: Some(5), ..Default::default() })
        .build()
        .unwrap();
    assert_eq!(scheduler.timezone(), Tz::UTC);
    assert_eq!(
        (scheduler.job_defaults().max_instances, scheduler.job_defaults().coalesce),
        (Some(5), Some(Coalesce::All))
    );
}

#[test]
fn the_jobs_of_a_dictionary_become_pending() {
    let registry = Registry::builder().linked().task(sched::Task::new("report", |_, _| ())).build().unwrap();
    let config = json!({
        "timezone": "UTC",
        "jobs": [
            { "id": "a", "task": "report", "cron": "0 9 * * mon-fri", "max_instances": 2 },
            { "id": "b", "task": "report", "every": "5m", "paused": true },
            { "id": "c", "task": "report", "at": "2030-01-01 00:00:00" },
        ],
    });
    let scheduler = Scheduler::builder().registry(registry).config(config).build().unwrap();
    let jobs = scheduler.get_jobs(None).unwrap();
    let ids: Vec<&str> = jobs.iter().map(|job| job.id().as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(jobs.iter().all(sched::JobHandle::is_pending));
    assert_eq!(jobs[0].options.max_instances, 2);
}

#[test]
fn parts_of_alias_default_are_added_at_start_where_missing() {
    let scheduler = Scheduler::builder().timezone(Tz::UTC).build().unwrap();
    let recorder = Recorder::listen(&scheduler, EventMask::all());
    scheduler.add_job(Job::call(|| ()).id("a").paused()).unwrap();
    scheduler.start_on(Arc::new(ManualRuntime::new()), StartMode::Running).unwrap();
    recorder.expect(&["executor_added default", "store_added default", "added a", "started"]);
    assert!(format!("{:?}", scheduler.executor("default").unwrap()).contains("ThreadPool"));
    assert!(format!("{:?}", scheduler.job_store("default").unwrap()).contains("MemoryStore"));
}

#[test]
fn a_failed_start_takes_the_parts_it_added_back() {
    let scheduler = Scheduler::builder().timezone(Tz::UTC).build().unwrap();
    let runtime = Arc::new(ManualRuntime::new());
    runtime.refuse_drivers(true);
    assert!(scheduler.start_on(Arc::clone(&runtime) as Arc<_>, StartMode::Running).is_err());
    assert!(scheduler.executors().is_empty() && scheduler.job_stores().is_empty());
    runtime.refuse_drivers(false);
    scheduler.start_on(runtime, StartMode::Running).unwrap();
    assert_eq!((scheduler.executors().len(), scheduler.job_stores().len()), (1, 1));
}

#[test]
fn a_trigger_is_built_by_alias_in_the_schedulers_zone() {
    let registry = Registry::linked().unwrap();
    let context = BuildContext { registry: &registry, timezone: Tz::Europe__Berlin };
    let built = registry.trigger("", json!({ "type": "cron", "hour": 9 }), context).unwrap();
    assert_eq!((built.alias(), built.timezone()), ("cron", Tz::Europe__Berlin));
    for alias in ["and", "or"] {
        let parts = json!([{ "type": "cron", "hour": 9 }, { "type": "interval", "hours": 1 }]);
        assert_eq!(
            registry.trigger("", json!({ "type": alias, "triggers": parts }), context).unwrap().alias(),
            alias
        );
    }
}

#[test]
fn an_unknown_alias_of_a_trigger_is_told_with_a_near_one() {
    let registry = Registry::linked().unwrap();
    let context = BuildContext { registry: &registry, timezone: Tz::UTC };
    let table = [
        (json!({ "type": "crn" }), "no trigger by the name \"crn\" was found (did you mean `cron`?)"),
        (json!({ "type": "threadpool" }), "no trigger by the name \"threadpool\" was found"),
        (json!(5), "expected a table, got a number"),
        (json!({ "hour": 9 }), "either \"type\" or \"class\" must be defined for this trigger"),
    ];
    for (config, text) in table {
        let error: Error = registry.trigger("trigger", config, context).map(drop).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn options_of_the_engine_from_code_win_over_the_dictionary() {
    let runtime = Arc::new(ManualRuntime::new());
    let scheduler = Scheduler::builder()
        .config(json!({ "timezone": "UTC", "delivery": "direct", "claim_batch": 1 }))
        // The batch is as large as without any configuration: it is set all the same.
        .with(|config| config.delivery(Delivery::Durable).claim_batch(1_000))
        .executor("default", HeldExecutor::default())
        .build()
        .unwrap();
    scheduler.start_on(Arc::clone(&runtime) as Arc<_>, StartMode::Running).unwrap();
    for id in ["a", "b"] {
        scheduler.add_job(Job::call(|| ()).id(id)).unwrap();
    }
    runtime.step();
    assert_eq!(scheduler.get_runs(&RunFilter::default(), None).unwrap().len(), 2, "the runs have rows");
}
