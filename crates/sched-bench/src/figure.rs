//! One figure: ours, the limit of the same run, the budget, and whether it is met.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// A measured figure, printed as one line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// The scenario.
    pub bench: &'static str,
    /// What was measured.
    pub case: String,
    /// Our figure.
    pub ours: f64,
    /// The limit's figure of the same run.
    pub limit: Option<f64>,
    /// Ours over the limit's.
    pub ratio: Option<f64>,
    /// The unit of `ours`, `limit`, `budget` and `peers`.
    pub unit: &'static str,
    /// The budget as written down, for the machine it was written on.
    pub budget: Option<f64>,
    /// Whether the budget holds; see [`Figure::at_most`].
    pub met: Option<bool>,
    /// How much worse the limit did here than where the budget was written; never less than 1.
    pub drift: Option<f64>,
    /// Peers of the same run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<&'static str, f64>,
}

impl Figure {
    /// A figure without limit and budget.
    pub fn new(bench: &'static str, case: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        let (case, ours) = (case.into(), rounded(ours));
        let peers = BTreeMap::new();
        Self {
            bench,
            case,
            ours,
            limit: None,
            ratio: None,
            unit,
            budget: None,
            met: None,
            drift: None,
            peers,
        }
    }

    /// The limit's figure of the same run.
    #[must_use]
    pub fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(rounded(limit));
        self.ratio = (limit > 0.0).then(|| rounded(self.ours / limit));
        self
    }

    /// A peer's figure of the same run.
    #[must_use]
    pub fn peer(mut self, name: &'static str, figure: f64) -> Self {
        self.peers.insert(name, rounded(figure));
        self
    }

    /// The most that ours may be. `reference` is what the limit measured where the budget was written: where it
    /// does worse, as on a slower or busier machine, ours may be worse by the same factor.
    #[must_use]
    pub fn at_most(mut self, budget: f64, reference: Option<f64>) -> Self {
        let drift = self.drift_from(reference, |limit, reference| limit / reference);
        self.judge(budget, drift, |ours, allowed| ours <= allowed * drift.unwrap_or(1.0))
    }

    /// The least that ours may be; as [`at_most`](Self::at_most) with the sign turned.
    #[must_use]
    pub fn at_least(mut self, budget: f64, reference: Option<f64>) -> Self {
        let drift = self.drift_from(reference, |limit, reference| reference / limit);
        self.judge(budget, drift, |ours, allowed| ours >= allowed / drift.unwrap_or(1.0))
    }

    fn drift_from(&mut self, reference: Option<f64>, worse: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let (limit, reference) = (self.limit?, reference?);
        (limit > 0.0 && reference > 0.0).then(|| rounded(worse(limit, reference).max(1.0)))
    }

    fn judge(mut self, budget: f64, drift: Option<f64>, met: impl Fn(f64, f64) -> bool) -> Self {
        self.budget = Some(budget);
        self.drift = drift;
        self.met = Some(met(self.ours, budget));
        self
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Four significant digits: more would be noise.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(ours: f64, limit: f64) -> Figure {
        Figure::new("bench", "case", "ns", ours).limit(limit)
    }

    #[test]
    fn a_figure_is_one_line_of_json() {
        let line = figure(123.456, 2.0).at_most(130.0, None).peer("other", 7.0).to_string();
        let expected = r#"{"bench":"bench","case":"case","ours":123.5,"limit":2.0,"ratio":61.75,"unit":"ns","budget":130.0,"met":true,"drift":null,"peers":{"other":7.0}}"#;
        assert_eq!(line, expected);
    }

    #[test]
    fn a_slow_machine_loosens_a_budget_and_a_fast_one_does_not_tighten_it() {
        for (ours, limit, met) in
            [(100.0, 10.0, true), (101.0, 10.0, false), (150.0, 15.0, true), (100.0, 5.0, true)]
        {
            assert_eq!(
                figure(ours, limit).at_most(100.0, Some(10.0)).met,
                Some(met),
                "{ours} beside {limit}"
            );
        }
        for (ours, limit, met) in
            [(100.0, 10.0, true), (99.0, 10.0, false), (50.0, 5.0, true), (99.0, 20.0, false)]
        {
            assert_eq!(
                figure(ours, limit).at_least(100.0, Some(10.0)).met,
                Some(met),
                "{ours} beside {limit}"
            );
        }
    }
}
