//! The reasons for which an answer may differ from what was recorded.

use std::fmt;

use serde_json::Value;

use super::case::{Answer, Case, Source, Wanted};

/// A decision of the design that differs from the recorded source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Intervals are elapsed time; APScheduler 4 adds them to the wall clock.
    DstWallClock,
    /// The parts of an Or keep their own phase; APScheduler 3 restarts interval parts whenever another fires.
    OrPhase,
    /// An And that finds no common time is exhausted, where APScheduler 4 raises an error.
    AndSearchBound,
    /// An interval of zero is refused, where APScheduler 3 makes it one second.
    ZeroInterval,
    /// An interval that ends before it starts is refused, where APScheduler 3 never fires.
    EndBeforeStart,
    /// A combination of no triggers is refused, where APScheduler never fires.
    EmptyCombination,
    /// Numbers may be written as text.
    LenientScalars,
    /// Python's types and required arguments have no counterpart in configuration.
    PythonTypes,
}

impl Rule {
    /// Why the answer differs, in a sentence.
    pub fn reason(self) -> &'static str {
        match self {
            Self::DstWallClock => {
                "An interval is elapsed time, as in APScheduler 3; version 4 adds it to the wall clock, which \
                 stretches or shrinks it at a clock change."
            }
            Self::OrPhase => {
                "Every part of an Or keeps its own phase, as in version 4; version 3 tells every part the fire time \
                 of the whole, so that an interval restarts whenever another part fires."
            }
            Self::AndSearchBound => {
                "Version 4 raises `MaxIterationsReached` when its step-by-step search for a common time takes too \
                 long; here the search jumps, so that it either finds that time or ends exhausted."
            }
            Self::ZeroInterval => {
                "An interval of zero is refused, as in version 4; version 3 makes it one second."
            }
            Self::EndBeforeStart => {
                "An interval whose end lies before its start is refused, as in version 4; version 3 accepts it and \
                 never fires."
            }
            Self::EmptyCombination => "A combination of no triggers is refused; it could never fire.",
            Self::LenientScalars => {
                "Numbers may be written as text (`\"5\"`), because configuration files and environment variables \
                 have nothing else."
            }
            Self::PythonTypes => {
                "A Python date object and its text are the same in configuration, and a date trigger without a \
                 date means the moment it is added, as in version 3."
            }
        }
    }

    /// The rule under which the answer differs.
    pub(super) fn of(case: &Case<'_>, answer: &Answer) -> Option<Self> {
        let aps4 = case.source == Source::Aps4;
        match (case.trigger, &case.wanted, answer) {
            ("interval", Wanted::Fires { .. }, Answer::Fires { fires, .. })
                if case.kind == "dst-wall-clock" =>
            {
                let mut steps = fires.windows(2).map(|pair| pair[1] - pair[0]);
                let first = steps.next();
                Some(Self::DstWallClock).filter(|_| aps4 && steps.all(|step| Some(step) == first))
            }
            ("or", Wanted::Fires { .. }, Answer::Fires { .. }) => {
                Some(Self::OrPhase).filter(|_| case.source == Source::Aps3 && case.has_phased_part())
            }
            ("and" | "or", Wanted::Unfinished { fires: wanted }, Answer::Fires { fires, .. }) => {
                fires.starts_with(wanted).then_some(Self::AndSearchBound)
            }
            ("interval", Wanted::Fires { fires, .. }, Answer::Refused { .. }) if fires.is_empty() => {
                Some(Self::EndBeforeStart).filter(|_| case.ends_before_start())
            }
            ("interval", Wanted::Fires { .. }, Answer::Refused { .. }) => {
                Some(Self::ZeroInterval).filter(|_| !aps4 && case.is_zero_interval())
            }
            ("and" | "or", Wanted::Fires { fires, .. }, Answer::Refused { .. }) => {
                Some(Self::EmptyCombination).filter(|_| fires.is_empty() && case.has_no_children())
            }
            ("date", Wanted::Refused, Answer::Fires { .. }) => {
                let moment = case.args.get("run_time");
                let date = moment.is_none_or(|moment| moment.get("$date").is_some());
                Some(Self::PythonTypes).filter(|_| aps4 && date)
            }
            (_, Wanted::Refused, Answer::Fires { .. }) => {
                let numeric = |value: &Value| value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
                let counted = matches!(case.trigger, "interval" | "calendarinterval");
                Some(Self::LenientScalars).filter(|_| counted && case.args.values().any(numeric))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DstWallClock => "dst-wall-clock",
            Self::OrPhase => "or-phase",
            Self::AndSearchBound => "and-search-bound",
            Self::ZeroInterval => "zero-interval",
            Self::EndBeforeStart => "end-before-start",
            Self::EmptyCombination => "empty-combination",
            Self::LenientScalars => "lenient-scalars",
            Self::PythonTypes => "python-types",
        })
    }
}
