//! A cron schedule in plain English.
//!
//! It says what fires, from the compiled sets, so that two spellings of one schedule read the same. It does not
//! translate expressions word for word.

use super::field::{FIRST_YEAR, LAST_YEAR, Selection, Years};
use super::schedule::{Days, Times, bits};
use super::{CronTrigger, Plan};
use crate::words;

const MONTH_NAMES: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAY_NAMES: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Most times of day that are listed one by one.
const LISTED_TIMES: u32 = 4;

/// "at 09:00 on weekdays, Europe/Berlin".
pub(super) fn describe(trigger: &CronTrigger) -> String {
    let options = &trigger.options;
    let mut text = match &trigger.plan {
        Plan::Reboot => return "once, when it is added".to_owned(),
        Plan::Schedule(schedule) => {
            let (years, months, days, times) = schedule.parts();
            let parts =
                [Some(time_words(times)), day_words(days, times), month_words(months), year_words(years)];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    };
    text.push_str(options.business.as_ref().map_or("", |business| business.words()));
    text.push_str(&words::bounds(options.start, options.end, options.timezone));
    text.push_str(", ");
    text.push_str(options.timezone.name());
    text
}

fn time_words(times: &Times) -> String {
    let (hours, minutes, seconds) = (times.hours, times.minutes, times.seconds);
    let count = hours.count_ones() * minutes.count_ones() * seconds.count_ones();
    if count <= LISTED_TIMES {
        let listed = bits(hours).flat_map(|hour| {
            bits(minutes).flat_map(move |minute| bits(seconds).map(move |second| clock(hour, minute, second)))
        });
        return format!("at {}", words::list(listed.collect()));
    }
    let mut text = match (cycle(seconds, 60), cycle(minutes, 60)) {
        (Some(second), Some(1)) if second < 60 && seconds != 1 => words::every(second, "second"),
        (_, Some(step)) if seconds == 1 => words::every(step, "minute"),
        _ if seconds == 1 && minutes == 1 => return hours_alone(hours),
        _ if seconds == 1 => format!("at minute {}", numbers(minutes, 60)),
        (_, Some(1)) => format!("at second {} of every minute", numbers(seconds, 60)),
        _ => format!("at second {} of minute {}", numbers(seconds, 60), numbers(minutes, 60)),
    };
    if cycle(hours, 24) == Some(1) {
        if cycle(minutes, 60).is_none() {
            text.push_str(" of every hour");
        }
    } else {
        text.push_str(&format!(" of hour {}", numbers(hours, 24)));
    }
    text
}

fn hours_alone(hours: u64) -> String {
    match cycle(hours, 24) {
        Some(step) => words::every(step, "hour"),
        None => format!("on the hour at {}", numbers(hours, 24)),
    }
}

fn day_words(days: &Days, times: &Times) -> Option<String> {
    let weeks = days.weeks.map(|weeks| format!("in week {}", numbers(weeks, 64)));
    let day = (!days.day.every).then(|| day_list(&days.day));
    let weekday = (!days.weekday.every).then(|| weekday_list(&days.weekday));
    let joined = match (day, weekday) {
        (Some(day), Some(weekday)) if days.either => Some(format!("{day} or {weekday}")),
        (Some(day), Some(weekday)) => Some(format!("{day} if {weekday}")),
        (Some(only), None) | (None, Some(only)) => Some(only),
        (None, None) if weeks.is_some() || times.hours.count_ones() > 1 => None,
        (None, None) if times.minutes.count_ones() > 1 || times.seconds.count_ones() > 1 => None,
        (None, None) => Some("every day".to_owned()),
    };
    match (joined, weeks) {
        (Some(days), Some(weeks)) => Some(format!("{days} {weeks}")),
        (only, None) | (None, only) => only,
    }
}

fn day_list(selection: &Selection) -> String {
    let mut parts: Vec<String> = match selection.bits {
        0 => Vec::new(),
        set => vec![format!("day {}", numbers(set, 32))],
    };
    for back in bits(u64::from(selection.from_last)) {
        parts.push(match back {
            0 => "the last day".to_owned(),
            1 => "the day before the last".to_owned(),
            _ => format!("{back} days before the last day"),
        });
    }
    parts.extend(
        bits(u64::from(selection.nearest)).map(|day| format!("the working day nearest to day {day}")),
    );
    if selection.last_working {
        parts.push("the last working day".to_owned());
    }
    parts.extend(positions(selection));
    format!("on {} of the month", words::list(parts))
}

fn positions(selection: &Selection) -> Vec<String> {
    let ordinal = ["last", "1st", "2nd", "3rd", "4th", "5th"];
    let mut parts = Vec::new();
    for (weekdays, ordinal) in selection.nth.iter().zip(ordinal) {
        parts.extend(
            bits(u64::from(*weekdays)).map(|day| format!("the {ordinal} {}", named(&WEEKDAY_NAMES, day))),
        );
    }
    parts
}

fn weekday_list(selection: &Selection) -> String {
    let positions = positions(selection);
    if !positions.is_empty() {
        return format!("on {} of the month", words::list(positions));
    }
    match selection.bits {
        0b001_1111 => "on weekdays".to_owned(),
        0b110_0000 => "on weekends".to_owned(),
        0b111_1111 => "on any weekday".to_owned(),
        set => format!("on {}", ranges(set, |index| named(&WEEKDAY_NAMES, index))),
    }
}

fn month_words(months: u64) -> Option<String> {
    (months.count_ones() < 12)
        .then(|| format!("in {}", ranges(months >> 1, |index| named(&MONTH_NAMES, index))))
}

fn year_words(years: Option<&Years>) -> Option<String> {
    let years: Vec<u32> = years?.iter().collect();
    match (years.first(), years.last()) {
        (Some(&first), Some(&last)) if years.len() > 4 => {
            let step = years[1] - first;
            let even = years.windows(2).all(|pair| pair[1] - pair[0] == step);
            let every = if step == 1 { String::new() } else { format!("every {step} years ") };
            match (even, first == FIRST_YEAR, last > LAST_YEAR - step) {
                (false, ..) => Some(format!("in {} of the years {first} to {last}", years.len())),
                (true, true, true) => Some(every.trim_end().to_owned()).filter(|text| !text.is_empty()),
                (true, false, true) => Some(format!("{every}from {first} on")),
                (true, ..) => Some(format!("{every}from {first} to {last}")),
            }
        }
        _ => Some(format!("in {}", words::list(years.iter().map(u32::to_string).collect()))),
    }
}

fn named(names: &[&str], index: u32) -> String {
    usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index))
        .map(|name| (*name).to_owned())
        .unwrap_or_default()
}

/// The step of a set that runs evenly from 0 to the end of its cycle.
fn cycle(set: u64, length: u32) -> Option<u32> {
    let step = bits(set).nth(1)?;
    let even = length.is_multiple_of(step)
        && set == (0..length / step).fold(0, |all, index| all | 1 << (index * step));
    even.then_some(step)
}

/// "0, 15 and 30", "9 to 17", "0 to 50 in steps of 10".
fn numbers(set: u64, length: u32) -> String {
    let all: Vec<u32> = bits(set).filter(|bit| *bit < length).collect();
    if let [first, second, .., last] = all[..] {
        let step = second - first;
        if all.windows(2).all(|pair| pair[1] - pair[0] == step) && (step == 1 || all.len() > 4) {
            let steps = if step == 1 { String::new() } else { format!(" in steps of {step}") };
            return format!("{first} to {last}{steps}");
        }
    }
    ranges(set, |bit| bit.to_string())
}

/// Names every run of a set: "Monday, Wednesday to Friday".
fn ranges(set: u64, name: impl Fn(u32) -> String) -> String {
    let mut parts = Vec::new();
    let mut rest = bits(set).peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while rest.peek() == Some(&(last + 1)) {
            last += 1;
            rest.next();
        }
        match last - first {
            0 => parts.push(name(first)),
            1 => parts.extend([name(first), name(last)]),
            _ => parts.push(format!("{} to {}", name(first), name(last))),
        }
    }
    words::list(parts)
}

fn clock(hour: u32, minute: u32, second: u32) -> String {
    match second {
        0 => format!("{hour:02}:{minute:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}"),
    }
}
