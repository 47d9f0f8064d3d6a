//! Correlation, covariance and regression: of each group the moments of pairs of numbers.
//!
//! Sums are of distances from the group's first pair, so that numbers far from zero lose nothing.

use datafusion::common::Result;
use segment::view::Nulls;

use super::fold::Slots;
use super::input::Input;
use super::number::BlockRows;

/// What is made of the moments of pairs `(y, x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairOf {
    Correlation,
    Covariance { sample: bool },
    Slope,
    Intercept,
    Fit,
    Count,
    MeanX,
    MeanY,
    SquaresX,
    SquaresY,
    Products,
}

impl PairOf {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "corr" => Self::Correlation,
            "covar_samp" => Self::Covariance { sample: true },
            "covar_pop" => Self::Covariance { sample: false },
            "regr_slope" => Self::Slope,
            "regr_intercept" => Self::Intercept,
            "regr_r2" => Self::Fit,
            "regr_count" => Self::Count,
            "regr_avgx" => Self::MeanX,
            "regr_avgy" => Self::MeanY,
            "regr_sxx" => Self::SquaresX,
            "regr_syy" => Self::SquaresY,
            "regr_sxy" => Self::Products,
            _ => return None,
        })
    }
}

/// Count, means, and the sums of squares and products of distances from them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PairMoments {
    pub(super) count: u64,
    mean_y: f64,
    mean_x: f64,
    yy: f64,
    xx: f64,
    xy: f64,
}

impl PairMoments {
    pub(super) fn join(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let (own, others) = (self.count as f64, other.count as f64);
        let (dy, dx) = (other.mean_y - self.mean_y, other.mean_x - self.mean_x);
        self.count += other.count;
        let share = others / self.count as f64;
        self.mean_y += dy * share;
        self.mean_x += dx * share;
        self.yy += other.yy + dy * dy * own * share;
        self.xx += other.xx + dx * dx * own * share;
        self.xy += other.xy + dy * dx * own * share;
    }

    /// As DataFusion's: null where it is not defined, NaN where both sides have one.
    pub(super) fn value(&self, of: PairOf) -> Option<f64> {
        let n = self.count as f64;
        let some = |value: f64| (self.count > 0).then_some(value);
        let of_line = |value: f64| (self.count > 1 && self.xx != 0.0).then_some(value);
        let slope = self.xy / self.xx;
        match of {
            PairOf::Correlation if self.mean_x.is_nan() && self.mean_y.is_nan() => Some(f64::NAN),
            PairOf::Correlation => {
                let is_not = self.mean_x.is_nan() || self.mean_y.is_nan() || self.count < 2;
                let is_flat = self.xx == 0.0 || self.yy == 0.0;
                let (x, y) = ((self.xx / n).sqrt(), (self.yy / n).sqrt());
                (!is_not && !is_flat).then(|| self.xy / n / y / x)
            }
            PairOf::Covariance { sample } => {
                let divisor = self.count.checked_sub(u64::from(sample))?;
                (divisor > 0).then(|| self.xy / divisor as f64)
            }
            PairOf::Slope => of_line(slope),
            PairOf::Intercept => of_line(self.mean_y - slope * self.mean_x),
            PairOf::Fit => of_line(slope * (self.xy / self.yy)).filter(|_| self.yy != 0.0),
            PairOf::Count => Some(n),
            PairOf::MeanX => some(self.mean_x),
            PairOf::MeanY => some(self.mean_y),
            PairOf::SquaresX => some(self.xx),
            PairOf::SquaresY => some(self.yy),
            PairOf::Products => some(self.xy),
        }
    }

    /// As columns of DataFusion's states, behind the count.
    pub(super) fn state(&self, of: PairOf) -> Vec<f64> {
        match of {
            PairOf::Correlation => vec![self.mean_y, self.yy, self.mean_x, self.xx, self.xy],
            PairOf::Covariance { .. } => vec![self.mean_y, self.mean_x, self.xy],
            _ => vec![self.mean_x, self.mean_y, self.xx, self.yy, self.xy],
        }
    }
}

/// Sums of distances from the first pair.
#[derive(Clone, Copy, Debug, Default)]
struct Shifted {
    count: u64,
    first: (f64, f64),
    y: f64,
    x: f64,
    yy: f64,
    xx: f64,
    xy: f64,
}

impl Shifted {
    #[inline]
    fn add(&mut self, (y, x): (f64, f64)) {
        if self.count == 0 {
            self.first = (y, x);
        }
        self.count += 1;
        let (y, x) = (y - self.first.0, x - self.first.1);
        self.y += y;
        self.x += x;
        self.yy += y * y;
        self.xx += x * x;
        self.xy += y * x;
    }

    fn moments(&self) -> PairMoments {
        let n = (self.count as f64).max(1.0);
        let (y, x) = (self.y / n, self.x / n);
        PairMoments {
            count: self.count,
            mean_y: self.first.0 + y,
            mean_x: self.first.1 + x,
            // Not `max`, which makes a number of NaN.
            yy: not_below_zero(self.yy - self.y * y),
            xx: not_below_zero(self.xx - self.x * x),
            xy: self.xy - self.y * x,
        }
    }
}

fn not_below_zero(value: f64) -> f64 {
    if value < 0.0 { 0.0 } else { value }
}

/// Pairs of one segment.
#[derive(Debug)]
pub(super) struct Pairs<'a> {
    inputs: [(Input<'a>, Option<Nulls<'a>>); 2],
    sums: Vec<Shifted>,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(inputs: [(Input<'a>, Option<Nulls<'a>>); 2]) -> Self {
        Self {
            inputs,
            sums: Vec::new(),
        }
    }

    pub(super) fn grow(&mut self, groups: usize) {
        self.sums
            .resize(groups.max(self.sums.len()), Shifted::default());
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.sums.capacity() * size_of::<Shifted>()
    }

    pub(super) fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        let [(y, y_nulls), (x, x_nulls)] = &self.inputs;
        let (y, y_valid) = y.doubles(rows, *y_nulls)?;
        let (x, x_valid) = x.doubles(rows, *x_nulls)?;
        let sums = &mut self.sums;
        let is = |valid: &Option<Vec<bool>>, at: usize| valid.as_ref().is_none_or(|own| own[at]);
        if y_valid.is_none() && x_valid.is_none() {
            let pairs = y.iter().copied().zip(x.iter().copied());
            match slots.groups() {
                None => {
                    let mut own = sums[0];
                    pairs.for_each(|pair| own.add(pair));
                    sums[0] = own;
                }
                Some(groups) => {
                    let pairs = groups.iter().zip(pairs);
                    pairs.for_each(|(group, pair)| sums[*group as usize].add(pair));
                }
            }
            return Ok(());
        }
        let groups = slots.groups();
        for at in 0..y.len() {
            if is(&y_valid, at) && is(&x_valid, at) {
                let group = groups.map_or(0, |groups| groups[at] as usize);
                sums[group].add((y[at], x[at]));
            }
        }
        Ok(())
    }

    pub(super) fn finish(&self, used: &[u32]) -> Vec<PairMoments> {
        let moments = used
            .iter()
            .map(|group| self.sums[*group as usize].moments());
        moments.collect()
    }
}
