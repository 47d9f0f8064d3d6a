//! DATETIMECONVERT and TIMECONVERT: from one way of writing times to another.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::datetime::expr_fn::date_trunc;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, lit};

use super::format::{Format, Granularity};
use super::text::unreadable;
use super::unit::TimeUnit;
use super::zone::Zone;
use crate::docs::Section;
use crate::plain::{Plain, TIME, Takes, is_text, literal};
use crate::rows::{Ms, Out, Rows, TEXT};

const NAME: &str = "DATETIMECONVERT";

/// What a call does to times.
struct Conversion {
    from: Format,
    to: Format,
    granularity: Granularity,
    zone: Option<Zone>,
}

impl Conversion {
    fn of(from: &str, to: &str, granularity: &str, zone: Option<&str>) -> Result<Self> {
        let to = Format::parse(to, NAME)?;
        // What is written as a date is cut as its calendar has it.
        let own = match &to {
            Format::Text { zone, .. } => Some(*zone),
            _ => None,
        };
        Ok(Self {
            from: Format::parse(from, NAME)?,
            to,
            granularity: Granularity::parse(granularity, NAME)?,
            zone: match zone {
                Some(zone) => Some(Zone::parse(zone, NAME)?),
                None => own,
            },
        })
    }

    fn result(&self) -> DataType {
        match self.to {
            Format::Epoch { .. } => DataType::Int64,
            Format::Timestamp => TIME,
            Format::Text { .. } => TEXT,
        }
    }

    fn cut(&self, ms: i64) -> Option<i64> {
        self.granularity.floor(ms, self.zone)
    }
}

fn of_literals(values: &[Option<&ScalarValue>]) -> Result<Option<Conversion>> {
    let [Some(from), Some(to), Some(granularity)] = [1, 2, 3].map(|at| literal(values, at)) else {
        return Ok(None);
    };
    Conversion::of(from, to, granularity, literal(values, 4)).map(Some)
}

/// Each value as epoch milliseconds.
pub(super) fn read(rows: &Rows, from: &Format) -> Result<Vec<Option<i64>>> {
    let column = rows.whole(0)?;
    let is_number = column.data_type().is_numeric();
    if is_text(column.data_type()) || (is_number && matches!(from, Format::Text { .. })) {
        let texts = cast(&column, &TEXT)?;
        let texts = texts.as_string_view().iter();
        let read = texts.map(|text| {
            let Some(text) = text else { return Ok(None) };
            let ms = from.read(text);
            ms.map(Some).ok_or_else(|| unreadable(NAME, text))
        });
        return read.collect();
    }
    let is_time = !is_number;
    let column = if is_time {
        cast(&column, &TIME)?
    } else {
        column
    };
    let numbers = cast(&column, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    let ms = |value: i64| if is_time { value } else { from.ms_of(value) };
    Ok(numbers.iter().map(|value| value.map(ms)).collect())
}

fn convert(rows: &Rows) -> Result<ArrayRef> {
    let zone = rows.literal(4)?;
    let conversion = Conversion::of(rows.text(1)?, rows.text(2)?, rows.text(3)?, zone)?;
    let times = read(rows, &conversion.from)?.into_iter();
    let times = times.map(|ms| conversion.cut(ms?));
    Ok(match &conversion.to {
        Format::Epoch { unit, size } => collect(times.map(|ms| ms.map(|ms| unit.of_ms(ms) / size))),
        Format::Timestamp => collect(times.map(|ms| ms.map(Ms))),
        to @ Format::Text { .. } => {
            let mut text = String::new();
            let mut texts = arrow::array::StringViewBuilder::with_capacity(rows.count());
            for ms in times {
                text.clear();
                texts.append_option(ms.and_then(|ms| to.write(ms, &mut text)).map(|()| &text));
            }
            std::sync::Arc::new(texts.finish())
        }
    })
}

fn collect<T: Out>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    let mut builder = T::builder(values.size_hint().0);
    values.for_each(|value| T::push(value, &mut builder));
    T::finish(builder)
}

/// For what is behind the column in a call of DATETIMECONVERT that reads TIMESTAMPs: all times
/// between two multiples of so many milliseconds have the same value. `None`: they have not.
pub fn granularity_ms(arguments: &[&str]) -> Option<i64> {
    let [from, to, granularity] = arguments else {
        return None;
    };
    let conversion = Conversion::of(from, to, granularity, None).ok()?;
    let Granularity { size, unit } = conversion.granularity;
    let length = unit.ms().checked_mul(size)?;
    (conversion.zone.is_none() && unit.field().is_some() && length > 0).then_some(length)
}

/// Milliseconds cut to one unit are what operators and indexes know.
fn as_standard(args: &[Expr], info: &SimplifyContext) -> Result<Option<Expr>> {
    let values: Vec<_> = args
        .iter()
        .map(|arg| match arg {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        })
        .collect();
    if info.get_data_type(&args[0])? != TIME || values[1..].iter().any(Option::is_none) {
        return Ok(None);
    }
    let Some(conversion) = of_literals(&values)? else {
        return Ok(None);
    };
    let Granularity { size, unit } = conversion.granularity;
    let is_utc = matches!(conversion.zone, None | Some(Zone::Utc));
    let as_ms = conversion.to.is_epoch_ms() || matches!(conversion.to, Format::Timestamp);
    let unit = match unit.field() {
        // Weeks since the epoch begin on Thursdays.
        Some(field) if size == 1 && unit != TimeUnit::Weeks => field.name(),
        _ => return Ok(None),
    };
    if !is_utc || !as_ms {
        return Ok(None);
    }
    let truncated = date_trunc(lit(unit), args[0].clone());
    Ok(Some(datafusion::logical_expr::cast(
        truncated,
        conversion.result(),
    )))
}

fn time_convert(rows: &Rows) -> Result<ArrayRef> {
    let unit = |at| TimeUnit::parse(rows.text(at)?, rows.name());
    let (from, to) = (unit(1)?, unit(2)?);
    rows.map(|value: i64| {
        // Finer than milliseconds nothing is lost on the way.
        Some(if from == to {
            value
        } else {
            to.of_ms(from.to_ms(value))
        })
    })
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Any, Text, Time};
    let convert = Plain::new(
        "date_time_convert",
        &[Any, Text, Text, Text, Text],
        TEXT,
        convert,
    )
    .optional(1)
    .of_entries()
    .gives(|_, values| Ok(of_literals(values)?.map_or(TEXT, |own| own.result())))
    .simplifies(as_standard)
    .says(
        Section::Time,
        "DATETIMECONVERT(time, 'input format', 'output format', 'granularity' [, 'time zone'])",
        "Reads a time in one format, cuts it to a granularity and writes it in another. \
             Formats: `1:HOURS:EPOCH` or `EPOCH|HOURS|1`; `1:DAYS:SIMPLE_DATE_FORMAT:yyyyMMdd`, \
             also with `tz(Europe/Berlin)` behind the pattern, or \
             `SIMPLE_DATE_FORMAT|yyyyMMdd|Europe/Berlin`; `TIMESTAMP`. A granularity is \
             `15:MINUTES` \
             or `MINUTES|15`; without a time zone it is cut from the epoch on.",
        &[
            (
                "DATETIMECONVERT(1718454600000, '1:MILLISECONDS:EPOCH', '1:HOURS:EPOCH', \
                     '1:HOURS')",
                "477348",
            ),
            (
                "DATETIMECONVERT('20240615', '1:DAYS:SIMPLE_DATE_FORMAT:yyyyMMdd', \
                     'SIMPLE_DATE_FORMAT|yyyy-MM', 'MONTHS|1')",
                "2024-06",
            ),
            (
                "DATETIMECONVERT(1718454600000, 'EPOCH|MILLISECONDS|1', \
                     '1:MILLISECONDS:EPOCH', \
                     '1:DAYS', 'America/New_York')",
                "1718424000000",
            ),
        ],
    );
    let between = Plain::new(
        "time_convert",
        &[Time, Text, Text],
        DataType::Int64,
        time_convert,
    )
    .of_entries()
    .says(
        Section::Time,
        "TIMECONVERT(number, 'from unit', 'to unit')",
        "The number of whole units in another unit, from NANOSECONDS to YEARS.",
        &[(
            "TIMECONVERT(1718454600000, 'MILLISECONDS', 'DAYS')",
            "19889",
        )],
    );
    vec![convert, between]
}
