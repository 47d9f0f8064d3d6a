//! Parts of a time as its calendar has them: YEAR, MONTH, …, MILLISECOND, also in a time zone.

use arrow::datatypes::DataType;
use chrono::{Datelike, NaiveDate};
use datafusion::common::Result;
use datafusion::functions::datetime::expr_fn::date_part;
use datafusion::logical_expr::lit;

use super::unit::{DAY_MS, date_of};
use super::zone::Zone;
use crate::docs::Section;
use crate::plain::{Plain, TIME, Takes, literal};

/// Of local milliseconds.
#[derive(Clone, Copy)]
enum Part {
    OfDate(fn(NaiveDate) -> i32),
    /// Of the milliseconds of a day.
    OfDay(fn(i64) -> i32),
}

impl Part {
    fn of(self, local_ms: i64) -> Option<i32> {
        match self {
            Self::OfDate(of) => date_of(local_ms).map(of),
            Self::OfDay(of) => Some(of(local_ms.rem_euclid(DAY_MS))),
        }
    }
}

/// Names, what `date_part` calls it, what it is, of the example's time.
type Row = (
    &'static [&'static str],
    Option<&'static str>,
    Part,
    &'static str,
    &'static str,
);

fn rows() -> Vec<Row> {
    [of_dates(), of_days()].concat()
}

fn of_dates() -> Vec<Row> {
    use Part::OfDate;
    vec![
        (
            &["year"],
            Some("year"),
            OfDate(|d| d.year()),
            "The year.",
            "2024",
        ),
        (
            &["year_of_week", "yow"],
            None,
            OfDate(|d| d.iso_week().year()),
            "The year that the week belongs to.",
            "2024",
        ),
        (
            &["quarter"],
            Some("quarter"),
            OfDate(|d| d.month0() as i32 / 3 + 1),
            "The quarter, 1 to 4.",
            "2",
        ),
        (
            &["month", "month_of_year"],
            Some("month"),
            OfDate(|d| d.month() as i32),
            "The month, 1 to 12.",
            "6",
        ),
        (
            &["week", "week_of_year"],
            Some("week"),
            OfDate(|d| d.iso_week().week() as i32),
            "The week of ISO 8601, 1 to 53.",
            "24",
        ),
        (
            &["day_of_year", "doy"],
            Some("doy"),
            OfDate(|d| d.ordinal() as i32),
            "The day of the year, from 1 on.",
            "167",
        ),
        (
            &["day", "day_of_month"],
            Some("day"),
            OfDate(|d| d.day() as i32),
            "The day of the month.",
            "15",
        ),
        (
            &["day_of_week", "dow"],
            None,
            OfDate(|d| d.weekday().number_from_monday() as i32),
            "The day of the week, 1 (Monday) to 7.",
            "6",
        ),
    ]
}

fn of_days() -> Vec<Row> {
    use Part::OfDay;
    vec![
        (
            &["hour"],
            Some("hour"),
            OfDay(|ms| (ms / 3_600_000) as i32),
            "The hour.",
            "12",
        ),
        (
            &["minute"],
            Some("minute"),
            OfDay(|ms| (ms / 60_000 % 60) as i32),
            "The minute.",
            "30",
        ),
        (
            &["second"],
            None,
            OfDay(|ms| (ms / 1_000 % 60) as i32),
            "The second.",
            "45",
        ),
        (
            &["millisecond"],
            None,
            OfDay(|ms| (ms % 1_000) as i32),
            "The millisecond of the second.",
            "678",
        ),
    ]
}

fn zone_of(name: Option<&str>, function: &str) -> Result<Zone> {
    name.map_or(Ok(Zone::Utc), |name| Zone::parse(name, function))
}

pub(super) fn all() -> Vec<Plain> {
    let parts = rows()
        .into_iter()
        .map(|(names, standard, part, about, value)| {
            let name = names[0];
            let upper: &'static str = name.to_uppercase().replace('_', "").leak();
            let mut function = Plain::new(
                name,
                &[Takes::Time, Takes::Text],
                DataType::Int32,
                move |rows| {
                    let zone = zone_of(rows.literal(1)?, rows.name())?;
                    rows.map(|ms: i64| part.of(zone.to_local(ms)))
                },
            )
            .optional(1)
            .of_entries()
            .checks(move |values| zone_of(literal(values, 1), upper).map(|_| ()));
            for other in &names[1..] {
                function = function.alias(*other).alias(format!("{other}_mv"));
            }
            if let Some(standard) = standard {
                // What operators and indexes know.
                function = function.simplifies(move |args, info| {
                    let fits = args.len() == 1 && info.get_data_type(&args[0])? == TIME;
                    Ok(fits.then(|| date_part(lit(standard), args[0].clone())))
                });
            }
            let example: &'static str = format!("{upper}(1718454645678)").leak();
            let others: Vec<String> = names[1..].iter().map(|n| n.to_uppercase()).collect();
            let about = match others.is_empty() {
                true => about.to_owned(),
                false => format!(
                    "{about} Also called {}.",
                    others.join(" and ").replace('_', "")
                ),
            };
            function.says(
                Section::Time,
                &format!("{upper}(time [, 'time zone'])"),
                &about,
                &[(example, value)],
            )
        });
    parts.chain(of_zones()).collect()
}

/// What a zone's clock is ahead of UTC.
fn of_zones() -> [Plain; 2] {
    let plain = |name: &str, part: fn(i64) -> i32| {
        Plain::new(
            name,
            &[Takes::Text, Takes::Time],
            DataType::Int32,
            move |rows| {
                let zone = Zone::parse(rows.text(0)?, rows.name())?;
                match rows.has(1) {
                    true => rows.second(|ms: i64| Some(part(zone.to_local(ms) - ms))),
                    false => rows.map(|_: &str| Some(part(zone.to_local(0)))),
                }
            },
        )
        .optional(1)
    };
    [
        plain("timezone_hour", |ms| (ms / 3_600_000) as i32).says(
            Section::Time,
            "TIMEZONEHOUR('time zone' [, time])",
            "Hours that the zone's clock is ahead of UTC at a time, at the epoch if none is given.",
            &[("TIMEZONEHOUR('Europe/Berlin', 1718454600000)", "2")],
        ),
        plain("timezone_minute", |ms| (ms / 60_000 % 60) as i32).says(
            Section::Time,
            "TIMEZONEMINUTE('time zone' [, time])",
            "Minutes beside the hours that the zone's clock is ahead of UTC.",
            &[("TIMEZONEMINUTE('Asia/Kolkata')", "30")],
        ),
    ]
}
