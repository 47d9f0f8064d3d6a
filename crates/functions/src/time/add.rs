//! TIMESTAMPADD and TIMESTAMPDIFF, also called DATEADD and DATEDIFF.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};

use super::unit::Field;
use super::zone::Zone;
use crate::docs::Section;
use crate::plain::{Plain, Takes, literal};
use crate::rows::Rows;

fn check(name: &'static str) -> impl Fn(&[Option<&ScalarValue>]) -> Result<()> {
    move |values| literal(values, 0).map_or(Ok(()), |unit| Field::parse(unit, name).map(|_| ()))
}

fn add(rows: &Rows) -> Result<ArrayRef> {
    let unit = Field::parse(rows.text(0)?, rows.name())?;
    rows.map3(|_: &str, count: i64, ms: i64| unit.add(count, ms, Zone::Utc))
}

fn between(rows: &Rows) -> Result<ArrayRef> {
    let unit = Field::parse(rows.text(0)?, rows.name())?;
    rows.map3(|_: &str, from: i64, to: i64| unit.between(from, to))
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Long, Text, Time};
    vec![
        Plain::new("timestamp_add", &[Text, Long, Time], DataType::Int64, add)
            .alias("date_add")
            .checks(check("TIMESTAMPADD"))
            .says(
                Section::Time,
                "TIMESTAMPADD(unit, count, time)",
                "Epoch milliseconds of a time so many units later; of months, quarters and years \
                 those of the calendar. Also called DATEADD.",
                &[
                    ("TIMESTAMPADD('MONTH', 1, 1706659200000)", "1709164800000"),
                    ("DATEADD('HOUR', -2, 1718454600000)", "1718447400000"),
                ],
            ),
        Plain::new(
            "timestamp_diff",
            &[Text, Time, Time],
            DataType::Int64,
            between,
        )
        .alias("date_diff")
        .checks(check("TIMESTAMPDIFF"))
        .says(
            Section::Time,
            "TIMESTAMPDIFF(unit, from, to)",
            "How many whole units lie between two times; negative if the second is before the \
                 first. Also called DATEDIFF.",
            &[
                ("TIMESTAMPDIFF('DAY', 1718409600000, 1718668800000)", "3"),
                ("DATEDIFF('MONTH', '2024-03-31', '2024-01-01')", "-2"),
            ],
        ),
    ]
}
