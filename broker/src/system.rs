//! System tables that this broker knows by itself: its queries, metrics and settings.

use std::sync::Arc;

use access::Caller;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use query::system::{BrokerTables, METRICS, QUERIES, SETTINGS};
use rest::Metrics;
use runtime::Clock;
use runtime::settings::Setting;

use crate::log::QueryLog;

#[derive(Debug)]
pub(crate) struct OwnRows {
    pub(crate) log: Arc<QueryLog>,
    pub(crate) metrics: Metrics,
    pub(crate) settings: Vec<Setting>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl BrokerTables for OwnRows {
    fn rows(&self, table: &str, caller: &Caller) -> Option<Result<RecordBatch, ArrowError>> {
        match table {
            QUERIES => Some(self.log.rows(caller, self.clock.now_ms())),
            METRICS => Some(metrics(&self.metrics)),
            SETTINGS => Some(settings(&self.settings)),
            _ => None,
        }
    }
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(values))
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, false)
}

fn metrics(metrics: &Metrics) -> Result<RecordBatch, ArrowError> {
    let samples = metrics.samples();
    let values = samples.iter().map(|sample| sample.value);
    let schema = Schema::new(vec![
        text("metric"),
        text("labels"),
        Field::new("value", DataType::Float64, false),
        text("description"),
    ]);
    let columns: Vec<ArrayRef> = vec![
        texts(samples.iter().map(|sample| sample.name.as_str())),
        texts(samples.iter().map(|sample| sample.labels.as_str())),
        Arc::new(Float64Array::from_iter_values(values)),
        texts(samples.iter().map(|sample| sample.help.as_str())),
    ];
    RecordBatch::try_new(Arc::new(schema), columns)
}

fn settings(settings: &[Setting]) -> Result<RecordBatch, ArrowError> {
    let schema = Schema::new(vec![text("setting"), text("value"), text("default")]);
    let columns = vec![
        texts(settings.iter().map(|setting| setting.name.as_str())),
        texts(settings.iter().map(|setting| setting.value.as_str())),
        texts(settings.iter().map(|setting| setting.default.as_str())),
    ];
    RecordBatch::try_new(Arc::new(schema), columns)
}
