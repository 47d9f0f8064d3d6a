//! The sample data: 336,776 flights of 2013 out of New York, as an endless stream.
//!
//! Event number *i* is flight *i* modulo the number of flights; it belongs to partition
//! *i* modulo the number of partitions. So the log's end offsets alone tell where to go on after a
//! kill, and no event is ever produced twice.
//!
//! History (the first round) is shifted in time so that its newest event is the moment of the first
//! start; live events carry the moment they are produced.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimestampMillisecondType};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub(super) const FLIGHTS: &[u8] =
    include_bytes!("../../../schemas/examples/flights/flights.parquet");
pub(super) const AIRLINES: &[u8] =
    include_bytes!("../../../schemas/examples/flights/airlines.parquet");
pub(super) const AIRPORTS: &[u8] =
    include_bytes!("../../../schemas/examples/flights/airports.parquet");
pub(super) const PLANES: &[u8] = include_bytes!("../../../schemas/examples/flights/planes.parquet");
pub(super) const WEATHER: &[u8] =
    include_bytes!("../../../schemas/examples/flights/weather.parquet");

pub(super) const TIME_COLUMN: &str = "event_time";
/// Flights in the file.
pub const FLIGHT_COUNT: u64 = 336_776;
/// Newest `event_time` in the file: 2014-01-01T04:59:00Z.
pub const NEWEST_EVENT_MS: i64 = 1_388_552_340_000;
/// Flights that are decoded at a time.
const BATCH_ROWS: usize = 2048;

/// Flights in order, from a given number on, round after round.
pub struct Flights {
    batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
    current: Option<Encoded>,
    /// Rows of the round to skip before the first that is wanted.
    skip: usize,
}

#[derive(Debug)]
struct Encoded {
    batch: RecordBatch,
    row: usize,
}

/// One flight: its time in the file, and its other columns as the rest of a JSON object.
#[derive(Debug)]
pub struct Flight {
    pub event_ms: i64,
    /// `"carrier":"UA","flight":1545,…}`
    rest: String,
}

impl Flight {
    /// The event as JSON, happening at `event_ms`.
    pub fn at(&self, event_ms: i64) -> Bytes {
        format!("{{\"{TIME_COLUMN}\":{event_ms},{}", self.rest).into()
    }
}

impl std::fmt::Debug for Flights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights")
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}

impl Flights {
    /// Begins with event number `index`.
    pub fn from(index: u64) -> Result<Self> {
        let skip = (index % FLIGHT_COUNT) as usize;
        Ok(Self {
            batches: read()?,
            current: None,
            skip,
        })
    }

    /// Never ends: after the last flight comes the first.
    pub fn next_flight(&mut self) -> Result<Flight> {
        loop {
            if let Some(current) = &mut self.current
                && current.row < current.batch.num_rows()
            {
                let flight = encode(&current.batch, current.row)?;
                current.row += 1;
                return Ok(flight);
            }
            let batch = match self.batches.next() {
                Some(batch) => batch?,
                None => {
                    self.batches = read()?;
                    continue;
                }
            };
            let row = self.skip.min(batch.num_rows());
            self.skip -= row;
            self.current = Some(Encoded { batch, row });
        }
    }
}

fn read() -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from_static(FLIGHTS))?
        .with_batch_size(BATCH_ROWS)
        .build()?;
    Ok(Box::new(reader.map(|batch| {
        batch.context("the sample data cannot be read")
    })))
}

fn encode(batch: &RecordBatch, row: usize) -> Result<Flight> {
    use std::fmt::Write;
    let mut rest = String::with_capacity(320);
    let mut event_ms = 0;
    let schema = batch.schema();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.name() == TIME_COLUMN {
            event_ms = column.as_primitive::<TimestampMillisecondType>().value(row);
            continue;
        }
        if column.is_null(row) {
            continue;
        }
        let separator = if rest.is_empty() { "" } else { "," };
        write!(rest, "{separator}\"{}\":", field.name())?;
        value(column, row, &mut rest)?;
    }
    rest.push('}');
    Ok(Flight { event_ms, rest })
}

fn value(column: &Arc<dyn Array>, row: usize, to: &mut String) -> Result<()> {
    use arrow::datatypes::{Int32Type, Int64Type};
    use std::fmt::Write;
    match column.data_type() {
        DataType::Int32 => write!(to, "{}", column.as_primitive::<Int32Type>().value(row))?,
        DataType::Int64 => write!(to, "{}", column.as_primitive::<Int64Type>().value(row))?,
        DataType::Utf8 => {
            to.push_str(&serde_json::to_string(
                column.as_string::<i32>().value(row),
            )?);
        }
        DataType::Timestamp(_, _) => {
            let ms = column.as_primitive::<TimestampMillisecondType>().value(row);
            write!(to, "{ms}")?;
        }
        other => anyhow::bail!("the sample data has a column of type {other}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_goes_on_where_it_was() {
        let mut from_start = Flights::from(0).unwrap();
        let mut flight = from_start.next_flight().unwrap();
        for _ in 0..5000 {
            flight = from_start.next_flight().unwrap();
        }
        let mut later = Flights::from(5000 + FLIGHT_COUNT).unwrap();
        let same = later.next_flight().unwrap();
        assert_eq!(flight.at(1), same.at(1));
        let event: serde_json::Value = serde_json::from_slice(&flight.at(7)).unwrap();
        assert_eq!(event["event_time"], 7);
        assert!(event["carrier"].is_string());
    }

    #[test]
    fn the_constants_are_those_of_the_file() {
        let mut flights = Flights::from(FLIGHT_COUNT - 1).unwrap();
        assert_eq!(flights.next_flight().unwrap().event_ms, NEWEST_EVENT_MS);
    }
}
