//! Builds a cron trigger field by field.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::{Error, ErrorKind};

use super::fault::CronFault;
use super::field::{Field, Selection};
use super::{CronTrigger, Options, Plan, Source, item, text};
use crate::config::whole_micros;
use crate::holidays::BusinessDays;
use crate::{Dialect, Gap, Holidays, Overlap, Roll};

/// Builds a [`CronTrigger`]; see [`CronTrigger::builder`].
///
/// A field that is left out is `*` when a less significant one is given, and its least value otherwise: `hour("9")`
/// alone is every day at 09:00:00. Week and day of week are always `*` when left out.
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use sched_triggers::CronTrigger;
///
/// let berlin = chrono_tz::Tz::Europe__Berlin;
/// let trigger = CronTrigger::builder().day_of_week("mon-fri").hour("9-17").minute("*/15").timezone(berlin).build()?;
/// # let _ = trigger;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct CronBuilder {
    fields: [Option<Box<str>>; 8],
    dialect: Option<Dialect>,
    options: Options,
}

macro_rules! field_setters {
    ($($name:ident => $field:ident, $doc:literal);+ $(;)?) => {
        $(
            #[doc = $doc]
            pub fn $name(self, expression: impl ToString) -> Self {
                self.field(Field::$field, expression)
            }
        )+
    };
}

impl CronBuilder {
    pub(super) fn new() -> Self {
        Self { fields: Default::default(), dialect: None, options: Options::default() }
    }

    field_setters! {
        year => Year, "Years, such as `2026` or `2026-2030/2`.";
        month => Month, "Months, such as `1`, `jan-mar`, `*/3`.";
        day => Day, "Days of the month, such as `1,15`, `last`, `2nd fri`, `last sun`.";
        week => Week, "ISO weeks, such as `1-26`.";
        day_of_week => DayOfWeek, "Days of the week, such as `mon-fri`; numbers start at 0 = Monday.";
        hour => Hour, "Hours, such as `9-17`.";
        minute => Minute, "Minutes, such as `*/5`.";
        second => Second, "Seconds, such as `0,30`.";
    }

    /// Any field.
    pub fn field(mut self, field: Field, expression: impl ToString) -> Self {
        self.fields[field.index()] = Some(expression.to_string().trim().into());
        self
    }

    /// How expressions are read. Without one: names and ranges of APScheduler 3, but no field at all is an error.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// The zone whose wall clock the fields describe. UTC when not given.
    pub fn timezone(mut self, timezone: Tz) -> Self {
        self.options.timezone = timezone;
        self
    }

    /// Nothing fires before `start`.
    pub fn start(mut self, start: DateTime<Utc>) -> Self {
        self.options.start = Some(start);
        self
    }

    /// Nothing fires after `end`; a fire time equal to it counts.
    pub fn end(mut self, end: DateTime<Utc>) -> Self {
        self.options.end = Some(end);
        self
    }

    /// What a matching local time does that the clocks skip.
    pub fn gap(mut self, gap: Gap) -> Self {
        self.options.gap = gap;
        self
    }

    /// What a matching local time does that comes twice.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.options.overlap = overlap;
        self
    }

    /// Nothing fires on `holidays`; `roll` says what becomes of what would.
    pub fn holidays(mut self, holidays: Holidays, roll: Roll) -> Self {
        self.options.business = Some(Arc::new(BusinessDays { holidays, roll }));
        self
    }

    /// Jitter for jobs that have none of their own.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.options.jitter = Some(whole_micros(jitter)).filter(|jitter| !jitter.is_zero());
        self
    }

    pub(super) fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// **Errors**: [`InvalidTrigger`](ErrorKind::InvalidTrigger) with every wrong field, each with its column.
    pub fn build(self) -> Result<CronTrigger, Error> {
        self.compile(|_| String::new()).map_err(|errors| {
            let faults = errors.into_iter().flat_map(|error| error.into_faults("")).collect();
            Error::from_faults(ErrorKind::InvalidTrigger, faults)
        })
    }

    /// Compiles the fields and reports every wrong one under the path that `path` gives it.
    pub(super) fn compile(
        mut self,
        path: impl Fn(Option<Field>) -> String,
    ) -> Result<CronTrigger, Vec<Error>> {
        if self.fields.iter().all(Option::is_none) {
            let stand_in = match self.dialect {
                Some(Dialect::Aps3) => Field::Second,
                Some(Dialect::Aps4) => Field::Year,
                _ => return Err(vec![no_field().at(path(None))]),
            };
            self.fields[stand_in.index()] = Some("*".into());
        }
        let dialect = self.dialect.unwrap_or(Dialect::Aps3);
        let mut faults = Vec::new();
        let least = Field::ALL.into_iter().rfind(|field| self.fields[field.index()].is_some());
        let selections = Field::ALL.map(|field| match &self.fields[field.index()] {
            Some(expression) => item::read(field, expression, dialect, 1).unwrap_or_else(|fault| {
                faults.push(fault.at(path(Some(field))));
                Selection::default()
            }),
            None => match field.least() {
                Some(value) if Some(field) > least => Selection::only(value),
                _ => Selection::all(),
            },
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        let schedule = text::assemble(selections, dialect).map_err(|fault| vec![fault.at(path(None))])?;
        let source = Source::Fields(Box::new(self.fields));
        let schedule = schedule.with_business(self.options.business.clone());
        Ok(CronTrigger { plan: Plan::Schedule(schedule), source, dialect, options: self.options })
    }
}

fn no_field() -> CronFault {
    CronFault {
        field: None,
        column: None,
        message: format!(
            "a cron trigger needs at least one field of {}",
            Field::ALL.map(Field::name).join(", ")
        ),
        suggestion: Some("for every second write second = \"*\"".to_owned()),
    }
}
