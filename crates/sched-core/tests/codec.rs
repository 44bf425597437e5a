//! Properties of payloads: what is written is read as it was, in either format; what is not ours is refused with a reason
//! and without a panic.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use sched_core::codec::{Codec, DEFAULT_MAX_PAYLOAD, PayloadFormat, RunHead, from_micros, to_micros};
use sched_core::{
    Args, Attempt, Call, Coalesce, Cursor, Error, ErrorKind, Factory, Grace, Job, JobId, JobOptions,
    JobSettings, JobSpec, JobStatus, MissReason, Outcome, Overlap, Plugin, QueuedRun, Registry, Retain,
    Retry, RetryKind, RunId, Section, StoreContext, SystemClock, Task, TaskError, TaskErrorKind, TaskRef,
    TimeoutSlot, Trigger,
};
use serde_json::{Map, Value, json};

/// Fires never; its configuration is a number.
#[derive(Debug)]
struct Never(i64);

impl Trigger for Never {
    fn next_fire_time(
        &self,
        _: Option<DateTime<Utc>>,
        _: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(None)
    }

    fn alias(&self) -> &str {
        "never"
    }

    fn to_config(&self) -> Value {
        json!({ "type": "never", "number": self.0 })
    }
}

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "never[{}]", self.0)
    }
}

fn never(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let number = section.value("number").and_then(|number| number.as_i64()).unwrap_or_default();
    Ok(Arc::new(Never(number)))
}

const NEVER: Plugin = Plugin {
    aliases: &["never"],
    summary: "fires never",
    package: "tests",
    factory: Factory::Trigger(never),
};

fn task() -> Arc<Task> {
    Arc::new(Task::new("known", |_, _| ()))
}

fn context() -> StoreContext {
    let registry = Registry::builder().task(Task::new("known", |_, _| ())).plugin(NEVER).build().unwrap();
    StoreContext::new("default", Arc::new(registry), Arc::new(SystemClock::new()), chrono_tz::Tz::UTC)
}

/// A codec of each format in this build.
fn codecs(max_payload: usize) -> Vec<Codec> {
    let words = PayloadFormat::WORDS.iter().filter_map(|word| PayloadFormat::from_word(word).ok());
    words.map(|format| Codec::new(format, max_payload)).collect()
}

fn all_codecs() -> Vec<Codec> {
    codecs(DEFAULT_MAX_PAYLOAD)
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::from),
        Just(json!(u64::MAX)),
        Just(json!("\0\u{1F980}\u{feff}\"\\")),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn objects() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::btree_map(any::<String>(), values(), 0..4).prop_map(|map| map.into_iter().collect())
}

fn arguments() -> impl Strategy<Value = Args> {
    (proptest::collection::vec(values(), 0..4), objects()).prop_map(|(args, named)| Args::new(args, named))
}

/// Of whole milliseconds, up to some years.
fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1..200_000_000_000_u64).prop_map(Duration::from_millis),
        (1..5_000_u64).prop_map(Duration::from_millis)
    ]
}

/// Of whole microseconds, in years 1 to 9999.
fn times() -> impl Strategy<Value = DateTime<Utc>> {
    (-62_135_596_800_000_000..=253_402_300_799_999_999_i64).prop_map(|micros| from_micros(micros).unwrap())
}

fn settings() -> impl Strategy<Value = JobSettings> {
    use proptest::option::of;
    let grace = prop_oneof![Just(Grace::Unlimited), durations().prop_map(Grace::Within)];
    let coalesce = prop_oneof![Just(Coalesce::Latest), Just(Coalesce::Earliest), Just(Coalesce::All)];
    let overlap = prop_oneof![Just(Overlap::Skip), Just(Overlap::Queue), Just(Overlap::CancelPrevious)];
    let retain = prop_oneof![Just(Retain::Remove), Just(Retain::Finished)];
    let first = (of("[a-z]{1,9}"), of(grace), of(coalesce), of(1..=u32::MAX), of(overlap), of(durations()));
    let second =
        (of(1..=u32::MAX), of(retain), of(durations()), of(durations()), of("\\PC{1,9}"), of(1..=u32::MAX));
    let slot = prop_oneof![Just(TimeoutSlot::Hold), Just(TimeoutSlot::Free)];
    let retry = (1..=1_000_000_u32, durations(), of("[a-z]{1,9}")).prop_map(|(attempts, jitter, only)| {
        Retry::new(attempts).jitter(jitter).only(only.map(RetryKind::Other))
    });
    let third = (of(slot), of(retry), of(any::<i32>()), of(1..=u32::MAX));
    (first, second, third, of(objects())).prop_map(|(first, second, third, metadata)| {
        let (executor, misfire_grace_time, coalesce, max_instances, overlap, jitter) = first;
        let (max_catch_up, retain, timeout, result_ttl, concurrency_key, concurrency_limit) = second;
        let (timeout_slot, retry, priority, max_takeovers) = third;
        JobSettings {
            executor: executor.map(Arc::from),
            timeout_slot,
            retry: retry.map(Arc::new),
            max_takeovers,
            priority,
            misfire_grace_time,
            coalesce,
            max_instances,
            overlap,
            jitter,
            max_catch_up,
            retain,
            timeout,
            result_ttl,
            concurrency_key: concurrency_key.map(Arc::from),
            concurrency_limit,
            metadata: metadata.map(Arc::new),
        }
    })
}

fn cursors() -> impl Strategy<Value = Cursor> {
    use proptest::option::of;
    let status = prop_oneof![
        Just(JobStatus::Scheduled),
        Just(JobStatus::Paused),
        Just(JobStatus::Finished),
        any::<String>().prop_map(|reason| JobStatus::Suspended(Arc::from(reason))),
    ];
    (of(times()), of(times()), of(times()), status, any::<u64>()).prop_map(
        |(fire, run, last, status, revision)| Cursor {
            next_fire_time: fire,
            next_run_time: run,
            last_fire_time: last,
            status,
            revision,
        },
    )
}

fn jobs() -> impl Strategy<Value = Job> {
    let names = (proptest::option::of("\\PC{0,20}"), "\\PC{1,60}", any::<bool>(), any::<i64>());
    (names, arguments(), settings(), cursors()).prop_map(
        |((name, id, known, number), args, settings, cursor)| {
            let task = if known { TaskRef::Bound(task()) } else { TaskRef::Named(Arc::from("unknown")) };
            let options = Arc::new(settings.resolve());
            let trigger: Arc<dyn Trigger> = Arc::new(Never(number));
            let (id, name) = (JobId::new(id).unwrap(), name.map(Arc::from));
            let spec = JobSpec { id, name, task, args, trigger, settings: Arc::new(settings), options };
            Job { spec: Arc::new(spec), cursor }
        },
    )
}

fn runs() -> impl Strategy<Value = QueuedRun> {
    let ids = (any::<u128>(), proptest::option::of("\\PC{1,40}"), any::<bool>());
    (ids, arguments(), settings(), (times(), times()), any::<i32>()).prop_map(
        |((id, job_id, known), args, settings, (fire_time, scheduled_time), priority)| QueuedRun {
            id: format!("{id:032x}").parse().unwrap(),
            job_id: job_id.map(|id| JobId::new(id).unwrap()),
            call: Call {
                task: if known { TaskRef::Bound(task()) } else { TaskRef::Named(Arc::from("unknown")) },
                args,
            },
            fire_time,
            scheduled_time,
            priority,
            options: Arc::new(settings.resolve()),
        },
    )
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let kind = prop_oneof![
        Just(TaskErrorKind::Error),
        Just(TaskErrorKind::Panic),
        Just(TaskErrorKind::Arguments),
        Just(TaskErrorKind::TimedOut),
        Just(TaskErrorKind::Cancelled),
        any::<String>().prop_map(TaskErrorKind::Other),
    ];
    let reason = prop_oneof![
        Just(MissReason::TooLate),
        Just(MissReason::MaxInstances),
        any::<String>().prop_map(MissReason::NoExecutor),
        any::<String>().prop_map(MissReason::NoTask),
    ];
    prop_oneof![
        values().prop_map(Outcome::Succeeded),
        (any::<String>(), kind)
            .prop_map(|(text, kind)| Outcome::Failed(TaskError::new(text).with_kind(kind))),
        reason.prop_map(Outcome::Missed),
        Just(Outcome::Cancelled),
        Just(Outcome::TimedOut),
        any::<String>().prop_map(Outcome::Abandoned),
    ]
}

fn histories() -> impl Strategy<Value = Vec<Attempt>> {
    let attempt = (any::<u32>(), outcomes(), proptest::option::of(times()), times());
    let attempt = attempt.prop_map(|(attempt, outcome, started_at, finished_at)| Attempt {
        attempt,
        outcome,
        started_at,
        finished_at,
    });
    proptest::collection::vec(attempt, 0..4)
}

fn head_of<'a>(run: &'a QueuedRun, id: &'a str) -> RunHead<'a> {
    RunHead {
        id,
        job_id: run.job_id.as_ref().map(JobId::as_str),
        task: run.call.task.name(),
        fire_time: run.fire_time,
        scheduled_time: run.scheduled_time,
        priority: run.priority,
    }
}

fn decode_run(codec: &Codec, payload: &[u8], run: &QueuedRun) -> Result<QueuedRun, Error> {
    codec.decode_run(payload, head_of(run, &run.id.to_string()), &context())
}

fn check_job(read: &Job, job: &Job) {
    assert_eq!(read.id(), job.id());
    assert_eq!(read.spec.name, job.spec.name);
    assert_eq!(read.spec.task.name(), job.spec.task.name());
    assert_eq!(read.spec.task.bound().is_some(), job.spec.task.bound().is_some());
    assert_eq!(read.spec.args, job.spec.args);
    assert_eq!(read.spec.trigger.to_config(), job.spec.trigger.to_config());
    assert_eq!(read.spec.settings, job.spec.settings);
    assert_eq!(read.spec.options, job.spec.options);
    assert_eq!(read.cursor, job.cursor);
}

fn check_run(read: &QueuedRun, run: &QueuedRun) {
    assert_eq!((read.id, &read.job_id, read.priority), (run.id, &run.job_id, run.priority));
    assert_eq!((read.fire_time, read.scheduled_time), (run.fire_time, run.scheduled_time));
    assert_eq!(read.call.task.name(), run.call.task.name());
    assert_eq!(read.call.args, run.call.args);
    assert_eq!(read.options, run.options);
}

/// Whatever it answers, it answers: corrupt, or something that could have been written.
fn assert_corrupt_or_fine<T>(answer: Result<T, Error>) {
    if let Err(error) = answer {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(!error.to_string().is_empty());
    }
}

/// Decodes bytes as everything there is.
fn decode_as_all(codec: &Codec, bytes: &[u8]) {
    let run = plain_run(json!([1]));
    assert_corrupt_or_fine(codec.decode_job(bytes, "a", Cursor::default(), &context()));
    assert_corrupt_or_fine(decode_run(codec, bytes, &run));
    for word in ["succeeded", "failed", "missed", "cancelled", "timed_out", "abandoned", "", "new"] {
        assert_corrupt_or_fine(codec.decode_outcome(word, Some(bytes)));
        assert_corrupt_or_fine(codec.decode_outcome(word, None));
    }
    assert_corrupt_or_fine(codec.decode_history(bytes));
}

fn plain_job(id: &str, args: Value) -> Job {
    let settings = Arc::new(JobSettings::default());
    let options = Arc::new(settings.resolve());
    let (id, task, args) = (JobId::new(id).unwrap(), TaskRef::Bound(task()), Args::from(args));
    let spec = JobSpec { id, name: None, task, args, trigger: Arc::new(Never(1)), settings, options };
    Job { spec: Arc::new(spec), cursor: Cursor::default() }
}

fn plain_run(args: Value) -> QueuedRun {
    QueuedRun {
        id: RunId::at(0),
        job_id: None,
        call: Call::bound(task(), Args::from(args)),
        fire_time: DateTime::UNIX_EPOCH,
        scheduled_time: DateTime::UNIX_EPOCH,
        priority: 0,
        options: Arc::new(JobOptions::default()),
    }
}

/// So many arrays, one in another.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| json!([inner]))
}

fn plain_attempt(outcome: Outcome) -> Attempt {
    Attempt { attempt: 1, outcome, started_at: None, finished_at: DateTime::UNIX_EPOCH }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_job_is_read_as_it_was_written_by_every_codec(job in jobs()) {
        for writer in all_codecs() {
            let payload = writer.encode_job(&job).unwrap();
            for reader in all_codecs() {
                let read = reader.decode_job(&payload, job.id().as_str(), job.cursor.clone(), &context()).unwrap();
                check_job(&read, &job);
            }
        }
    }

    #[test]
    fn a_run_is_read_as_it_was_written_by_every_codec(run in runs()) {
        for writer in all_codecs() {
            let payload = writer.encode_run(&run).unwrap();
            for reader in all_codecs() {
                check_run(&decode_run(&reader, &payload, &run).unwrap(), &run);
            }
        }
    }

    #[test]
    fn an_outcome_is_read_as_it_was_written_by_every_codec(outcome in outcomes()) {
        for writer in all_codecs() {
            let (word, data) = writer.encode_outcome(&outcome);
            for reader in all_codecs() {
                prop_assert_eq!(reader.decode_outcome(word, data.as_deref()).unwrap(), outcome.clone());
            }
        }
    }

    #[test]
    fn a_history_is_read_as_it_was_written_by_every_codec(history in histories()) {
        for writer in all_codecs() {
            let data = writer.encode_history(&history);
            for reader in all_codecs() {
                prop_assert_eq!(reader.decode_history(&data).unwrap(), history.clone());
            }
        }
    }

    #[test]
    fn spoiled_bytes_never_panic(
        job in jobs(),
        history in histories(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        extra in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        for codec in all_codecs() {
            for payload in [codec.encode_job(&job).unwrap(), codec.encode_history(&history)] {
                let at = at.index(payload.len());
                let mut changed = payload.clone();
                changed[at] = byte;
                let mut grown = payload.clone();
                grown.splice(at..at, extra.iter().copied());
                for bytes in [&changed[..], &grown, &payload[..at], &payload[at..]] {
                    assert_corrupt_or_fine(codec.decode_job(bytes, job.id().as_str(), Cursor::default(), &context()));
                    decode_as_all(&codec, bytes);
                }
            }
        }
    }

    #[test]
    fn bytes_of_a_stranger_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), tagged in any::<bool>()) {
        if tagged {
            bytes.splice(0..0, [0xd9, 0xd9, 0xf7]);
        }
        for codec in all_codecs() {
            decode_as_all(&codec, &bytes);
        }
    }

    #[test]
    fn what_is_behind_the_payload_spoils_it(job in jobs(), extra in proptest::collection::vec(33..=126_u8, 1..9)) {
        for codec in all_codecs() {
            let mut payload = codec.encode_job(&job).unwrap();
            payload.extend(&extra);
            let answer = codec.decode_job(&payload, job.id().as_str(), Cursor::default(), &context());
            prop_assert_eq!(answer.unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn times_keep_their_microseconds_and_are_never_early(time in times(), nanos in 0..1_000_i64) {
        prop_assert_eq!(from_micros(to_micros(time)).unwrap(), time);
        let finer = time + chrono::TimeDelta::nanoseconds(nanos);
        let read = from_micros(to_micros(finer)).unwrap();
        prop_assert!(read >= finer && read - finer < chrono::TimeDelta::microseconds(1));
    }

    /// A value is either refused when it is written or read again, however deep it is.
    #[test]
    fn no_depth_is_written_that_is_not_read(depth in 0..400_usize) {
        let (value, context) = (nested(depth), context());
        let job = plain_job("a", json!([value]));
        let run = plain_run(json!([value]));
        for writer in all_codecs() {
            if let Ok(payload) = writer.encode_job(&job) {
                let read = writer.decode_job(&payload, "a", Cursor::default(), &context);
                check_job(&read.unwrap(), &job);
            }
            if let Ok(payload) = writer.encode_run(&run) {
                check_run(&decode_run(&writer, &payload, &run).unwrap(), &run);
            }
            let (word, data) = writer.encode_outcome(&Outcome::Succeeded(value.clone()));
            let read = writer.decode_outcome(word, data.as_deref()).unwrap();
            prop_assert!(read == Outcome::Succeeded(value.clone()) || matches!(read, Outcome::Failed(_)));
            let attempt = plain_attempt(Outcome::Succeeded(value.clone()));
            prop_assert_eq!(writer.decode_history(&writer.encode_history(&[attempt])).unwrap().len(), 1);
        }
    }
}

#[test]
fn a_payload_may_have_the_limit_and_not_a_byte_more() {
    for writer in all_codecs() {
        let job = plain_job("a", json!(["x".repeat(500)]));
        let payload = writer.encode_job(&job).unwrap();
        let exact = Codec::new(writer.format(), payload.len());
        assert_eq!(exact.encode_job(&job).unwrap(), payload);
        assert!(exact.decode_job(&payload, "a", Cursor::default(), &context()).is_ok());
        let short = Codec::new(writer.format(), payload.len() - 1);
        let refused = short.encode_job(&job).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidJob);
        assert!(refused.to_string().contains("max_payload"), "{refused}");
        let refused = short.decode_job(&payload, "a", Cursor::default(), &context()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt);

        let run = plain_run(json!(["x".repeat(500)]));
        let payload = writer.encode_run(&run).unwrap();
        assert!(Codec::new(writer.format(), payload.len()).check_run(&payload, run.id).is_ok());
        let refused = Codec::new(writer.format(), payload.len() - 1).check_run(&payload, run.id).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidJob);
    }
}

#[test]
fn a_value_that_is_too_long_becomes_a_failure_of_its_own_kind() {
    for codec in codecs(400) {
        let (word, data) = codec.encode_outcome(&Outcome::Succeeded(json!("x".repeat(401))));
        let Outcome::Failed(error) = codec.decode_outcome(word, data.as_deref()).unwrap() else {
            panic!("it failed")
        };
        assert_eq!(*error.kind(), TaskErrorKind::Other("result_too_long".to_owned()));
        let (word, data) = codec.encode_outcome(&Outcome::Succeeded(json!("x".repeat(300))));
        assert!(codec.decode_outcome(word, data.as_deref()).unwrap().is_success());
    }
}

#[test]
fn a_history_that_is_too_long_loses_its_oldest_attempts() {
    let attempt = |number| Attempt { attempt: number, ..plain_attempt(Outcome::Abandoned("x".repeat(100))) };
    let history: Vec<Attempt> = (1..=50).map(attempt).collect();
    for codec in codecs(1_000) {
        let data = codec.encode_history(&history);
        assert!(data.len() <= 1_000, "{} bytes", data.len());
        let read = codec.decode_history(&data).unwrap();
        assert!((2..50).contains(&read.len()), "{} attempts", read.len());
        assert_eq!(read, history[50 - read.len()..]);
    }
    for codec in codecs(20) {
        assert!(codec.decode_history(&codec.encode_history(&history)).unwrap().is_empty());
    }
}

#[test]
fn a_newer_version_is_refused_and_says_so() {
    for codec in all_codecs() {
        let newer = |payload: Vec<u8>| {
            let at =
                payload.windows(7).position(|window| window == b"version").expect("it has a version") + 7;
            let at = at + payload[at..].iter().position(|byte| [1, b'1'].contains(byte)).unwrap();
            let mut newer = payload;
            newer[at] += 1;
            newer
        };
        let payload = newer(codec.encode_job(&plain_job("a", json!([]))).unwrap());
        let refused = codec.decode_job(&payload, "a", Cursor::default(), &context()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
        assert!(refused.to_string().contains("version 2"), "{refused}");
    }
    let refused = decode_run(&Codec::default(), br#"{"version":2}"#, &plain_run(json!([]))).unwrap_err();
    assert!(refused.to_string().contains("version 2"), "{refused}");
    assert!(
        decode_run(&Codec::default(), b"{}", &plain_run(json!([]))).is_ok(),
        "the version may be left out"
    );
}

/// Deep nesting that a stranger wrote is refused; it does not use up the stack.
#[test]
fn a_depth_bomb_is_refused() {
    for depth in [1_000, 100_000, 1_000_000] {
        let open = |prefix: &[u8], byte: u8| [prefix, &vec![byte; depth]].concat();
        let bombs = [
            open(b"", b'['),
            open(b"{\"arguments\":{\"args\":", b'['),
            open(b"", b'{'),
            open(b"\xd9\xd9\xf7", 0x81),
            open(b"\xd9\xd9\xf7", 0xc6),
            open(b"\xd9\xd9\xf7\xa1\x69arguments\xa1\x64args", 0x81),
        ];
        let codec = Codec::new(PayloadFormat::Json, usize::MAX);
        for bomb in &bombs {
            decode_as_all(&codec, bomb);
            let refused = codec.decode_history(bomb).map(|_| ()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt);
            let refused = decode_run(&codec, bomb, &plain_run(json!([]))).map(|_| ()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt);
        }
    }
}

/// Lengths that were never written do not use up the memory.
#[cfg(feature = "cbor")]
#[test]
fn a_length_bomb_is_refused() {
    for head in [0x5b_u8, 0x7b, 0x9b, 0xbb] {
        let bomb = [&[0xd9, 0xd9, 0xf7, head][..], &[0x7f; 8], b"abc"].concat();
        decode_as_all(&Codec::default(), &bomb);
        assert!(Codec::default().decode_history(&bomb).is_err());
    }
}

#[test]
fn a_closure_is_refused() {
    let closure = TaskRef::Bound(Arc::new(Task::new("closure", |_, _| ()).unregistered()));
    let job = plain_job("a", json!([]));
    let spec = JobSpec { task: closure.clone(), ..JobSpec::clone(&job.spec) };
    let job = Job { spec: Arc::new(spec), ..job };
    let run = QueuedRun { call: Call { task: closure, args: Args::default() }, ..plain_run(json!([])) };
    for codec in all_codecs() {
        assert_eq!(codec.encode_job(&job).unwrap_err().kind(), ErrorKind::InvalidJob);
        assert_eq!(codec.encode_run(&run).unwrap_err().kind(), ErrorKind::InvalidJob);
    }
}

#[test]
fn the_payload_of_another_job_is_refused() {
    for codec in all_codecs() {
        let payload = codec.encode_job(&plain_job("a", json!([]))).unwrap();
        let refused = codec.decode_job(&payload, "b", Cursor::default(), &context()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_word_is_a_format_or_an_error_that_names_the_words() {
    assert_eq!(PayloadFormat::from_word("json").unwrap(), PayloadFormat::Json);
    assert_eq!(PayloadFormat::from_word("cbor").is_ok(), cfg!(feature = "cbor"));
    let error = PayloadFormat::from_word("pickle").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("json, cbor"), "{error}");
}

/// Rows that other versions have written stay readable.
#[test]
fn the_written_form_of_a_run_and_an_outcome_is_stable() {
    let codec = Codec::default();
    let run = plain_run(json!(["x", 1]));
    assert_eq!(codec.encode_run(&run).unwrap(), br#"{"arguments":{"args":["x",1]}}"#);
    let failed = Outcome::Failed(TaskError::new("no").with_kind(TaskErrorKind::Other("quota".to_owned())));
    let (word, data) = codec.encode_outcome(&failed);
    assert_eq!((word, data.unwrap()), ("failed", br#"{"kind":"other: quota","message":"no"}"#.to_vec()));
    let (word, data) = codec.encode_outcome(&Outcome::Missed(MissReason::NoTask("x".to_owned())));
    assert_eq!((word, data.unwrap()), ("missed", br#"{"no_task":"x"}"#.to_vec()));
}
