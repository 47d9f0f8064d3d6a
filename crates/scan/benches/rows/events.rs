//! An event table of eight segments: zipfian tenants, skewed countries, urls and users of high
//! cardinality, ascending time.

use std::error::Error;
use std::sync::Arc;
use std::thread;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::datasource::TableType;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use query::scan_exec::{ScanDescription, SegmentScanExec};
use runtime::OsFiles;
use schemas::arrow::{full_schema, ingest_schema};
use schemas::proto::NullMode;
use schemas::table::{FlushLimits, Retention};
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableId, TableSpec, TableType as Kind};
use segment::{SealExtra, SealedSegment, SegmentBuilder, SegmentView};

const SEGMENTS: u32 = 8;
const BATCH_ROWS: i64 = 4096;
const FIRST_MS: i64 = 1_700_000_000_000;

#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) spec: Arc<TableSpec>,
    pub(crate) segments: Vec<SegmentView>,
    _folder: tempfile::TempDir,
}

impl Events {
    pub(crate) fn new(rows: i64) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let spec = Arc::new(spec()?);
        let each = rows / i64::from(SEGMENTS);
        let build = |sequence: u32| -> Result<SegmentView, String> {
            let first = i64::from(sequence) * each;
            sealed(&spec, sequence, first, each, folder.path()).map_err(|error| error.to_string())
        };
        let mut segments = Vec::new();
        for pair in (0..SEGMENTS).step_by(2) {
            let both = thread::scope(|scope| {
                let other = scope.spawn(|| build(pair + 1));
                [Ok(build(pair)), other.join()]
            });
            for segment in both {
                segments.push(segment.map_err(|_| "a builder panicked")??);
            }
        }
        Ok(Self {
            spec,
            segments,
            _folder: folder,
        })
    }
}

fn spec() -> Result<TableSpec, Box<dyn Error>> {
    use DataType as T;
    let dimension = |name: &str, own| ColumnSpec::new(name, own, FieldRole::Dimension);
    let mut columns = vec![
        dimension("id", T::Long),
        dimension("tenant", T::String),
        dimension("country", T::String),
        dimension("device", T::String),
        dimension("url", T::String),
        dimension("user_id", T::Long),
        dimension("status", T::Int),
        ColumnSpec::new("latency", T::Int, FieldRole::Metric),
        ColumnSpec::new("revenue", T::Double, FieldRole::Metric),
        ColumnSpec::new("ts", T::Timestamp, FieldRole::DateTime),
    ];
    for column in &mut columns {
        column.inverted_index = ["tenant", "url"].contains(&column.name.as_str());
    }
    Ok(TableSpec {
        id: TableId::random(),
        name: "events".parse()?,
        table_type: Kind::Offline,
        columns,
        primary_key: vec![],
        time_column: Some("ts".to_owned()),
        is_dimension_table: false,
        replication: 1,
        sorted_column: None,
        retention: Retention::default(),
        stream: None,
        flush: FlushLimits::default(),
        star_trees: Vec::new(),
    })
}

fn sealed(
    spec: &TableSpec,
    sequence: u32,
    first: i64,
    rows: i64,
    folder: &std::path::Path,
) -> Result<SegmentView, Box<dyn Error>> {
    let id = SegmentId {
        table: spec.id,
        partition: 0,
        sequence,
    };
    let mut builder = SegmentBuilder::new(spec, id, format!("events_{sequence}"))?;
    let mut from = first;
    while from < first + rows {
        let until = (from + BATCH_ROWS).min(first + rows);
        builder.append(&batch(spec, from, until)?)?;
        from = until;
    }
    let extra = SealExtra {
        start: first,
        end: first + rows,
        ..SealExtra::default()
    };
    let sealed = builder.finish(&OsFiles, folder, extra)?;
    Ok(SealedSegment::open(&sealed.path, spec, sealed.record.crc)?.view())
}

/// Splitmix64 of the row and the column.
fn random(row: i64, column: u64) -> u64 {
    let mut z = (row as u64 ^ (column << 48)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Below `limit`, small numbers far more often.
fn skewed(row: i64, column: u64, limit: u64) -> u64 {
    let share = (random(row, column) >> 11) as f64 / (1u64 << 53) as f64;
    ((limit as f64).powf(share) - 1.0) as u64
}

fn batch(spec: &TableSpec, from: i64, until: i64) -> Result<RecordBatch, Box<dyn Error>> {
    let rows = || from..until;
    let texts = |of: &dyn Fn(i64) -> String| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(rows().map(of)))
    };
    let ints = |of: &dyn Fn(i64) -> u64| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            rows().map(|row| of(row) as i32),
        ))
    };
    let longs = |of: &dyn Fn(i64) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows().map(of)))
    };
    let revenue = rows().map(|row| match random(row, 9) % 32 {
        0 => (random(row, 10) % 100_000) as f64 / 100.0,
        _ => 0.0,
    });
    let time = || TimestampMillisecondArray::from_iter_values(rows().map(|row| FIRST_MS + row * 7));
    let columns: Vec<ArrayRef> = vec![
        longs(&|row| row * 3),
        texts(&|row| format!("T{}", skewed(row, 1, 2000))),
        texts(&|row| format!("C{}", skewed(row, 2, 200))),
        texts(&|row| format!("device {}", random(row, 3) % 5)),
        texts(&|row| format!("https://example.com/page/{}", skewed(row, 4, 200_000))),
        longs(&|row| (skewed(row, 5, 2_000_000) * 977) as i64),
        ints(&|row| [200, 200, 200, 304, 404, 500][(random(row, 6) % 6) as usize]),
        ints(&|row| random(row, 7) % 2000),
        Arc::new(Float64Array::from_iter_values(revenue)),
        Arc::new(time()),
        longs(&|row| row),
        Arc::new(time()),
    ];
    Ok(RecordBatch::try_new(ingest_schema(spec), columns)?)
}

/// The table as a scan of one partition: whole plans go to one server.
#[derive(Debug)]
pub(crate) struct Parts {
    spec: Arc<TableSpec>,
    schema: SchemaRef,
}

impl Parts {
    pub(crate) fn of(events: &Events) -> Self {
        Self {
            spec: Arc::clone(&events.spec),
            schema: full_schema(&events.spec, NullMode::Defaults),
        }
    }
}

#[async_trait]
impl TableProvider for Parts {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let columns = DFSchema::try_from(Arc::clone(&self.schema))?;
        let filters = filters
            .iter()
            .map(|filter| session.create_physical_expr(filter.clone(), &columns));
        let every = || (0..self.schema.fields().len()).collect();
        let description = ScanDescription {
            table: self.spec.id,
            table_name: "events".to_owned(),
            table_schema: Arc::clone(&self.schema),
            projection: projection.cloned().unwrap_or_else(every),
            filters: filters.collect::<DfResult<Vec<_>>>()?,
            sent_filters: None,
            fetch: limit,
            null_mode: NullMode::Defaults,
            is_dimension_table: true,
        };
        let scan = SegmentScanExec::new(Arc::new(description), Arc::new(Vec::new()), 1 << 20)?;
        Ok(Arc::new(scan))
    }
}
