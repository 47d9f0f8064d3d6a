//! PERCENTILE, exact, and its approximate kin; each also with the percent in the name.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Expr, Signature, Volatility, cast,
    lit,
};
use datafusion::physical_expr::expressions::Literal;

use super::each_entry::EachEntry;
use super::renamed::{Call, Renamed};
use crate::arguments::wrong;
use crate::docs::{Section, documentation};
use crate::plain::{Takes, list_of};

/// What the digest keeps if nothing is said.
const COMPRESSION: i64 = 100;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Exact,
    /// Of doubles, by a digest.
    Digest,
    /// The same of whole numbers.
    Whole,
}

const FAMILIES: [(&str, &str, Way); 5] = [
    ("percentile_est", "PERCENTILEEST", Way::Whole),
    ("percentile_t_digest", "PERCENTILETDIGEST", Way::Digest),
    (
        "percentile_smart_t_digest",
        "PERCENTILESMARTTDIGEST",
        Way::Digest,
    ),
    ("percentile_kll", "PERCENTILEKLL", Way::Digest),
    ("percentile", "PERCENTILE", Way::Exact),
];

/// Planning puts parameters and columns there as well.
fn percent_of(name: &str, argument: Option<&Expr>) -> Result<f64> {
    let value = match argument {
        Some(Expr::Literal(value, _)) => value.cast_to(&DataType::Float64).ok(),
        Some(Expr::Cast(cast)) => return percent_of(name, Some(cast.expr.as_ref())),
        _ => None,
    };
    match value {
        Some(ScalarValue::Float64(Some(percent))) => checked(name, percent),
        _ => Err(wrong(format!(
            "{name}: the percent is a literal from 0 to 100"
        ))),
    }
}

fn checked(name: &str, percent: f64) -> Result<f64> {
    match (0.0..=100.0).contains(&percent) {
        true => Ok(percent),
        false => Err(wrong(format!(
            "{name}: the percent is from 0 to 100, not {percent}"
        ))),
    }
}

/// One of the family.
#[derive(Clone, Copy)]
struct Member {
    shown: &'static str,
    way: Way,
    /// The percent that is in the name.
    fixed: Option<f64>,
    /// Of a column of several values.
    of_entries: bool,
}

impl Member {
    fn planned(self, args: &[Expr]) -> Result<Call> {
        let mut behind = args[1..].iter();
        let percent = match self.fixed {
            Some(percent) => percent,
            None => percent_of(self.shown, behind.next())?,
        };
        let mut value = args[0].clone();
        if self.way == Way::Whole {
            value = cast(value, self.type_of(DataType::Int64));
        }
        let value = cast(value, self.type_of(DataType::Float64));
        if self.way == Way::Exact {
            let percentile = Arc::new(AggregateUDF::from(Percentile::default()));
            return Ok(self.call(percentile, vec![value, lit(percent)]));
        }
        let mut planned = vec![value, lit(percent / 100.0)];
        if let Some(Expr::Literal(compression, _)) = behind.next() {
            let compression = compression.cast_to(&DataType::Int64)?;
            let is_other = compression != ScalarValue::Int64(Some(COMPRESSION));
            // KLL counts another thing.
            if self.shown.contains("DIGEST") && is_other && !self.of_entries {
                planned.push(lit(compression));
            }
        }
        Ok(self.call(approx_percentile_cont_udaf(), planned))
    }

    /// Of BYTES, which hold digests.
    fn joined(self, args: &[Expr]) -> Result<Call> {
        let percent = match self.fixed {
            Some(percent) => percent,
            None => percent_of(self.shown, args.get(1))?,
        };
        let joined = Arc::new(super::raw::joined_digests());
        Ok(Call::new(joined, vec![args[0].clone(), lit(percent)]))
    }

    fn type_of(self, one: DataType) -> DataType {
        if self.of_entries { list_of(one) } else { one }
    }

    fn call(self, function: Arc<AggregateUDF>, args: Vec<Expr>) -> Call {
        let function = match self.of_entries {
            true => Arc::new(AggregateUDF::from(
                EachEntry::new(function).with_arguments(2),
            )),
            false => function,
        };
        Call::new(function, args)
    }

    fn named(self, name: String) -> Renamed {
        let joins = self.way == Way::Digest && !self.of_entries;
        let of = match (self.of_entries, joins) {
            (true, _) => Takes::Doubles,
            (_, true) => Takes::DoubleOrBytes,
            _ => Takes::Double,
        };
        let takes = match self.fixed {
            Some(_) => vec![of, Takes::Any],
            None => vec![of, Takes::Double, Takes::Any],
        };
        let gives = DataType::Float64;
        let named = Renamed::new(name, &takes, gives, move |args| self.planned(args));
        let named = named.optional(1);
        match joins {
            true => named.of_bytes(move |args| self.joined(args)),
            false => named,
        }
    }
}

/// `percentile95`, `percentileTDigest99`, `percentile50MV`, … as a function of its own.
pub fn percentile_named(name: &str) -> Option<Arc<AggregateUDF>> {
    let canonical = crate::canonical(name);
    let bare = canonical.strip_suffix("mv").unwrap_or(&canonical);
    let letters = bare.trim_end_matches(|c: char| c.is_ascii_digit());
    let percent: u32 = bare[letters.len()..].parse().ok()?;
    let mut families = FAMILIES.into_iter();
    let (_, shown, way) = families.find(|(own, ..)| crate::canonical(own) == letters)?;
    let member = Member {
        shown,
        way,
        fixed: Some((percent <= 100).then_some(f64::from(percent))?),
        of_entries: bare != canonical,
    };
    Some(Arc::new(AggregateUDF::from(
        member.named(canonical.clone()),
    )))
}

pub(super) fn renamed() -> Vec<Renamed> {
    let single = FAMILIES.into_iter().filter(|(.., way)| *way != Way::Exact);
    let single = single.map(|family| described(family, false));
    let entries = FAMILIES.into_iter().map(|family| described(family, true));
    single.chain(entries).collect()
}

fn described((name, shown, way): (&str, &'static str, Way), of_entries: bool) -> Renamed {
    let (column, mv) = if of_entries { ("xs", "MV") } else { ("x", "") };
    let (how, more) = match way {
        Way::Exact => (", exactly", ""),
        Way::Whole => (
            ", nearly, by a t-digest",
            " Values are cut to whole numbers, and the answer is a LONG in Pinot's dialect.",
        ),
        Way::Digest => (
            ", nearly, by a t-digest",
            " The compression, 100 if nothing is said, is how many centroids are kept; of KLL it \
             is not heeded.",
        ),
    };
    let compression = if way == Way::Digest {
        " [, compression]"
    } else {
        ""
    };
    let what = if of_entries { "entries" } else { "values" };
    let value = match (of_entries, way) {
        (false, _) => "2.0",
        (true, Way::Exact) => "4.0",
        (true, _) => "3.75",
    };
    let example: &'static str = format!("{shown}{mv}({column}, 50) FROM numbers").leak();
    let in_name: &'static str = format!("{shown}50{mv}({column}) FROM numbers").leak();
    let member = Member {
        shown,
        way,
        fixed: None,
        of_entries,
    };
    let name = if of_entries {
        format!("{name}_mv")
    } else {
        name.to_owned()
    };
    member.named(name).says(
        &format!("{shown}{mv}({column}, percent{compression})"),
        &format!(
            "The value that so many percent of the {what} are not above{how}; the percent may \
             also stand in the name.{more}"
        ),
        &[(example, value), (in_name, value)],
    )
}

/// The exact one: of n ascending values the one with n * percent / 100 before it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Percentile {
    signature: Signature,
    docs: Documentation,
}

impl Default for Percentile {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            docs: documentation(
                Section::Aggregate,
                "PERCENTILE(x, percent)",
                "Of n ascending values the one with n * percent / 100 others before it, exactly: \
                 all values are kept. The percent may also stand in the name.",
                &[
                    ("PERCENTILE(x, 50) FROM numbers", "2.0"),
                    ("PERCENTILE90(x) FROM numbers", "10.0"),
                ],
            ),
        }
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        "percentile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.docs)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let fits = |own: &DataType| Takes::Double.coerced(own).is_some();
        match types {
            [x, percent] if fits(x) && fits(percent) => Ok(vec![DataType::Float64; 2]),
            _ => Err(wrong(
                "PERCENTILE is called as PERCENTILE(x, percent), of numbers",
            )),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let values = list_of(DataType::Float64);
        let name = format_state_name(args.name, "values");
        Ok(vec![Arc::new(Field::new(name, values, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let percent = args.exprs.get(1);
        let percent = percent.and_then(|percent| percent.downcast_ref::<Literal>());
        let Some(ScalarValue::Float64(Some(percent))) = percent.map(Literal::value) else {
            return Err(wrong("PERCENTILE: the percent is a literal from 0 to 100"));
        };
        Ok(Box::new(Values {
            percent: checked("PERCENTILE", *percent)?,
            values: Vec::new(),
        }))
    }
}

#[derive(Debug)]
struct Values {
    percent: f64,
    values: Vec<f64>,
}

impl Values {
    fn add(&mut self, values: &Float64Array) {
        match values.null_count() {
            0 => self.values.extend_from_slice(values.values()),
            _ => self.values.extend(values.iter().flatten()),
        }
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values[0].as_primitive::<Float64Type>());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(last) = self.values.len().checked_sub(1) else {
            return Ok(ScalarValue::Float64(None));
        };
        let before = (self.values.len() as f64 * self.percent / 100.0) as usize;
        let order: fn(&f64, &f64) -> Ordering = f64::total_cmp;
        let (_, value, _) = self.values.select_nth_unstable_by(before.min(last), order);
        Ok(ScalarValue::Float64(Some(*value)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = Float64Array::from(std::mem::take(&mut self.values));
        let list = SingleRowListArrayBuilder::new(Arc::new(values));
        Ok(vec![list.build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            self.add(list.as_primitive::<Float64Type>());
        }
        Ok(())
    }
}
