//! A segment is left out only where no row matches, however floats are compared.

use arrow::datatypes::Field;
use datafusion::physical_expr::expressions::{binary, col, in_list, lit};
use proptest::prelude::*;
use proptest::sample::select;
use schemas::cluster::TableState;
use schemas::partition::{ColumnPartitions, Murmur3, PartitionFunction};
use schemas::segment::SegmentStatus;
use schemas::segments::SegmentKey;
use schemas::{ColumnSpec, FieldRole, SegmentId, TableId, TableSpec};

use super::*;

const OPERATORS: [Operator; 6] = [
    Operator::Eq,
    Operator::NotEq,
    Operator::Lt,
    Operator::LtEq,
    Operator::Gt,
    Operator::GtEq,
];
const DOUBLES: [f64; 9] = [
    f64::NEG_INFINITY,
    -1.5,
    -0.0,
    0.0,
    5e-324,
    1.5,
    2.0,
    f64::INFINITY,
    f64::NAN,
];
const BY_KEY: [Partitioning; 2] = [
    Partitioning {
        function: PartitionFunction::Murmur,
        partitions: 3,
    },
    Partitioning {
        function: PartitionFunction::Murmur3 {
            seed: 9,
            variant: Murmur3::X64,
        },
        partitions: 7,
    },
];

/// Columns `f` FLOAT, `d` DOUBLE, `b` BIG_DECIMAL, `k` STRING, `i` LONG.
fn schema() -> SchemaRef {
    let decimal = DataType::Decimal256(BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE);
    Arc::new(Schema::new(vec![
        Field::new("f", DataType::Float32, false),
        Field::new("d", DataType::Float64, false),
        Field::new("b", decimal, false),
        Field::new("k", DataType::Utf8View, false),
        Field::new("i", DataType::Int64, false),
        Field::new(virtual_column::PARTITION, DataType::Int32, false),
    ]))
}

fn table(
    column_ranges: Vec<(String, Value, Value)>,
    partitions: Vec<ColumnPartitions>,
) -> TableState {
    let spec = TableSpec {
        columns: vec![ColumnSpec::new(
            "d",
            schemas::DataType::Double,
            FieldRole::Dimension,
        )],
        ..crate::routing::tests::spec()
    };
    let id = SegmentId {
        table: TableId::random(),
        partition: 4,
        sequence: 0,
    };
    let record = SegmentRecord {
        status: SegmentStatus::Done,
        column_ranges,
        partitions,
        ..SegmentRecord::consuming(id, &spec, 0, 0)
    };
    TableState {
        segments: vec![SegmentState {
            record,
            assigned: Default::default(),
            online: Default::default(),
            hidden: false,
        }]
        .into(),
        paused: false,
        reloads: Vec::new(),
        orders: Default::default(),
        time_boundary_ms: None,
        spec,
    }
}

fn is_read(table: &TableState, filter: Arc<dyn PhysicalExpr>) -> bool {
    !read(table, &[filter]).is_empty()
}

/// Keys of what is read.
fn read(table: &TableState, filters: &[Arc<dyn PhysicalExpr>]) -> Vec<SegmentKey> {
    let index = TableIndex::of(table);
    let read = segments_to_read(&index, &schema(), filters, &Parameters::default());
    read.iter().map(|segment| segment.record.id.key()).collect()
}

fn compare(column: &str, op: Operator, value: ScalarValue) -> Arc<dyn PhysicalExpr> {
    let schema = schema();
    binary(col(column, &schema).unwrap(), op, lit(value), &schema).unwrap()
}

fn holds(op: Operator, order: Option<Ordering>) -> bool {
    match op {
        Operator::Eq => order == Some(Ordering::Equal),
        Operator::NotEq => order != Some(Ordering::Equal),
        Operator::Lt => order == Some(Ordering::Less),
        Operator::LtEq => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::Gt => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// As segments tell them: none beside a NaN, both zeros at an end.
fn range_of(values: &[f64]) -> Option<(Value, Value)> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let least = values.iter().copied().reduce(f64::min)?;
    let greatest = values.iter().copied().reduce(f64::max)?;
    let least = if least == 0.0 { -0.0 } else { least };
    let greatest = if greatest == 0.0 { 0.0 } else { greatest };
    Some((Value::Double(least), Value::Double(greatest)))
}

proptest! {
    #[test]
    fn floats(
        values in proptest::collection::vec(select(DOUBLES.to_vec()), 1..4),
        value in select(DOUBLES.to_vec()),
        op in select(OPERATORS.to_vec()),
        wraps: bool,
    ) {
        let range = range_of(&values);
        let ranges = ["f", "d"].iter().filter_map(|name| {
            let (least, greatest) = range.clone()?;
            Some(((*name).to_owned(), least, greatest))
        });
        let table = table(ranges.collect(), Vec::new());
        // Another form of the same condition is judged by DataFusion.
        let negated = |filter: Arc<dyn PhysicalExpr>| match wraps {
            true => datafusion::physical_expr::expressions::not(
                datafusion::physical_expr::expressions::not(filter).unwrap(),
            ).unwrap(),
            false => filter,
        };
        let double = negated(compare("d", op, ScalarValue::Float64(Some(value))));
        let matching = values.iter().any(|one| {
            holds(op, Some(one.total_cmp(&value))) || holds(op, one.partial_cmp(&value))
        });
        if !is_read(&table, double) {
            prop_assert!(!matching, "{values:?} {op} {value}");
        }
        let narrow = |value: f64| value as f32;
        let single = negated(compare("f", op, ScalarValue::Float32(Some(narrow(value)))));
        let matching = values.iter().any(|one| {
            let (one, value) = (narrow(*one), narrow(value));
            holds(op, Some(one.total_cmp(&value))) || holds(op, one.partial_cmp(&value))
        });
        // The range of a FLOAT is of floats.
        let fits = values.iter().all(|value| f64::from(narrow(*value)) == *value);
        if fits && !is_read(&table, single) {
            prop_assert!(!matching, "{values:?} {op} {value}");
        }
    }

    #[test]
    fn keys(stored in "[a-c]{1,2}", asked in proptest::collection::vec("[a-c]{1,2}", 1..4)) {
        let partitions = BY_KEY.map(|by| ColumnPartitions {
            column: "k".to_owned(),
            held: vec![by.of_text(&stored).unwrap()],
            by,
        });
        let table = table(Vec::new(), partitions.to_vec());
        let literals = asked.iter().map(|text| lit(ScalarValue::Utf8View(Some(text.clone()))));
        let list = in_list(col("k", &schema()).unwrap(), literals.collect(), &false, &schema());
        let may = |text: &String| {
            BY_KEY.iter().all(|by| by.of_text(text) == by.of_text(&stored))
        };
        prop_assert_eq!(is_read(&table, list.unwrap()), asked.iter().any(may));
        for text in &asked {
            let value = ScalarValue::Utf8View(Some(text.clone()));
            prop_assert_eq!(is_read(&table, compare("k", Operator::Eq, value.clone())), may(text));
            prop_assert!(is_read(&table, compare("k", Operator::NotEq, value)));
        }
    }
}

#[test]
fn decimals_compare_as_numbers() {
    let text = |text: &str| Value::String(text.to_owned());
    let ranges = vec![("b".to_owned(), text("-2.5"), text("10"))];
    let table = table(ranges, Vec::new());
    let decimal = |whole: i128| {
        let unscaled = i256::from_i128(whole * 10_i128.pow(18));
        ScalarValue::Decimal256(Some(unscaled), BIG_DECIMAL_PRECISION, BIG_DECIMAL_SCALE)
    };
    let read = |op, whole| is_read(&table, compare("b", op, decimal(whole)));
    assert!(read(Operator::Eq, 9) && read(Operator::Eq, -2) && read(Operator::Eq, 10));
    assert!(!read(Operator::Eq, 11) && !read(Operator::Eq, -3));
    assert!(read(Operator::Lt, -2) && !read(Operator::Lt, -3) && !read(Operator::Gt, 10));
}

#[test]
fn numbers_and_partitions_of_the_stream() {
    let by = Partitioning {
        function: PartitionFunction::Modulo,
        partitions: 4,
    };
    let partitions = vec![ColumnPartitions {
        column: "i".to_owned(),
        by,
        held: vec![1, 3],
    }];
    let table = table(Vec::new(), partitions);
    let read = |number| {
        let value = ScalarValue::Int64(Some(number));
        is_read(&table, compare("i", Operator::Eq, value))
    };
    assert!(read(1) && read(-1) && read(7) && !read(0) && !read(-2));
    let stream = |op, number| {
        let value = ScalarValue::Int32(Some(number));
        is_read(&table, compare(virtual_column::PARTITION, op, value))
    };
    assert!(stream(Operator::Eq, 4) && !stream(Operator::Eq, 3));
    assert!(!stream(Operator::NotEq, 4) && stream(Operator::Lt, 5));
}

/// Sealed segments and consuming ones, of which some tell times and partitions of keys.
fn many(told: &[(u32, i64, i64, u32, usize)]) -> TableState {
    let mut one = table(Vec::new(), Vec::new());
    one.spec.time_column = Some("i".to_owned());
    let mut keyed = ColumnSpec::new("k", schemas::DataType::String, FieldRole::Dimension);
    keyed.partitioning = Some(BY_KEY[0]);
    one.spec.columns = vec![keyed];
    let like = one.segments[0].clone();
    let segments = told.iter().enumerate();
    let segments = segments.map(|(at, (partition, least, wide, key, kind))| {
        let mut segment = like.clone();
        let record = &mut segment.record;
        (record.id.partition, record.id.sequence) = (*partition, at as u32);
        record.status = match kind {
            0 => SegmentStatus::InProgress,
            _ => SegmentStatus::Done,
        };
        let greatest = least + wide;
        if *kind > 1 {
            let range = (Value::Long(*least), Value::Long(greatest));
            record.column_ranges = vec![("i".to_owned(), range.0, range.1)];
        }
        if *kind > 2 {
            let by = BY_KEY[at % 2];
            record.partitions = vec![ColumnPartitions {
                column: "k".to_owned(),
                by,
                held: vec![key % by.partitions],
            }];
        }
        segment
    });
    one.segments = segments.collect();
    one
}

proptest! {
    /// The index finds what a look at each segment finds.
    #[test]
    fn nothing_is_lost_by_looking_up(
        told in prop::collection::vec((0..4u32, 0..50i64, 0..9i64, 0..9u32, 0..6usize), 0..40),
        (least, wide) in (0..60i64, 0..20i64),
        ops in (select(&OPERATORS[..]), select(&OPERATORS[..])),
        (partition, key) in (0..5i32, 0..9u32),
        asked in 0..8u32,
    ) {
        let table = many(&told);
        let schema = schema();
        let mut filters = Vec::new();
        if asked & 1 > 0 {
            filters.push(compare("i", ops.0, ScalarValue::Int64(Some(least))));
            let end = compare("i", ops.1, ScalarValue::Int64(Some(least + wide)));
            filters.push(end);
        }
        if asked & 2 > 0 {
            let only = ScalarValue::Int32(Some(partition));
            filters.push(compare(virtual_column::PARTITION, Operator::Eq, only));
        }
        if asked & 4 > 0 {
            let key = ScalarValue::Utf8View(Some(key.to_string()));
            let other = compare("i", Operator::NotEq, ScalarValue::Int64(Some(7)));
            let both = compare("k", Operator::Eq, key);
            filters.push(binary(both, Operator::And, other, &schema).unwrap());
        }
        let found = read(&table, &filters);
        let each = table.segments.iter().filter(|one| {
            let mut alone = table.clone();
            alone.segments = vec![(*one).clone()].into();
            // Nothing that is looked up.
            alone.spec.time_column = None;
            alone.spec.columns.clear();
            filters.iter().all(|filter| is_read(&alone, Arc::clone(filter)))
        });
        let each = each.map(|one| one.record.id.key());
        prop_assert_eq!(found, each.collect::<Vec<_>>());
    }
}
