//! AT TIME ZONE: what the clocks of a zone showed at a time, and when they showed one.

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;

use super::zone::Zone;
use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, TIME, Takes, is_text, literal};
use crate::rows::{Ms, Rows};

const NAME: &str = "AT TIME ZONE";

/// A time that is the same everywhere.
fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()))
}

/// Times with a zone become what its clocks showed, those without are what they showed.
fn given(types: &[DataType]) -> DataType {
    match types.first() {
        Some(DataType::Timestamp(_, Some(_))) => TIME,
        _ => instant(),
    }
}

fn taken(types: &[DataType]) -> Result<Vec<DataType>> {
    let time = match types.first() {
        Some(DataType::Timestamp(_, Some(_))) => instant(),
        Some(own) if is_text(own) => TIME,
        Some(DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null) => {
            TIME
        }
        _ => return Err(wrong(format!("{NAME} takes a time before it"))),
    };
    Ok(vec![time, DataType::Utf8View])
}

fn moved(rows: &Rows) -> Result<ArrayRef> {
    let is_instant = matches!(
        rows.columns()[0].0.data_type(),
        DataType::Timestamp(_, Some(_))
    );
    let columns = [cast(&rows.whole(0)?, &DataType::Int64)?, rows.whole(1)?];
    let columns = columns.map(|array| (array, false));
    let plain = Rows::new(NAME, columns.to_vec(), rows.count());
    let mut known: Option<(&str, Zone)> = None;
    let moved = plain.try_map2(|time: i64, name: &str| {
        let zone = match known {
            Some((of, zone)) if of == name => zone,
            _ => known.insert((name, Zone::parse(name, NAME)?)).1,
        };
        Ok(Some(Ms(match is_instant {
            true => zone.to_local(time),
            false => zone.to_utc(time),
        })))
    })?;
    let to = if is_instant { TIME } else { instant() };
    Ok(cast(&moved, &to)?)
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        Plain::new("at_time_zone", &[Takes::Any, Takes::Text], TIME, moved)
            .coerces(taken)
            .gives(|types, _| Ok(given(types)))
            .checks(|values| match literal(values, 1) {
                Some(name) => Zone::parse(name, NAME).map(drop),
                None => Ok(()),
            })
            .says(
                Section::Time,
                "AT_TIME_ZONE(time, 'zone')",
                "What `time AT TIME ZONE 'zone'` is. Of a time with a zone, as NOW() is, what the \
                 clocks of the zone showed; of one without, as columns are, when they showed it. \
                 The times of columns are in UTC, so `time AT TIME ZONE 'UTC' AT TIME ZONE \
                 'Asia/Tokyo'` is what clocks in Tokyo showed.",
                &[
                    (
                        "AT_TIME_ZONE(AT_TIME_ZONE(TIMESTAMP '2001-02-16 20:38:40', 'UTC'), \
                         'America/Denver')",
                        "2001-02-16T13:38:40",
                    ),
                    (
                        "AT_TIME_ZONE(TIMESTAMP '2001-02-16 20:38:40', 'America/Denver')",
                        "2001-02-17T03:38:40Z",
                    ),
                ],
            ),
    ]
}
