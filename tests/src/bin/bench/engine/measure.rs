//! How often a statement is run, and what was measured of it.

use super::compare::Row;

/// The same rules for every engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    pub(crate) warm: u32,
    pub(crate) runs_max: usize,
    /// After so much time, `runs_min` runs are enough.
    pub(crate) budget_ms: f64,
    pub(crate) runs_min: usize,
    /// Of statements that need more than `slow_ms`, `slow_runs_min` are.
    pub(crate) slow_ms: f64,
    pub(crate) slow_runs_min: usize,
}

pub(crate) const TURNS: Turns = Turns {
    warm: 2,
    runs_max: 31,
    budget_ms: 700.0,
    runs_min: 7,
    slow_ms: 1000.0,
    slow_runs_min: 3,
};

impl Turns {
    pub(crate) fn enough(&self, ms: &[f64]) -> bool {
        let spent: f64 = ms.iter().sum();
        let is_slow = ms.last().is_some_and(|last| *last > self.slow_ms);
        let least = if is_slow {
            self.slow_runs_min
        } else {
            self.runs_min
        };
        ms.len() >= self.runs_max || (ms.len() >= least && spent > self.budget_ms)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) ms: Vec<f64>,
    /// CPU of all threads of the engine, the mean of a run: it holds on a busy machine too.
    pub(crate) cpu_ms: f64,
    pub(crate) rows: Vec<Row>,
}

impl Measured {
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.ms.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = ((sorted.len().saturating_sub(1)) / 2, sorted.len() / 2);
        match (sorted.get(low), sorted.get(high)) {
            (Some(low), Some(high)) => (low + high) / 2.0,
            _ => f64::NAN,
        }
    }

    pub(crate) fn least(&self) -> f64 {
        self.ms.iter().copied().fold(f64::NAN, f64::min)
    }
}

/// NaN of nothing.
pub(crate) fn geometric_mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value.ln();
        count += 1.0;
    }
    f64::exp(sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_statement_is_run_less_often() {
        let turns = TURNS;
        assert!(!turns.enough(&[1.0; 7]));
        assert!(turns.enough(&[1.0; 31]));
        assert!(!turns.enough(&[200.0; 6]));
        assert!(turns.enough(&[200.0; 7]));
        assert!(!turns.enough(&[1500.0; 2]));
        assert!(turns.enough(&[1500.0; 3]));
    }

    #[test]
    fn the_middle_of_an_even_number_is_between() {
        let of = |ms: &[f64]| Measured {
            ms: ms.to_vec(),
            cpu_ms: 0.0,
            rows: Vec::new(),
        };
        assert_eq!(of(&[4.0, 1.0, 2.0, 100.0]).median(), 3.0);
        assert_eq!(of(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(of(&[3.0, 1.0, 2.0]).least(), 1.0);
        assert_eq!(geometric_mean([1.0, 100.0]).round(), 10.0);
    }
}
