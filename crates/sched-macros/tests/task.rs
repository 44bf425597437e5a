//! What `#[task]` makes of a function: registered, described, decoded, run.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use sched_core::{
    Args, Backoff, Call, Coalesce, Error, Execution, Grace, JobOptions, NewRun, Outcome, Overlap, Registry,
    Retain, Retry, RetryKind, Run, RunContext, RunReport, RunSink, Scheduler, Task, TaskBody, TaskError,
    TaskErrorKind, TimeoutSlot,
};
use sched_macros::task;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod aliases {
    pub(crate) type Fallible<T> = std::result::Result<T, super::Broken>;
}

#[derive(Debug)]
struct Broken(&'static str);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "broken {}", self.0)
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    lines: Vec<String>,
}

/// Sends a report.
#[task(crate = "sched_core")]
fn report(to: String, rows: u32) -> Result<u64, Broken> {
    if to.is_empty() { Err(Broken("address")) } else { Ok(u64::from(rows) * 2) }
}

#[task(crate = "sched_core")]
fn nothing() {}

#[task(crate = "sched_core")]
fn aliased(fail: bool) -> aliases::Fallible<Order> {
    if fail { Err(Broken("order")) } else { Ok(Order { id: 1, lines: Vec::new() }) }
}

#[task(crate = "sched_core")]
fn plain(mut order: Order) -> Order {
    order.id += 1;
    order
}

#[task(crate = "sched_core")]
fn opaque(text: String) -> impl Serialize {
    (text, 7)
}

#[task(crate = "sched_core")]
fn optional(first: u8, second: Option<u8>, third: Option<Vec<u8>>) -> Vec<usize> {
    vec![first.into(), second.map_or(0, usize::from), third.map_or(0, |it| it.len())]
}

#[task(crate = "sched_core")]
async fn slow(first: String, run: &RunContext, second: String) -> Result<String, TaskError> {
    std::future::ready(()).await;
    if second.is_empty() {
        return Err(TaskError::cancelled());
    }
    Ok(format!("{first} {} {second}", run.run().attempt))
}

#[task(crate = "sched_core")]
fn attempt(run: &sched_core::RunContext) -> u32 {
    run.run().attempt
}

#[task(crate = "sched_core")]
fn keyed(map: HashMap<(u8, u8), u8>, note: Option<String>) {
    drop((map, note));
}

// Names that would collide with those of the expansion, were they not kept apart.
#[task(crate = "sched_core")]
fn task(args: u8, context: u8, decoded: u8, encoded: u8) -> u8 {
    args + context + decoded + encoded
}

macro_rules! doubling {
    ($name:ident, $type:ty) => {
        #[task(crate = "sched_core")]
        fn $name(rows: $type, _run: &RunContext) -> $type {
            rows * 2
        }
    };
}
doubling!(doubled, u16);

#[task(crate = "sched_core")]
fn r#type(r#fn: bool) -> bool {
    !r#fn
}

mod nested {
    use super::task;

    pub(crate) mod deep {
        use super::super::Order;

        #[super::task(crate = "sched_core", name = "nested.deep")]
        pub(in super::super) fn run(order: Order, twin: super::super::Order) -> bool {
            order == twin
        }
    }

    #[task(crate = "sched_core", name = "shadow")]
    pub(crate) fn shadow(value: self::Result) -> self::Result {
        value
    }

    // Would capture every unqualified `Result`, `Option`, `Ok` and `Err` of the expansion.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(crate) struct Result;
    #[expect(dead_code, reason = "it only has to be in the way")]
    pub(crate) struct Option;
    #[expect(dead_code, non_snake_case, reason = "it only has to be in the way")]
    pub(crate) fn Ok() {}
    #[expect(dead_code, non_snake_case, reason = "it only has to be in the way")]
    pub(crate) fn Err() {}
    mod core {}
    mod std {}
    mod sched_core {}
}

#[task(
    crate = "sched_core",
    name = "limits.all",
    executor = "pool",
    max_instances = 3,
    misfire_grace_time = 1.5,
    coalesce = "earliest",
    overlap = "cancel_previous",
    timeout = "30s",
    timeout_slot = "free",
    retry(max_attempts = 5, backoff(first = "2s", factor = 3, max = "1h"), jitter = 0.5, only = ["timed_out", "busy"]),
    priority = -3,
    concurrency_key = "tenant",
    concurrency_limit = 2,
    max_takeovers = 3,
    jitter = "250ms",
    retain = "finished",
    result_ttl = "1h 30m",
    max_catch_up = 10,
    metadata = { "team" = "ops", level: -1, nested = { list = [1, 2.5, null, true] } },
)]
fn limited() {}

#[task(crate = "sched_core", name = "limits.words", misfire_grace_time = "none", coalesce = false, retry = 3)]
fn worded() {}

#[cfg(any())]
#[task(crate = "sched_core")]
fn left_out() {}

#[task(crate = "sched_core")]
#[cfg(any())]
fn left_out() {}

struct Recorder(Mutex<Vec<RunReport>>);

impl RunSink for Recorder {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }
    fn started(&self, _: &Arc<Run>) {}
    fn finished(&self, report: RunReport) {
        self.0.lock().unwrap().push(report);
    }
}

/// Runs a task to its end, as an executor on a thread does.
fn outcome(task: Task, args: impl Into<Args>) -> Outcome {
    let run = Run {
        id: serde_json::from_value(json!("00000000-0000-0000-0000-000000000000")).unwrap(),
        job_id: None,
        store: Arc::from("default"),
        task: task.shared_name(),
        fire_time: DateTime::UNIX_EPOCH,
        scheduled_time: DateTime::UNIX_EPOCH,
        attempt: 4,
    };
    let recorder = Arc::new(Recorder(Mutex::default()));
    let options = Arc::new(JobOptions::default());
    Execution::new(Arc::new(run), Arc::new(task), args.into(), options, recorder.clone()).run_blocking();
    let mut reports = recorder.0.lock().unwrap();
    assert_eq!(reports.len(), 1);
    reports.remove(0).outcome
}

fn failure(task: Task, args: Value) -> TaskError {
    match outcome(task, args) {
        Outcome::Failed(error) => error,
        other => panic!("{other}"),
    }
}

fn succeeds(task: Task, args: Value, expected: &Value) {
    let name = task.name().to_owned();
    assert_eq!(outcome(task, args).value(), Some(expected), "{name}");
}

#[test]
fn the_function_is_called_as_before() {
    assert_eq!(report("a".to_owned(), 2).unwrap(), 4);
    assert!(r#type(false));
    assert_eq!(task(1, 2, 3, 4), 10);
}

#[test]
fn every_linked_function_is_in_the_registry() {
    let registry = Registry::linked().unwrap();
    let mut texts: Vec<String> = registry.tasks().map(|task| task.signature_text()).collect();
    texts.sort();
    let expected = [
        "aliased(fail)",
        "attempt()",
        "doubled(rows)",
        "inside()",
        "keyed(map, note?)",
        "limits.all()",
        "limits.words()",
        "nested.deep(order, twin)",
        "nothing()",
        "opaque(text)",
        "optional(first, second?, third?)",
        "plain(order)",
        "report(to, rows)",
        "shadow(value)",
        "slow(first, second)",
        "task(args, context, decoded, encoded)",
        "type(fn)",
    ];
    assert_eq!(texts, expected);
    assert_eq!(report::NAME, "report");
    assert_eq!(r#type::NAME, "type");
}

#[test]
fn explicit_registration_works_and_two_tasks_of_a_name_are_an_error() {
    let registry = Registry::builder().task(report::task()).build().unwrap();
    assert!(registry.task("report").is_ok());
    let twice = Registry::builder().task(report::task()).task(report::task()).build();
    assert!(twice.unwrap_err().to_string().contains("two tasks are named `report`"));
}

#[test]
fn answers_become_values() {
    let order = json!({ "id": 4, "lines": ["x"] });
    succeeds(report::task(), json!(["a", 21]), &json!(42));
    succeeds(report::task(), json!({ "rows": 3, "to": "b" }), &json!(6));
    succeeds(nothing::task(), Value::Null, &Value::Null);
    succeeds(aliased::task(), json!([false]), &json!({ "id": 1, "lines": [] }));
    succeeds(plain::task(), json!([order]), &json!({ "id": 5, "lines": ["x"] }));
    succeeds(opaque::task(), json!(["t"]), &json!(["t", 7]));
    succeeds(slow::task(), json!(["a", "b"]), &json!("a 4 b"));
    succeeds(attempt::task(), Value::Null, &json!(4));
    succeeds(doubled::task(), json!([4]), &json!(8));
    succeeds(task::task(), json!([1, 2, 3, 4]), &json!(10));
    succeeds(r#type::task(), json!({ "fn": true }), &json!(false));
    succeeds(nested::deep::run::task(), json!([order, order]), &json!(true));
    succeeds(nested::shadow::task(), json!([null]), &Value::Null);
}

#[test]
fn errors_become_failures_also_under_an_alias() {
    assert_eq!(failure(report::task(), json!(["", 1])).message(), "broken address");
    assert_eq!(failure(aliased::task(), json!([true])).message(), "broken order");
    assert_eq!(outcome(slow::task(), json!(["a", ""])), Outcome::Cancelled, "a TaskError keeps its kind");
}

#[test]
fn optional_arguments_may_be_left_out() {
    succeeds(optional::task(), json!([1]), &json!([1, 0, 0]));
    succeeds(optional::task(), json!([1, null, [1, 2]]), &json!([1, 0, 2]));
    succeeds(optional::task(), json!({ "first": 1, "third": [9] }), &json!([1, 0, 1]));
}

#[test]
fn arguments_that_do_not_decode_are_a_failure_that_names_them() {
    let table = [
        (report::task(), json!(["a", "b"]), "argument `rows`: invalid type: string \"b\", expected u32"),
        (report::task(), json!(["a"]), "argument `rows` is missing"),
        (report::task(), json!(["a", -1]), "argument `rows`: invalid value: integer `-1`, expected u32"),
        (optional::task(), json!([1, 300]), "argument `second`: invalid value: integer `300`, expected u8"),
        (plain::task(), json!([{ "id": 1 }]), "argument `order`: missing field `lines`"),
        (slow::task(), json!([[], "x"]), "argument `first`: invalid type: sequence, expected a string"),
    ];
    for (task, args, expected) in table {
        let error = failure(task.clone(), args.clone());
        assert_eq!((error.message(), error.kind()), (expected, &TaskErrorKind::Arguments));
        assert!(task.check_args(&args.into()).is_err(), "{expected}");
    }
    let long = failure(report::task(), json!(["a", "x".repeat(10_000)]));
    assert!(long.message().len() < 250, "a message does not repeat a whole payload");
}

#[test]
fn constructors_encode_their_arguments() {
    let Call { task, args } = report::call("ops@example.org".to_owned(), 10);
    assert_eq!((task.name(), args.positional()), ("report", &[json!("ops@example.org"), json!(10)][..]));
    assert!(nothing::call().args.is_empty());
    let Call { args, .. } = optional::call(1, None, Some(vec![2]));
    assert_eq!(args.positional(), [json!(1), Value::Null, json!([2])]);
    let Call { args, .. } = slow::call("a".to_owned(), "b".to_owned());
    assert_eq!(args.positional(), ["a", "b"]);
}

fn refusal(added: Result<sched_core::JobHandle, Error>) -> String {
    added.map(|job| job.id().to_string()).unwrap_err().to_string()
}

#[test]
fn a_job_is_added_with_typed_arguments() {
    let scheduler = Scheduler::new().unwrap();
    let job = scheduler.add_job(report::job("a".to_owned(), 1).id("daily")).unwrap();
    assert_eq!((job.id().as_str(), job.name(), job.args.positional().len()), ("daily", "report", 2));
    let error = refusal(scheduler.add_job(sched_core::Job::task("report").args(json!(["a", "b"]))));
    assert!(error.contains("argument `rows`: invalid type"), "{error}");
}

#[test]
fn an_argument_that_cannot_be_encoded_is_reported_when_the_job_is_added() {
    let scheduler = Scheduler::new().unwrap();
    let map: HashMap<_, _> = [((1, 2), 3)].into();
    let error = refusal(scheduler.add_job(keyed::job(map.clone(), None)));
    assert!(error.contains("map (which cannot be encoded: key must be a string)"), "{error}");
    let NewRun { .. } = keyed::call(map.clone(), None).into();
    assert!(keyed::task().check_args(&keyed::call(map, None).args).is_err());
    assert!(keyed::task().check_args(&keyed::call(HashMap::new(), None).args).is_ok());
}

#[test]
fn options_become_the_settings_of_the_task() {
    use std::time::Duration;
    let task = limited::task();
    let settings = task.settings();
    assert_eq!((task.name(), task.max_instances()), ("limits.all", Some(3)));
    assert_eq!((settings.executor.as_deref(), settings.max_instances), (Some("pool"), Some(3)));
    assert_eq!(settings.misfire_grace_time, Some(Grace::Within(Duration::from_millis(1500))));
    assert_eq!(
        (settings.coalesce, settings.overlap),
        (Some(Coalesce::Earliest), Some(Overlap::CancelPrevious))
    );
    assert_eq!((settings.timeout, settings.max_catch_up), (Some(Duration::from_secs(30)), Some(10)));
    assert_eq!(
        (settings.jitter, settings.retain),
        (Some(Duration::from_millis(250)), Some(Retain::Finished))
    );
    assert_eq!(settings.result_ttl, Some(Duration::from_secs(5400)));
    let backoff = Backoff::exponential(Duration::from_secs(2), 3.0, Duration::from_secs(3_600));
    let only = [RetryKind::TimedOut, RetryKind::Other("busy".to_owned())];
    let retry = Retry::new(5).backoff(backoff).jitter(Duration::from_millis(500)).only(only);
    assert_eq!(settings.retry.as_deref(), Some(&retry));
    assert_eq!((settings.timeout_slot, settings.priority), (Some(TimeoutSlot::Free), Some(-3)));
    assert_eq!((settings.concurrency_key.as_deref(), settings.concurrency_limit), (Some("tenant"), Some(2)));
    assert_eq!(settings.max_takeovers, Some(3));
    let metadata = json!({ "team": "ops", "level": -1, "nested": { "list": [1, 2.5, null, true] } });
    assert_eq!(settings.metadata.as_deref(), metadata.as_object());

    let worded = worded::task();
    assert_eq!(worded.settings().misfire_grace_time, Some(Grace::Unlimited));
    assert_eq!(worded.settings().retry.as_deref(), Some(&Retry::new(3)));
    assert_eq!((worded.settings().coalesce, worded.max_instances()), (Some(Coalesce::All), None));
    assert!(report::task().settings().is_empty());
}

#[test]
fn async_functions_become_async_tasks() {
    let kinds: BTreeMap<_, _> = [slow::task(), report::task()]
        .map(|task| match task.body() {
            TaskBody::Async(_) => (task.name().to_owned(), "async"),
            TaskBody::Sync(_) => (task.name().to_owned(), "sync"),
        })
        .into();
    assert_eq!(kinds, BTreeMap::from([("report".to_owned(), "sync"), ("slow".to_owned(), "async")]));
}

#[test]
fn a_function_inside_a_function_can_be_a_task() {
    struct Local;
    impl Serialize for Local {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str("local")
        }
    }
    #[task(crate = "sched_core")]
    fn inside() -> Local {
        Local
    }
    succeeds(inside::task(), Value::Null, &json!("local"));
}
