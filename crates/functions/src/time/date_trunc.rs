//! Pinot's DATE_TRUNC: the begin of an hour, day, week, … as a number of milliseconds or other
//! units. The standard dialect's `date_trunc` gives a TIMESTAMP and is the planner's own.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::{Result, ScalarValue as Value};
use datafusion::functions::datetime::expr_fn::date_trunc;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, cast, lit};

use super::unit::{Field, TimeUnit};
use super::zone::Zone;
use crate::docs::Section;
use crate::plain::{Plain, TIME, Takes, literal};
use crate::rows::Rows;

const NAME: &str = "DATE_TRUNC";

/// How a call cuts.
struct Cut {
    field: Field,
    from: TimeUnit,
    zone: Zone,
    to: TimeUnit,
}

impl Cut {
    fn of(unit: &str, options: [Option<&str>; 3]) -> Result<Self> {
        let [from, zone, to] = options;
        let counted = |name: Option<&str>, other| match name {
            Some(name) => TimeUnit::parse(name, NAME),
            None => Ok(other),
        };
        let from = counted(from, TimeUnit::Milliseconds)?;
        Ok(Self {
            field: Field::parse(unit, NAME)?,
            from,
            zone: match zone {
                Some(zone) => Zone::parse(zone, NAME)?,
                None => Zone::Utc,
            },
            to: counted(to, from)?,
        })
    }

    fn is_plain(&self) -> bool {
        self.zone == Zone::Utc && [self.from, self.to] == [TimeUnit::Milliseconds; 2]
    }
}

fn check(values: &[Option<&Value>]) -> Result<()> {
    let options = [2, 3, 4].map(|at| literal(values, at));
    if let Some(unit) = literal(values, 0) {
        Cut::of(unit, options)?;
    }
    Ok(())
}

fn truncate(rows: &Rows) -> Result<arrow::array::ArrayRef> {
    let options = [rows.literal(2)?, rows.literal(3)?, rows.literal(4)?];
    let cut = Cut::of(rows.text(0)?, options)?;
    rows.second(|value: i64| {
        let floor = cut.field.floor(cut.from.to_ms(value), cut.zone)?;
        Some(cut.to.of_ms(floor))
    })
}

/// The planner's own is what operators and indexes know.
fn as_standard(args: &[Expr], info: &SimplifyContext) -> Result<Option<Expr>> {
    let text = |at: usize| match args.get(at) {
        Some(Expr::Literal(value, _)) => value.try_as_str().flatten(),
        _ => None,
    };
    let Some(unit) = text(0) else { return Ok(None) };
    if (2..args.len()).any(|at| text(at).is_none()) || info.get_data_type(&args[1])? != TIME {
        return Ok(None);
    }
    let cut = Cut::of(unit, [text(2), text(3), text(4)])?;
    if !cut.is_plain() {
        return Ok(None);
    }
    let unit = ScalarValue::from(cut.field.name());
    let truncated = date_trunc(lit(unit), args[1].clone());
    Ok(Some(cast(truncated, DataType::Int64)))
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Text, Time};
    let function = Plain::new(
        "pinot_date_trunc",
        &[Text, Time, Text, Text, Text],
        DataType::Int64,
        truncate,
    );
    vec![
        function
            .optional(3)
            .in_pinot(&["DATE_TRUNC"])
            .checks(check)
            .simplifies(as_standard)
            .says(
                Section::Time,
                "DATE_TRUNC('unit', time [, 'input unit' [, 'time zone' [, 'output unit']]])",
                "The begin of the second, minute, hour, day, week (Monday), month, quarter or \
                 year. \
                 Numbers count input units since the epoch, MILLISECONDS if nothing is said; the \
                 result counts output units, as a rule the same.",
                &[
                    ("DATE_TRUNC('DAY', 1718454600000)", "1718409600000"),
                    ("DATETRUNC('week', 19889, 'DAYS')", "19884"),
                    (
                        "DATE_TRUNC('MONTH', 1718454600, 'SECONDS', 'America/New_York')",
                        "1717214400",
                    ),
                    (
                        "DATE_TRUNC('HOUR', 1718454600, 'SECONDS', 'UTC', 'MILLISECONDS')",
                        "1718452800000",
                    ),
                ],
            ),
    ]
}
