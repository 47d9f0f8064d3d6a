//! SKEWNESS, KURTOSIS, FOURTHMOMENT: from the sums of powers of distances from the mean, which are
//! joined without a second look at the values.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::own::Own;
use super::states::doubles_of;
use crate::docs::Example;
use crate::plain::Takes;

/// How many there are, their mean, and the sums of the second to fourth powers.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    n: f64,
    mean: f64,
    m2: f64,
    m3: f64,
    m4: f64,
}

impl Moments {
    fn join(self, other: Self) -> Self {
        if self.n == 0.0 || other.n == 0.0 {
            return if self.n == 0.0 { other } else { self };
        }
        let (na, nb) = (self.n, other.n);
        let n = na + nb;
        let d = other.mean - self.mean;
        let (d2, d3, d4) = (d * d, d * d * d, d * d * d * d);
        Self {
            n,
            mean: self.mean + d * nb / n,
            m2: self.m2 + other.m2 + d2 * na * nb / n,
            m3: self.m3
                + other.m3
                + d3 * na * nb * (na - nb) / (n * n)
                + 3.0 * d * (na * other.m2 - nb * self.m2) / n,
            m4: self.m4
                + other.m4
                + d4 * na * nb * (na * na - na * nb + nb * nb) / (n * n * n)
                + 6.0 * d2 * (na * na * other.m2 + nb * nb * self.m2) / (n * n)
                + 4.0 * d * (na * other.m3 - nb * self.m3) / n,
        }
    }

    fn skewness(&self) -> Option<f64> {
        let variance = self.m2 / (self.n - 1.0);
        match self.n {
            n if n < 3.0 => None,
            _ if variance < 1e-19 => Some(0.0),
            n => Some(n * self.m3 / ((n - 1.0) * (n - 2.0) * variance.sqrt() * variance)),
        }
    }

    fn kurtosis(&self) -> Option<f64> {
        let variance = self.m2 / (self.n - 1.0);
        match self.n {
            n if n < 4.0 => None,
            _ if variance < 1e-19 => Some(0.0),
            n => {
                let above = n * (n + 1.0) * self.m4 - 3.0 * self.m2 * self.m2 * (n - 1.0);
                Some(above / ((n - 1.0) * (n - 2.0) * (n - 3.0) * variance * variance))
            }
        }
    }

    fn fourth(&self) -> Option<f64> {
        (self.n > 0.0).then_some(self.m4)
    }
}

#[derive(Debug)]
struct Of {
    moments: Moments,
    value: fn(&Moments) -> Option<f64>,
}

impl Accumulator for Of {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for mean in doubles_of(&values[0]) {
            let one = Moments {
                n: 1.0,
                mean,
                ..Moments::default()
            };
            self.moments = self.moments.join(one);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states[0].len() {
            let at = |state: usize| states[state].as_primitive::<Float64Type>().value(row);
            self.moments = self.moments.join(Moments {
                n: at(0),
                mean: at(1),
                m2: at(2),
                m3: at(3),
                m4: at(4),
            });
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let Moments {
            n,
            mean,
            m2,
            m3,
            m4,
        } = self.moments;
        Ok([n, mean, m2, m3, m4].map(ScalarValue::from).to_vec())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.value)(&self.moments)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

fn of(name: &str, value: fn(&Moments) -> Option<f64>, about: &str, example: Example) -> Own {
    let states = ["n", "mean", "m2", "m3", "m4"].map(|name| (name, DataType::Float64));
    let shown = name.to_uppercase().replace('_', "");
    Own::new(
        name,
        &[Takes::Double],
        DataType::Float64,
        &states,
        move |_| {
            let moments = Moments::default();
            Ok(Box::new(Of { moments, value }))
        },
    )
    .says(&format!("{shown}(x)"), about, &[example])
}

pub(super) fn all() -> Vec<Own> {
    vec![
        of(
            "skewness",
            Moments::skewness,
            "How far the values lean to one side; null of fewer than three.",
            ("ROUND(SKEWNESS(x), 4) FROM numbers", "2.0287"),
        ),
        of(
            "kurtosis",
            Moments::kurtosis,
            "How heavy the tails are, 0 for a normal distribution; null of fewer than four.",
            ("ROUND(KURTOSIS(x), 4) FROM numbers", "4.2721"),
        ),
        of(
            "fourth_moment",
            Moments::fourth,
            "The sum of the fourth powers of the distances from the mean.",
            ("ROUND(FOURTHMOMENT(x), 4) FROM numbers", "1736.656"),
        ),
    ]
}
