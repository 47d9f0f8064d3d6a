//! Star-trees over the columns of a sealed segment.
//!
//! Dimensions are coded as their dictionaries code them. Whole numbers without a dictionary, and
//! buckets of time, get codes of their own: the ranks of their values, kept with the tree.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, Float64Type, Int64Type};
use index::sketch::{hash_i32, hash_i64};
use index::star_tree::{Dimension, Input, MetricKind, Shape, StarTreeFault, StarTreeWriter};
use schemas::table::{StarTreeFunction, StarTreeSpec, star_tree};
use schemas::{DataType, TableSpec};

use crate::SegmentError;
use crate::calendar::Unit;
use crate::column::{CodeRoom, Codes, ColumnView, DictionaryColumn, Values};
use crate::raw::RawColumn;
use crate::sealed::hashes::hashes as hashes_of;
use crate::sealed::star_tree::{Description, DimensionNote, MetricNote};
use crate::view::{IndexKey, IndexKind, SegmentView, blocks};

/// More values than these get no codes of their own.
const OWN_CODES_MAX: usize = 1 << 16;
/// Dimensions with more values are left out of default trees.
const DEFAULT_CARDINALITY_MAX: u32 = 10_000;

pub(super) fn wanted(spec: &TableSpec) -> impl Iterator<Item = IndexKey> {
    spec.star_trees.iter().map(|tree| IndexKey {
        kind: IndexKind::StarTree,
        columns: tree.dimensions.clone(),
        parameters: serde_json::to_value(tree).expect("a spec is JSON"),
    })
}

/// See [`super::indexes::build`]. Its buffers are the tree, its description, and the values of each
/// dimension that has codes of its own.
pub(super) fn build(
    view: &SegmentView,
    key: &IndexKey,
) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    let Ok(spec) = serde_json::from_value::<StarTreeSpec>(key.parameters.clone()) else {
        return Ok(None);
    };
    let mut dimensions = Vec::with_capacity(spec.dimensions.len());
    for name in &spec.dimensions {
        match (DimensionSource::new(view, name)?, spec.by_cardinality) {
            (Some(source), _) => dimensions.push(source),
            (None, true) => {}
            (None, false) => return Ok(None),
        }
    }
    if spec.by_cardinality {
        by_cardinality(&mut dimensions);
    }
    let mut metrics: Vec<MetricSource<'_>> = Vec::new();
    for aggregate in &spec.aggregates {
        let Some(column) = &aggregate.column else {
            continue;
        };
        // Rows are counted in any case.
        let function = match aggregate.function {
            StarTreeFunction::Count => continue,
            StarTreeFunction::Avg => StarTreeFunction::Sum,
            function => function,
        };
        let is_known = |known: &MetricSource<'_>| known.is_of(function, column);
        if metrics.iter().any(is_known) {
            continue;
        }
        match MetricSource::new(view, function, column)? {
            Some(metric) => metrics.push(metric),
            None => return Ok(None),
        }
    }
    let shape = Shape {
        dimensions: dimensions
            .iter()
            .map(|dimension| Dimension {
                cardinality: dimension.cardinality,
                has_star: !spec.no_star.contains(&dimension.name),
            })
            .collect(),
        metrics: metrics.iter().map(|metric| metric.kind).collect(),
        leaf_records_max: spec.leaf_rows_max,
    };
    if shape.dimensions.is_empty() {
        return Ok(None);
    }
    match write(view, shape, &dimensions, &mut metrics) {
        Ok(tree) => Ok(Some(buffers(tree, &dimensions, &metrics))),
        Err(StarTreeFault::TooWide { .. }) => Ok(None),
        Err(StarTreeFault::TooLarge(error)) => Err(error.into()),
    }
}

/// Those with the most values first, without those that have very many.
fn by_cardinality(dimensions: &mut Vec<DimensionSource<'_>>) {
    dimensions.retain(|dimension| dimension.cardinality <= DEFAULT_CARDINALITY_MAX);
    dimensions.sort_by_key(|dimension| std::cmp::Reverse(dimension.cardinality));
}

fn write(
    view: &SegmentView,
    shape: Shape,
    dimensions: &[DimensionSource<'_>],
    metrics: &mut [MetricSource<'_>],
) -> Result<Vec<u8>, StarTreeFault> {
    let mut writer = StarTreeWriter::new(shape)?;
    let mut codes = vec![Vec::new(); dimensions.len()];
    for rows in blocks(view.row_count()) {
        for (dimension, codes) in dimensions.iter().zip(&mut codes) {
            dimension.codes_into(rows.clone(), codes);
        }
        for metric in metrics.iter_mut() {
            metric.read(rows.clone());
        }
        let codes: Vec<&[u32]> = codes.iter().map(Vec::as_slice).collect();
        let inputs: Vec<Input<'_>> = metrics.iter().map(MetricSource::input).collect();
        writer.add(&codes, &inputs)?;
    }
    Ok(index::star_tree::serialize(&writer.finish()?)?)
}

fn buffers(
    tree: Vec<u8>,
    dimensions: &[DimensionSource<'_>],
    metrics: &[MetricSource<'_>],
) -> Vec<Vec<u8>> {
    let description = Description {
        dimensions: dimensions
            .iter()
            .map(|dimension| DimensionNote {
                name: dimension.name.clone(),
                has_values: dimension.own_values().is_some(),
            })
            .collect(),
        metrics: metrics
            .iter()
            .map(|metric| MetricNote {
                function: metric.function,
                column: metric.column.clone(),
                is_exact: i64::try_from(metric.magnitude).is_ok(),
            })
            .collect(),
    };
    let description = serde_json::to_vec(&description).expect("a description is JSON");
    let values = dimensions.iter().filter_map(DimensionSource::own_values);
    let values = values.map(|values| {
        let bytes = values.iter().map(|value| value.to_le_bytes());
        index::forward::pack(bytes)
    });
    [tree, description].into_iter().chain(values).collect()
}

struct DimensionSource<'a> {
    name: String,
    cardinality: u32,
    codes: CodesOf<'a>,
}

enum CodesOf<'a> {
    Dictionary(DictionaryColumn<'a>),
    Own {
        column: RawOrDictionary<'a>,
        /// Ascending.
        values: Vec<i64>,
    },
}

impl<'a> DimensionSource<'a> {
    /// `None`: this segment cannot have it as a dimension.
    fn new(view: &'a SegmentView, name: &str) -> Result<Option<Self>, SegmentError> {
        let (column, unit) = match star_tree::time_bucket(name) {
            Some((column, bucket)) => (column, Some(Unit::from(bucket))),
            None => (name, None),
        };
        let Some(column) = view.column(column)? else {
            return Ok(None);
        };
        let is_whole = matches!(
            column.data_type(),
            DataType::Int | DataType::Long | DataType::Timestamp | DataType::Boolean
        );
        let (cardinality, codes) = match column.values() {
            Values::Dictionary(dictionary) if unit.is_none() => {
                (dictionary.cardinality(), CodesOf::Dictionary(dictionary))
            }
            _ if !is_whole => return Ok(None),
            values => {
                let Some(column) = RawOrDictionary::longs_of(values) else {
                    return Ok(None);
                };
                let Some(values) = distinct(view, &column, unit) else {
                    return Ok(None);
                };
                let cardinality = values.len() as u32;
                (cardinality, CodesOf::Own { column, values })
            }
        };
        Ok(Some(Self {
            name: name.to_owned(),
            cardinality,
            codes,
        }))
    }

    fn own_values(&self) -> Option<&[i64]> {
        match &self.codes {
            CodesOf::Dictionary(_) => None,
            CodesOf::Own { values, .. } => Some(values),
        }
    }

    fn codes_into(&self, rows: std::ops::Range<u32>, into: &mut Vec<u32>) {
        into.clear();
        match &self.codes {
            CodesOf::Dictionary(dictionary) => {
                widen(dictionary.codes(rows, &mut CodeRoom::default()), into);
            }
            CodesOf::Own { column, values } => {
                let mut longs = Vec::new();
                column.longs_into(rows, &mut longs);
                let mut last = (longs.first().map_or(0, |first| !*first), 0);
                into.extend(longs.into_iter().map(|value| {
                    if value != last.0 {
                        // The value or bucket that begins at it or before.
                        let code = values.partition_point(|start| *start <= value);
                        last = (value, code.saturating_sub(1) as u32);
                    }
                    last.1
                }));
            }
        }
    }
}

/// The values of a column, cut to buckets, each once and ascending. `None`: there are too many, or
/// one is beyond the calendar.
fn distinct(
    view: &SegmentView,
    column: &RawOrDictionary<'_>,
    unit: Option<Unit>,
) -> Option<Vec<i64>> {
    let mut all: Vec<i64> = Vec::new();
    let mut block = Vec::new();
    for rows in blocks(view.row_count()) {
        block.clear();
        column.longs_into(rows, &mut block);
        let mut last = None;
        for value in &block {
            let value = match unit {
                Some(unit) => unit.start(*value)?,
                None => *value,
            };
            if last.replace(value) != Some(value) {
                all.push(value);
            }
        }
        if all.len() > 2 * OWN_CODES_MAX {
            all.sort_unstable();
            all.dedup();
            if all.len() > OWN_CODES_MAX {
                return None;
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    (all.len() <= OWN_CODES_MAX).then_some(all)
}

fn widen(codes: Codes<'_>, into: &mut Vec<u32>) {
    match codes {
        Codes::U8(codes) => into.extend(codes.iter().map(|code| u32::from(*code))),
        Codes::U16(codes) => into.extend(codes.iter().map(|code| u32::from(*code))),
        Codes::U32(codes) => into.extend_from_slice(codes),
    }
}

/// A column of numbers, stored as they are or by their codes.
enum RawOrDictionary<'a> {
    Raw(RawColumn<'a>),
    Dictionary(DictionaryColumn<'a>, Table),
}

/// What each code stands for.
enum Table {
    Longs(Vec<i64>),
    Doubles(Vec<f64>),
}

impl<'a> RawOrDictionary<'a> {
    fn longs_of(values: Values<'a>) -> Option<Self> {
        Some(match values {
            Values::Raw(raw) => Self::Raw(raw),
            Values::Dictionary(dictionary) => {
                let longs = cast(&dictionary.array(), &ArrowType::Int64).ok()?;
                let longs = longs.as_primitive::<Int64Type>().values().to_vec();
                Self::Dictionary(dictionary, Table::Longs(longs))
            }
            Values::Multi(_) | Values::Bytes(_) => return None,
        })
    }

    fn doubles_of(values: Values<'a>) -> Option<Self> {
        Some(match values {
            Values::Raw(raw) => Self::Raw(raw),
            Values::Dictionary(dictionary) => {
                let doubles = cast(&dictionary.array(), &ArrowType::Float64).ok()?;
                let doubles = doubles.as_primitive::<Float64Type>().values().to_vec();
                Self::Dictionary(dictionary, Table::Doubles(doubles))
            }
            Values::Multi(_) | Values::Bytes(_) => return None,
        })
    }

    fn longs_into(&self, rows: std::ops::Range<u32>, into: &mut Vec<i64>) {
        match self {
            Self::Raw(raw) => raw.values(rows).longs_into(into),
            Self::Dictionary(dictionary, Table::Longs(table)) => {
                let mut room = CodeRoom::default();
                each_code(dictionary.codes(rows, &mut room), |code| {
                    into.push(table[code])
                });
            }
            Self::Dictionary(_, Table::Doubles(_)) => unreachable!("it was made for doubles"),
        }
    }

    fn doubles_into(&self, rows: std::ops::Range<u32>, into: &mut Vec<f64>) {
        match self {
            Self::Raw(raw) => raw.values(rows).doubles_into(into),
            Self::Dictionary(dictionary, Table::Doubles(table)) => {
                let mut room = CodeRoom::default();
                each_code(dictionary.codes(rows, &mut room), |code| {
                    into.push(table[code])
                });
            }
            Self::Dictionary(_, Table::Longs(_)) => unreachable!("it was made for whole numbers"),
        }
    }
}

fn each_code(codes: Codes<'_>, mut take: impl FnMut(usize)) {
    match codes {
        Codes::U8(codes) => codes.iter().for_each(|code| take(usize::from(*code))),
        Codes::U16(codes) => codes.iter().for_each(|code| take(usize::from(*code))),
        Codes::U32(codes) => codes.iter().for_each(|code| take(*code as usize)),
    }
}

struct MetricSource<'a> {
    function: StarTreeFunction,
    column: String,
    kind: MetricKind,
    values: ValuesOf<'a>,
    /// Sum of the values without their signs, of whole numbers.
    magnitude: u128,
    block: Block,
}

enum ValuesOf<'a> {
    Longs(RawOrDictionary<'a>),
    Doubles(RawOrDictionary<'a>),
    /// The hash of each code.
    CodeHashes(DictionaryColumn<'a>, Vec<u64>),
    LongHashes(RawOrDictionary<'a>, fn(i64) -> u64),
}

#[derive(Default)]
struct Block {
    longs: Vec<i64>,
    doubles: Vec<f64>,
    hashes: Vec<u64>,
}

impl<'a> MetricSource<'a> {
    fn is_of(&self, function: StarTreeFunction, column: &str) -> bool {
        self.function == function && self.column == column
    }

    /// `None`: this segment cannot have it.
    fn new(
        view: &'a SegmentView,
        function: StarTreeFunction,
        name: &str,
    ) -> Result<Option<Self>, SegmentError> {
        let Some(column) = view.column(name)? else {
            return Ok(None);
        };
        let Some((kind, values)) = source(&column, function) else {
            return Ok(None);
        };
        Ok(Some(Self {
            function,
            column: name.to_owned(),
            kind,
            values,
            magnitude: 0,
            block: Block::default(),
        }))
    }

    fn read(&mut self, rows: std::ops::Range<u32>) {
        let Block {
            longs,
            doubles,
            hashes,
        } = &mut self.block;
        longs.clear();
        doubles.clear();
        hashes.clear();
        match &self.values {
            ValuesOf::Longs(column) => {
                column.longs_into(rows, longs);
                if self.kind == MetricKind::SumLong {
                    let sizes = longs.iter().map(|value| u128::from(value.unsigned_abs()));
                    self.magnitude += sizes.sum::<u128>();
                }
            }
            ValuesOf::Doubles(column) => column.doubles_into(rows, doubles),
            ValuesOf::CodeHashes(column, table) => {
                let mut room = CodeRoom::default();
                each_code(column.codes(rows, &mut room), |code| {
                    hashes.push(table[code])
                });
            }
            ValuesOf::LongHashes(column, hash) => {
                column.longs_into(rows, longs);
                hashes.extend(longs.iter().map(|value| hash(*value)));
            }
        }
    }

    fn input(&self) -> Input<'_> {
        match &self.values {
            ValuesOf::Longs(_) => Input::Longs(&self.block.longs),
            ValuesOf::Doubles(_) => Input::Doubles(&self.block.doubles),
            ValuesOf::CodeHashes(..) | ValuesOf::LongHashes(..) => {
                Input::Hashes(&self.block.hashes)
            }
        }
    }
}

fn source<'a>(
    column: &ColumnView<'a>,
    function: StarTreeFunction,
) -> Option<(MetricKind, ValuesOf<'a>)> {
    let data_type = column.data_type();
    let is_long = matches!(
        data_type,
        DataType::Int | DataType::Long | DataType::Timestamp
    );
    let is_double = matches!(data_type, DataType::Float | DataType::Double);
    let values = column.values();
    let (long, double) = match function {
        StarTreeFunction::Sum => (MetricKind::SumLong, MetricKind::SumDouble),
        StarTreeFunction::Min => (MetricKind::MinLong, MetricKind::MinDouble),
        StarTreeFunction::Max => (MetricKind::MaxLong, MetricKind::MaxDouble),
        StarTreeFunction::PercentileTDigest if is_long || is_double => {
            let doubles = RawOrDictionary::doubles_of(values)?;
            return Some((MetricKind::Digest, ValuesOf::Doubles(doubles)));
        }
        StarTreeFunction::DistinctCountHll => {
            let hashes = hashes(data_type, values)?;
            return Some((MetricKind::Distinct, hashes));
        }
        _ => return None,
    };
    if is_long {
        let longs = RawOrDictionary::longs_of(values)?;
        return Some((long, ValuesOf::Longs(longs)));
    }
    let doubles = is_double.then(|| RawOrDictionary::doubles_of(values));
    Some((double, ValuesOf::Doubles(doubles.flatten()?)))
}

fn hashes(data_type: DataType, values: Values<'_>) -> Option<ValuesOf<'_>> {
    let of_long: fn(i64) -> u64 = match data_type {
        DataType::Int => |value| hash_i32(value as i32),
        DataType::Long | DataType::Timestamp => hash_i64,
        _ => {
            let Values::Dictionary(dictionary) = values else {
                return None;
            };
            let hashes = hashes_of(&dictionary.array())?;
            return Some(ValuesOf::CodeHashes(dictionary, hashes));
        }
    };
    let longs = RawOrDictionary::longs_of(values)?;
    Some(ValuesOf::LongHashes(longs, of_long))
}
