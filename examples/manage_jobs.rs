//! Everything that can be done to a job that exists: pause, resume, modify, reschedule, remove, export.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;
use serde_json::json;

#[task]
fn work() {
    println!("working");
}

fn main() -> Result<(), sched::Error> {
    let scheduler = BackgroundScheduler::new()?;
    scheduler.start()?;

    // What `add_job` answers is a snapshot of the job, with the calls that change the real one.
    let job = scheduler.add_job(work::job().every(Duration::from_secs(120)).id("my_job_id"))?;
    show("added", &job);
    show("paused", &job.pause()?);
    match job.resume()? {
        Some(job) => show("resumed", &job),
        None => println!("its schedule had ended, so it was removed"),
    }

    // The same calls on the scheduler take the job's id.
    let changes = JobChanges::new().max_instances(6).name("Alternate name");
    show("modified", &scheduler.modify_job("my_job_id", changes)?);
    let every_five_minutes = json!({ "type": "cron", "minute": "*/5" });
    show("rescheduled", &scheduler.reschedule_job("my_job_id", every_five_minutes)?);
    show("rescheduled", &job.reschedule(CronTrigger::builder().hour("9-17").minute(0))?);

    // An id that exists is an error, unless the job says what to do. An unchanged trigger keeps its next fire time.
    let again = || work::job().trigger(CronTrigger::builder().hour("9-17").minute(0)).id("my_job_id");
    println!("added again   {:?}", scheduler.add_job(again()).err());
    show("replaced", &scheduler.add_job(again().replace_existing())?);
    // So is a schedule that is over before it begins.
    let long_ago = json!({ "type": "interval", "hours": 1, "end_date": "2001-01-01" });
    println!("never fires   {:?}", scheduler.add_job(work::job().trigger(long_ago)).err());

    let mut exported = Vec::new();
    scheduler.export_jobs(&mut exported, None)?;
    scheduler.remove_job("my_job_id")?;
    println!("removed       {:?}", scheduler.get_job("my_job_id")?);
    println!("imported      {} job", scheduler.import_jobs(exported.as_slice(), "default")?);

    // The whole scheduler pauses and resumes, too. A job without a trigger runs once, as soon as it may.
    scheduler.pause()?;
    let ends = scheduler.subscribe(EVENT_JOB_EXECUTED);
    scheduler.add_job(work::job().id("now"))?;
    scheduler.print_jobs(None, std::io::stdout())?;
    scheduler.resume()?;
    scheduler.wakeup();
    ends.next_within(Duration::from_secs(10));

    scheduler.remove_all_jobs(None)?;
    scheduler.shutdown(true)
}

fn show(what: &str, job: &JobHandle) {
    println!("{what:<13} {job}");
}
