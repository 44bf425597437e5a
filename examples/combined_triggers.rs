//! Triggers made of triggers, in code and in a configuration, and a look at when they fire.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::sync::Arc;

use sched::Trigger;
use sched::prelude::*;
use serde_json::json;

fn main() -> Result<(), sched::Error> {
    let scheduler = BackgroundScheduler::from_config(json!({ "timezone": "Europe/Berlin" }))?;
    let zone = scheduler.timezone();

    // Weekdays at 10:00, weekends at 11:00.
    let weekdays = CronTrigger::builder().day_of_week("mon-fri").hour(10).timezone(zone).build()?;
    let weekends = CronTrigger::builder().day_of_week("sat,sun").hour(11).timezone(zone).build()?;
    let mornings = OrTrigger::new(vec![Arc::new(weekdays.clone()), Arc::new(weekends)])?;
    show(&scheduler, "mornings", &mornings)?;

    // Every two months at 10:00, but not on a weekend.
    let two_months = CalendarIntervalTrigger::builder().months(2).at(10, 0, 0).timezone(zone).build()?;
    let working = AndTrigger::new(vec![Arc::new(two_months), Arc::new(weekdays)])?;
    show(&scheduler, "working days", &working)?;

    // The same as data. Without a zone of its own, a trigger from a configuration lives in the scheduler's.
    let config = json!({ "type": "or", "triggers": [
        { "type": "cron", "day_of_week": "mon-fri", "hour": 10 },
        { "type": "cron", "day_of_week": "sat,sun", "hour": 11 },
    ]});
    scheduler.add_job(Job::call(|| println!("good morning")).trigger(mornings).id("in-code"))?;
    scheduler.add_job(Job::call(|| println!("good morning")).trigger(config).id("as-data"))?;
    scheduler.add_job(Job::call(|| println!("two months on")).trigger(working).id("two-months"))?;

    scheduler.start()?;
    let next = |id: &str| scheduler.get_job(id).map(|job| job.and_then(|job| job.next_fire_time()));
    assert_eq!(next("in-code")?, next("as-data")?);
    println!("next good morning: {:?}", next("as-data")?);
    scheduler.shutdown(true)
}

/// Prints the next fire times of a trigger; nothing is scheduled.
fn show(scheduler: &Scheduler, name: &str, trigger: &dyn Trigger) -> Result<(), sched::Error> {
    println!("{name}: {}", trigger.describe());
    for fire in preview(trigger, None, scheduler.clock().now(), 4)?.fires {
        println!("    {}", fire.with_timezone(&scheduler.timezone()).format("%a %Y-%m-%d %H:%M %Z"));
    }
    Ok(())
}
