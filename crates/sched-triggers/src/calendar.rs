//! The calendar interval trigger: every so many years, months, weeks or days, at a time of day.
//!
//! It counts on the calendar, where [`interval`](crate::interval) counts elapsed time. It never adds hours.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use sched_core::{ANCHOR_KEY, Error, ErrorKind, Factory, Plugin, Section, Trigger};
use serde_json::Value;

use crate::config::{self, Form};
use crate::holidays::BusinessDays;
use crate::options::Choice;
use crate::zone::resolve;
use crate::{Gap, Holidays, Overlap, Roll, moment, words};

/// The plug-in `calendarinterval`.
pub(crate) const CALENDAR_INTERVAL: Plugin = Plugin {
    aliases: &["calendarinterval"],
    summary: "every so many years, months, weeks or days, at a time of day",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build),
};

/// Largest count of one unit.
const MOST: i64 = 1_000_000;

/// Fires every so many years, months, weeks and days, at a time of day.
///
/// # Guarantees
/// 1. Years and months keep the day of the month; where it does not exist they are added again: monthly from 31
///    January goes on with 31 March. Weeks and days are added after that.
/// 2. Dates are counted from the start date, which is the first; without one, from the day the job was added, in
///    the trigger's zone.
/// 3. A date on which the time of day is skipped by the clocks is left out, and a time that comes twice counts
///    once, the first time; [`Gap`] and [`Overlap`] change that.
/// 4. The end date is inclusive.
///
/// **Source**: APScheduler 3.11 manual, "CalendarIntervalTrigger".
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use sched_core::Trigger;
/// use sched_triggers::CalendarIntervalTrigger;
///
/// let start = "2026-01-31".parse().unwrap();
/// let trigger = CalendarIntervalTrigger::builder().months(1).at(9, 0, 0).start(start).build()?;
/// let now = "2026-02-01T00:00:00Z".parse().unwrap();
/// assert_eq!(trigger.next_fire_time(None, now)?.unwrap().to_rfc3339(), "2026-03-31T09:00:00+00:00");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarIntervalTrigger {
    step: Step,
    time: NaiveTime,
    start: Option<NaiveDate>,
    end: Option<NaiveDate>,
    anchor: Option<DateTime<Utc>>,
    timezone: Tz,
    gap: Gap,
    overlap: Overlap,
    business: Option<BusinessDays>,
    jitter: Option<Duration>,
    reached: Reached,
}

/// The units as the user gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Step {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
}

impl Step {
    fn total_months(self) -> u32 {
        self.years.saturating_mul(12).saturating_add(self.months)
    }

    fn total_days(self) -> TimeDelta {
        TimeDelta::days(i64::from(self.weeks) * 7 + i64::from(self.days))
    }

    /// The date one step later, unless it lies past the year 9999.
    fn after(self, date: NaiveDate) -> Option<NaiveDate> {
        let date = match self.total_months() {
            0 => date,
            months => {
                (1..).map_while(|count| month_later(date, months.checked_mul(count)?)).flatten().next()?
            }
        };
        date.checked_add_signed(self.total_days()).filter(|date| date.year() <= 9999)
    }

    /// Whether a date of the series can be told without those before it.
    fn has_closed_form(self) -> bool {
        self.total_months() == 0 || self.total_days().is_zero()
    }

    /// The latest date of a series with a closed form that is not after `target`, or its first.
    fn skip_to(self, origin: NaiveDate, target: NaiveDate) -> NaiveDate {
        if target <= origin {
            return origin;
        }
        let (months, days) = (self.total_months(), self.total_days().num_days());
        if months == 0 {
            let behind = target.signed_duration_since(origin).num_days();
            return origin.checked_add_signed(TimeDelta::days(behind / days * days)).unwrap_or(origin);
        }
        let index = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
        let steps = u32::try_from((index(target) - index(origin)).max(0)).unwrap_or(0) / months;
        // The latest step before the target whose month has the day; the origin itself has it.
        let before = (0..=steps).rev().filter_map(|steps| month_later(origin, months * steps).flatten());
        before.into_iter().find(|date| *date <= target).unwrap_or(origin)
    }
}

/// A date of the series that was reached before. Where months and days are mixed the series has no closed form;
/// this saves walking it from its start each time. It is no part of the rule.
#[derive(Debug, Default)]
struct Reached(AtomicI32);

impl Reached {
    fn before(&self, target: NaiveDate) -> Option<NaiveDate> {
        NaiveDate::from_num_days_from_ce_opt(self.0.load(Ordering::Relaxed)).filter(|date| *date <= target)
    }

    fn keep(&self, date: NaiveDate) {
        self.0.store(date.num_days_from_ce(), Ordering::Relaxed);
    }
}

impl Clone for Reached {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Reached {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Reached {}

/// The same day so many months later: `None` past the year 9999, `Some(None)` where the month is too short.
fn month_later(date: NaiveDate, months: u32) -> Option<Option<NaiveDate>> {
    let later = date.checked_add_months(Months::new(months)).filter(|later| later.year() <= 9999)?;
    Some(Some(later).filter(|later| later.day() == date.day()))
}

impl CalendarIntervalTrigger {
    /// Starts a calendar interval.
    pub fn builder() -> CalendarIntervalBuilder {
        CalendarIntervalBuilder::default()
    }

    /// The date the series is counted from.
    fn origin(&self, now: DateTime<Utc>) -> NaiveDate {
        let local = |time: DateTime<Utc>| time.with_timezone(&self.timezone).date_naive();
        self.start.unwrap_or_else(|| local(self.anchor.unwrap_or(now)))
    }

    fn times_on(&self, date: NaiveDate) -> [Option<DateTime<Utc>>; 2] {
        resolve(date.and_time(self.time), self.timezone, self.gap, self.overlap)
    }

    /// The latest date of the series not after `target`, or its first.
    fn latest_before(&self, origin: NaiveDate, target: NaiveDate) -> NaiveDate {
        if self.step.has_closed_form() {
            return self.step.skip_to(origin, target);
        }
        let fixed = self.start.is_some() || self.anchor.is_some();
        let known = self.reached.before(target).filter(|known| fixed && *known > origin);
        let mut date = known.unwrap_or(origin);
        while let Some(next) = self.step.after(date).filter(|next| *next <= target) {
            date = next;
        }
        self.reached.keep(date);
        date
    }

    /// The first fire time that `fits`, a test that holds for all instants from some moment on.
    fn search(
        &self,
        origin: NaiveDate,
        around: DateTime<Utc>,
        fits: impl Fn(DateTime<Utc>) -> bool,
    ) -> Option<DateTime<Utc>> {
        let local = around.with_timezone(&self.timezone).date_naive();
        let target = local.checked_sub_signed(TimeDelta::days(2)).unwrap_or(origin);
        let target = self.business.as_ref().map_or(target, |business| business.start_of_run(target));
        let mut date = self.latest_before(origin, target);
        loop {
            if self.end.is_some_and(|end| date > end) {
                return None;
            }
            let day = match &self.business {
                Some(business) => business.rolled_date(date),
                None => Some(date),
            };
            let times = day.map_or([None, None], |day| self.times_on(day));
            if let Some(time) = times.into_iter().flatten().find(|time| fits(*time)) {
                return Some(time).filter(|time| moment::is_in_range(*time));
            }
            date = self.step.after(date)?;
        }
    }
}

impl Trigger for CalendarIntervalTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(match previous {
            Some(previous) => self.search(self.origin(previous), previous, |time| time > previous),
            None => self.search(self.origin(now), now, |time| time >= now),
        })
    }

    fn alias(&self) -> &str {
        "calendarinterval"
    }

    fn to_config(&self) -> Value {
        let mut form = Form::new("calendarinterval");
        let Step { years, months, weeks, days } = self.step;
        let time =
            [("hour", self.time.hour()), ("minute", self.time.minute()), ("second", self.time.second())];
        let units = [("years", years), ("months", months), ("weeks", weeks), ("days", days)];
        for (key, count) in units.into_iter().chain(time) {
            form.put_some(key, Some(count).filter(|count| *count > 0));
        }
        form.put_some("start_date", self.start.map(|date| date.to_string()));
        form.put_some("end_date", self.end.map(|date| date.to_string()));
        form.put_time(ANCHOR_KEY, self.anchor);
        form.put_some("gap", (self.gap != Gap::Skip).then(|| self.gap.name()));
        form.put_some("overlap", (self.overlap != Overlap::First).then(|| self.overlap.name()));
        if let Some(business) = &self.business {
            business.write(&mut form);
        }
        form.put_duration("jitter", self.jitter);
        form.put("timezone", self.timezone.name());
        form.done()
    }

    fn timezone(&self) -> Tz {
        self.timezone
    }

    fn jitter(&self) -> Option<Duration> {
        self.jitter
    }

    fn anchored(&self, at: DateTime<Utc>) -> Option<Arc<dyn Trigger>> {
        if self.start.is_some() || self.anchor.is_some() {
            return None;
        }
        Some(Arc::new(Self { anchor: Some(moment::whole(at)), ..self.clone() }))
    }

    fn describe(&self) -> String {
        let Step { years, months, weeks, days } = self.step;
        let units = [(years, "year"), (months, "month"), (weeks, "week"), (days, "day")];
        let given: Vec<_> = units.into_iter().filter(|(count, _)| *count > 0).collect();
        let every = match given[..] {
            [(count, unit)] => words::every(count, unit),
            _ => {
                let plural = |count| if count == 1 { "" } else { "s" };
                let parts = given.iter().map(|(count, unit)| format!("{count} {unit}{}", plural(*count)));
                format!("every {}", words::list(parts.collect()))
            }
        };
        let from = self.start.map(|date| format!(", from {date}")).unwrap_or_default();
        let until = self.end.map(|date| format!(", until {date}")).unwrap_or_default();
        let time =
            if self.time.second() == 0 { self.time.format("%H:%M") } else { self.time.format("%H:%M:%S") };
        let business = self.business.as_ref().map_or("", BusinessDays::words);
        format!("{every} at {time}{business}{from}{until}, {}", self.timezone)
    }

    fn is_quick(&self) -> bool {
        true
    }
}

impl fmt::Display for CalendarIntervalTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        config::display(&self.to_config(), f)
    }
}

/// Builds a [`CalendarIntervalTrigger`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct CalendarIntervalBuilder {
    step: Step,
    time: (u32, u32, u32),
    start: Option<NaiveDate>,
    end: Option<NaiveDate>,
    anchor: Option<DateTime<Utc>>,
    timezone: Option<Tz>,
    gap: Gap,
    overlap: Option<Overlap>,
    business: Option<BusinessDays>,
    jitter: Option<Duration>,
}

impl CalendarIntervalBuilder {
    /// Years between fires.
    pub fn years(mut self, years: u32) -> Self {
        self.step.years = years;
        self
    }

    /// Months between fires, besides the years.
    pub fn months(mut self, months: u32) -> Self {
        self.step.months = months;
        self
    }

    /// Weeks between fires, besides the months.
    pub fn weeks(mut self, weeks: u32) -> Self {
        self.step.weeks = weeks;
        self
    }

    /// Days between fires, besides the weeks.
    pub fn days(mut self, days: u32) -> Self {
        self.step.days = days;
        self
    }

    /// The time of day; midnight when not given.
    pub fn at(mut self, hour: u32, minute: u32, second: u32) -> Self {
        self.time = (hour, minute, second);
        self
    }

    /// The first date, from which all others are counted.
    pub fn start(mut self, start: NaiveDate) -> Self {
        self.start = Some(start);
        self
    }

    /// The last date on which it may fire.
    pub fn end(mut self, end: NaiveDate) -> Self {
        self.end = Some(end);
        self
    }

    /// The zone of dates and time. UTC when not given.
    pub fn timezone(mut self, timezone: Tz) -> Self {
        self.timezone = Some(timezone);
        self
    }

    /// What happens on a date whose time of day the clocks skip.
    pub fn gap(mut self, gap: Gap) -> Self {
        self.gap = gap;
        self
    }

    /// What happens on a date whose time of day comes twice.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = Some(overlap);
        self
    }

    /// Nothing fires on `holidays`; `roll` says what becomes of what would. Start and end stay dates of the series,
    /// before anything is moved.
    pub fn holidays(mut self, holidays: Holidays, roll: Roll) -> Self {
        self.business = Some(BusinessDays { holidays, roll });
        self
    }

    /// Jitter for jobs that have none of their own.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = Some(config::whole_micros(jitter)).filter(|jitter| !jitter.is_zero());
        self
    }

    /// **Errors**: [`InvalidTrigger`](ErrorKind::InvalidTrigger) when no unit is given, a unit exceeds a million, the
    /// time does not exist, or the end lies before the start.
    pub fn build(self) -> Result<CalendarIntervalTrigger, Error> {
        let invalid = |message: &str| Error::new(ErrorKind::InvalidTrigger, message);
        let Step { years, months, weeks, days } = self.step;
        if self.step == Step::default() {
            return Err(invalid(
                "the interval must be at least one day long: give years, months, weeks or days",
            ));
        }
        if [years, months, weeks, days].iter().any(|count| i64::from(*count) > MOST) {
            return Err(invalid("a unit of the interval is too large, expected at most 1000000"));
        }
        let (hour, minute, second) = self.time;
        let time =
            NaiveTime::from_hms_opt(hour, minute, second).ok_or_else(|| invalid("no such time of day"))?;
        if self.start.zip(self.end).is_some_and(|(start, end)| end < start) {
            return Err(invalid("the end date lies before the start date"));
        }
        Ok(CalendarIntervalTrigger {
            step: self.step,
            time,
            start: self.start,
            end: self.end,
            anchor: self.anchor,
            timezone: self.timezone.unwrap_or(Tz::UTC),
            gap: self.gap,
            overlap: self.overlap.unwrap_or(Overlap::First),
            business: self.business,
            reached: Reached::default(),
            jitter: self.jitter,
        })
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let timezone = config::timezone(section);
    let mut number =
        |key, most| section.integer_in(key, 0, most).and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
    let builder = CalendarIntervalBuilder {
        step: Step {
            years: number("years", MOST),
            months: number("months", MOST),
            weeks: number("weeks", MOST),
            days: number("days", MOST),
        },
        time: (number("hour", 23), number("minute", 59), number("second", 59)),
        start: config::date(section, "start_date"),
        end: config::date(section, "end_date"),
        anchor: config::instant(section, ANCHOR_KEY, timezone),
        timezone: Some(timezone),
        gap: config::choice(section, "gap").unwrap_or_default(),
        overlap: config::choice(section, "overlap"),
        business: BusinessDays::read(section),
        jitter: config::jitter(section),
    };
    if section.is_faulty() {
        return config::refused();
    }
    config::finish(section, builder.build())
}
