//! What `#[scheduled]` declares: the job, its trigger, its arguments.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use chrono::DateTime;
use sched_core::{Registry, Scheduler};
use sched_macros::scheduled;
use sched_triggers as _;
use serde_json::{Value, json};

#[scheduled(crate = "sched_core", cron = "0 9 * * mon-fri", timezone = "Europe/Berlin")]
fn crontab() {}

#[scheduled(crate = "sched_core", cron = "@daily", max_instances = 2, jitter = "5s", name = "jobs.macro")]
fn crontab_macro() {}

#[scheduled(crate = "sched_core", id = "my_job_id", cron(day = "last sun", hour = 3, timezone = "UTC"))]
fn fields() {}

#[scheduled(crate = "sched_core", every = "5m", args = ["ops", 10])]
fn every(to: String, rows: u32) -> usize {
    to.len() + usize::try_from(rows).unwrap_or_default()
}

#[scheduled(crate = "sched_core", interval = 1.5, args = { rows = 3 })]
async fn interval(_run: &sched_core::RunContext, rows: u32, note: Option<String>) -> String {
    format!("{rows} {note:?}")
}

#[scheduled(crate = "sched_core", interval(hours = 2, start_date = "2026-01-01"), timezone = "UTC")]
fn units() {}

#[scheduled(crate = "sched_core", at = "2150-12-24 18:00:00", timezone = "UTC", retain = "finished")]
fn once() {}

#[scheduled(crate = "sched_core", calendarinterval(months = 1, hour = 9, start_date = "2026-01-31"))]
fn calendar() {}

#[scheduled(
    crate = "sched_core",
    trigger = { type = "or", triggers = [{ type = "cron", hour = 3 }, { "type": "interval", "minutes": 7 }] }
)]
fn any() {}

fn definition(id: &str) -> Value {
    let scheduler = Scheduler::new().unwrap();
    let declared = scheduler.add_declared_jobs().unwrap();
    let job = declared.iter().find(|job| job.id().as_str() == id).unwrap();
    let mut definition = sched_core::trigger_definition(&*job.trigger);
    if let Some(map) = definition.as_object_mut() {
        map.remove("timezone");
    }
    definition
}

#[test]
fn every_declared_job_can_be_added() {
    let scheduler = Scheduler::new().unwrap();
    let mut jobs = scheduler.add_declared_jobs().unwrap();
    jobs.sort_by(|left, right| left.id().cmp(right.id()));
    let ids: Vec<&str> = jobs.iter().map(|job| job.id().as_str()).collect();
    let expected =
        ["any", "calendar", "crontab", "every", "interval", "jobs.macro", "my_job_id", "once", "units"];
    assert_eq!(ids, expected);
    assert_eq!(scheduler.add_declared_jobs().unwrap().len(), 9, "each replaces the one of its id");
    assert_eq!(scheduler.get_jobs(None).unwrap().len(), 9);
}

#[test]
fn triggers_are_given_in_their_configuration_form() {
    assert_eq!(definition("crontab"), json!({ "type": "crontab", "expr": "0 9 * * mon-fri" }));
    assert_eq!(definition("my_job_id"), json!({ "type": "cron", "day": "last sun", "hour": "3" }));
    assert_eq!(definition("once")["type"], json!("date"));
    assert_eq!(definition("calendar")["months"], json!(1));
    assert_eq!(definition("any")["type"], json!("or"));
    assert_eq!(definition("units")["type"], json!("interval"));
}

#[test]
fn durations_become_intervals() {
    let scheduler = Scheduler::new().unwrap();
    scheduler.add_declared_jobs().unwrap();
    for (id, millis) in [("every", 300_000), ("interval", 1_500), ("units", 7_200_000)] {
        let job = scheduler.get_job(id).unwrap().unwrap();
        let first = job.trigger.next_fire_time(None, "2026-06-01T00:00:00Z".parse().unwrap()).unwrap();
        let second = job.trigger.next_fire_time(first, DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            second.zip(first).map(|(second, first)| (second - first).num_milliseconds()),
            Some(millis),
            "{id}"
        );
    }
}

#[test]
fn the_zone_of_the_attribute_is_the_zone_of_the_trigger() {
    let scheduler = Scheduler::new().unwrap();
    scheduler.add_declared_jobs().unwrap();
    let zone = |id: &str| scheduler.get_job(id).unwrap().unwrap().trigger.timezone();
    assert_eq!(zone("crontab"), chrono_tz::Tz::Europe__Berlin);
    assert_eq!(zone("my_job_id"), chrono_tz::Tz::UTC);
}

#[test]
fn arguments_and_options_reach_the_job() {
    let scheduler = Scheduler::new().unwrap();
    scheduler.add_declared_jobs().unwrap();
    let job = |id: &str| scheduler.get_job(id).unwrap().unwrap();
    assert_eq!(job("every").args.positional(), [json!("ops"), json!(10)]);
    assert_eq!(job("interval").args.named(), json!({ "rows": 3 }).as_object());
    assert_eq!(job("jobs.macro").options.max_instances, 2);
    assert_eq!(job("jobs.macro").options.jitter, Some(Duration::from_secs(5)));
    assert_eq!(job("jobs.macro").task.name(), "jobs.macro");
}

#[test]
fn a_declared_function_is_a_task_like_any_other() {
    assert_eq!(every("ops".to_owned(), 1), 4);
    assert!(Registry::linked().unwrap().task("every").is_ok());
    let job = every::job("x".to_owned(), 1).id("another");
    assert!(Scheduler::new().unwrap().add_job(job).is_ok());
}
