//! What happens to rows between decoder and table, under an engine of three functions: `negative(x)`,
//! `twice(x)`, and `lucky(x)`, which fails for 13 and for any batch that has one.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType as ArrowType, Float64Type, Int64Type, SchemaRef};
use proptest::prelude::*;
use schemas::decoding::{DecoderSpec, RollUp, RollUpFunction, SourceField};
use schemas::{DataType, FieldRole, TableSpec};

use super::*;
use crate::testing::{decode, shown, spec};
use crate::{Decoder, RolledUp};

#[derive(Debug)]
struct Three;

#[derive(Debug)]
struct Call {
    function: String,
    column: usize,
    gives: ArrowType,
}

fn parts(text: &str) -> Result<(&str, &str), String> {
    let (function, rest) = text.split_once('(').ok_or("no call")?;
    Ok((function, rest.trim_end_matches(')')))
}

impl Expressions for Three {
    fn fields(&self, text: &str) -> Result<Vec<FieldUse>, String> {
        let (_, name) = parts(text)?;
        Ok(vec![FieldUse {
            name: name.to_owned(),
            as_number: true,
        }])
    }

    fn compile(&self, text: &str, schema: &SchemaRef) -> Result<Box<dyn Expression>, String> {
        let (function, name) = parts(text)?;
        let column = schema.index_of(name).map_err(|error| error.to_string())?;
        Ok(Box::new(Call {
            function: function.to_owned(),
            column,
            gives: match function {
                "negative" => ArrowType::Boolean,
                _ => ArrowType::Float64,
            },
        }))
    }
}

impl Expression for Call {
    fn data_type(&self) -> &ArrowType {
        &self.gives
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, String> {
        let values = batch.column(self.column).as_primitive::<Float64Type>();
        if self.function == "lucky" && values.iter().flatten().any(|value| value == 13.0) {
            return Err("13 is not lucky".to_owned());
        }
        Ok(match self.function.as_str() {
            "negative" => Arc::new(
                values
                    .iter()
                    .map(|v| v.map(|v| v < 0.0))
                    .collect::<BooleanArray>(),
            ),
            _ => Arc::new(
                values
                    .iter()
                    .map(|v| v.map(|v| v * 2.0))
                    .collect::<Float64Array>(),
            ),
        })
    }
}

fn table(columns: &[(&str, DataType)], change: impl Fn(&mut TableSpec)) -> Arc<TableSpec> {
    let mut spec = spec(columns, DecoderSpec::default());
    change(Arc::make_mut(&mut spec));
    spec
}

fn payloads(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn filter_transforms_and_conversion_in_their_order() {
    let columns = [
        ("id", DataType::Int),
        ("b", DataType::Int),
        ("a", DataType::Double),
    ];
    let spec = table(&columns, |spec| {
        spec.pipeline.filter = Some("negative(x)".to_owned());
        // The second is needed first.
        spec.columns[1].transform = Some("twice(a)".to_owned());
        spec.columns[2].transform = Some("lucky(x)".to_owned());
    });
    let mut decoder = Decoder::new(&spec, &Three).unwrap();
    let decoded = decode(
        &mut decoder,
        &payloads(&[
            r#"{"id": 0, "x": 1.5}"#,
            r#"{"id": 1, "x": -1}"#,
            r#"{"id": 2, "x": 13}"#,
            r#"{"id": 3, "x": 0.3}"#,
            r#"{"id": 4, "x": 5, "a": 1}"#,
            r#"{"id": 5, "x": "word"}"#,
            r#"{"id": 6}"#,
        ]),
    );
    assert_eq!(
        shown(&decoded.batches, 3),
        [["0", "6", "3.0"], ["4", "2", "1.0"], ["6", "-", "-"],]
    );
    let told: Vec<_> = decoded
        .rejected
        .iter()
        .map(|row| (row.offset, row.reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (2, "13 is not lucky"),
            (3, "`b` is INT and cannot take 1.2"),
            (
                5,
                "`x` is DOUBLE and cannot take \"word\" at line 1 column 21"
            ),
        ]
    );
    assert_eq!(decoded.rejected[0].payload, br#"{"id": 2, "x": 13}"#);
    assert_eq!(decoded.filtered, 1);
}

#[test]
fn errors_become_nulls_where_the_table_goes_on() {
    let spec = table(&[("id", DataType::Int), ("a", DataType::Double)], |spec| {
        spec.pipeline.continue_on_error = true;
        spec.columns[1].transform = Some("lucky(x)".to_owned());
    });
    let mut decoder = Decoder::new(&spec, &Three).unwrap();
    let texts = [r#"{"id": 0, "x": 13}"#, r#"{"id": 1, "x": 2}"#];
    let decoded = decode(&mut decoder, &payloads(&texts));
    assert_eq!(shown(&decoded.batches, 2), [["0", "-"], ["1", "4.0"]]);
    assert_eq!((decoded.rejected.len(), decoded.incomplete), (0, 1));
}

#[test]
fn what_cannot_run_is_told() {
    let columns = [("a", DataType::Double), ("b", DataType::Double)];
    let told = |a: &str, b: &str| {
        let spec = table(&columns, |spec| {
            spec.columns[0].transform = Some(a.to_owned());
            spec.columns[1].transform = Some(b.to_owned());
        });
        Decoder::new(&spec, &Three).unwrap_err()
    };
    assert!(told("twice(b)", "twice(a)").contains("in a circle"));
    assert!(told("twice(a)", "twice(x)").contains("`a` itself"));
    assert!(told("words", "twice(x)").contains("transform of `a`: no call"));
    let spec = table(&columns, |spec| {
        spec.pipeline.filter = Some("twice(x)".to_owned())
    });
    assert!(
        Decoder::new(&spec, &Three)
            .unwrap_err()
            .contains("no condition")
    );
}

#[test]
fn sources_have_the_types_that_the_config_says() {
    let spec = table(
        &[("ts", DataType::Timestamp), ("n", DataType::Long)],
        |spec| {
            spec.time_column = Some("ts".to_owned());
            spec.pipeline.check_time = true;
            spec.pipeline.sources = vec![SourceField {
                name: "n".to_owned(),
                data_type: DataType::String,
                multi_value: false,
            }];
        },
    );
    let mut decoder = Decoder::new(&spec, &Three).unwrap();
    let decoded = decode(
        &mut decoder,
        &payloads(&[
            r#"{"ts": 1700000000000, "n": 7}"#,
            r#"{"ts": 5, "n": "8"}"#,
            r#"{"n": 8}"#,
            r#"{"ts": 1700000000000, "n": "x"}"#,
        ]),
    );
    assert_eq!(shown(&decoded.batches, 2).len(), 1);
    let told: Vec<&str> = decoded
        .rejected
        .iter()
        .map(|row| row.reason.as_str())
        .collect();
    assert!(
        told[0].contains("1971 and 2071") && told[1].contains("missing or null"),
        "{told:?}"
    );
    assert!(told[2].contains("cannot take \"x\""), "{told:?}");
}

fn rolled() -> Arc<TableSpec> {
    let columns = [
        ("k", DataType::String),
        ("n", DataType::Long),
        ("s", DataType::Int),
        ("low", DataType::Double),
    ];
    table(&columns, |spec| {
        spec.pipeline.roll_up = vec![
            rule("n", RollUpFunction::Count, None),
            rule("s", RollUpFunction::Sum, Some("v")),
            rule("low", RollUpFunction::Min, Some("v")),
        ];
        for column in &mut spec.columns[1..] {
            column.role = FieldRole::Metric;
        }
    })
}

proptest! {
    /// Counts and sums over the groups are those of the messages, and none is lost.
    #[test]
    fn rolled_up_rows_hold_what_their_messages_held(
        messages in prop::collection::vec((0..4u8, proptest::option::of(-2_000_000_000..2_000_000_000i64)), 1..60),
    ) {
        let texts: Vec<Vec<u8>> = messages.iter().map(|(key, value)| {
            let value = value.map_or("null".to_owned(), |value| value.to_string());
            format!(r#"{{"k": "{key}", "v": {value}}}"#).into_bytes()
        }).collect();
        let mut decoder = Decoder::new(&rolled(), &Three).unwrap();
        let decoded = decode(&mut decoder, &texts);
        prop_assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        let rows = shown(&decoded.batches, 4);
        prop_assert_eq!(rows.len() as u64 + decoded.merged, messages.len() as u64);
        for key in 0..4u8 {
            let of_key = || rows.iter().filter(|row| row[0] == key.to_string());
            let sum = |at: usize| of_key().filter_map(|row| row[at].parse::<i64>().ok()).sum::<i64>();
            let wanted = || messages.iter().filter(|(k, _)| *k == key);
            prop_assert_eq!(sum(1), wanted().count() as i64);
            prop_assert_eq!(sum(2), wanted().filter_map(|(_, v)| *v).sum::<i64>());
            let low = of_key().filter_map(|row| row[3].parse::<f64>().ok()).fold(f64::MAX, f64::min);
            let least = wanted().filter_map(|(_, v)| *v).min().map_or(f64::MAX, |v| v as f64);
            prop_assert_eq!(low, least);
        }
        let offsets = decoded.batches[0].column(4).as_primitive::<Int64Type>();
        prop_assert!(offsets.values().is_sorted(), "the last row passes all before it");
    }
}

fn rule(column: &str, function: RollUpFunction, source: Option<&str>) -> RollUp {
    RollUp {
        column: column.to_owned(),
        function,
        source: source.map(str::to_owned),
    }
}

fn sketched() -> Arc<TableSpec> {
    let columns = [
        ("k", DataType::String),
        ("n", DataType::Long),
        ("users", DataType::Bytes),
        ("thetas", DataType::Bytes),
        ("prices", DataType::Bytes),
    ];
    table(&columns, |spec| {
        spec.pipeline.roll_up = vec![
            rule("n", RollUpFunction::Count, None),
            rule("users", RollUpFunction::DistinctCountHll, Some("user")),
            rule(
                "thetas",
                RollUpFunction::DistinctCountThetaSketch,
                Some("user"),
            ),
            rule("prices", RollUpFunction::PercentileTDigest, Some("price")),
        ];
        for column in &mut spec.columns[1..] {
            column.role = FieldRole::Metric;
        }
    })
}

proptest! {
    /// Whatever came in one batch, a segment has one row of each key, with the sketches of all
    /// its values.
    #[test]
    fn rows_of_a_segment_become_one_for_each_key(
        messages in prop::collection::vec((0..3u8, proptest::option::of(0..40u32)), 1..120),
        cuts in prop::collection::vec(1..30usize, 1..8),
    ) {
        let spec = sketched();
        let mut decoder = Decoder::new(&spec, &Three).unwrap();
        let mut rolling = RolledUp::new(&spec).unwrap();
        let (mut rest, mut merged) = (&messages[..], 0);
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            let texts: Vec<Vec<u8>> = now.iter().map(|(key, user)| {
                let user = user.map_or("null".to_owned(), |user| user.to_string());
                format!(r#"{{"k": "{key}", "user": {user}, "price": {user}}}"#).into_bytes()
            }).collect();
            let decoded = decode(&mut decoder, &texts);
            prop_assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
            merged += decoded.merged;
            decoded.batches.into_iter().for_each(|batch| rolling.add(batch));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let (batches, more) = rolling.take();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        prop_assert_eq!((rows as u64) + merged + more, messages.len() as u64);
        let mut keys = std::collections::HashSet::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let key = batch.column(0).as_string_view().value(row).to_owned();
                let of_key = || messages.iter().filter(|(k, _)| k.to_string() == key);
                let users: Vec<u32> = of_key().filter_map(|(_, user)| *user).collect();
                let distinct: std::collections::HashSet<_> = users.iter().collect();
                let state = |at: usize| {
                    let states = batch.column(at).as_binary_view();
                    if states.is_valid(row) { states.value(row) } else { &[] }
                };
                let mut hll = index::sketch::HyperLogLog::default();
                hll.merge_state(state(2)).unwrap();
                let mut theta = index::sketch::ThetaSketch::new().unwrap();
                theta.merge_state(state(3)).unwrap();
                let digest = index::sketch::TDigest::of_bytes(state(4)).unwrap();
                let n = batch.column(1).as_primitive::<Int64Type>().value(row);
                prop_assert_eq!(n as usize, of_key().count());
                prop_assert_eq!(hll.count() as usize, distinct.len());
                prop_assert_eq!(theta.estimate().unwrap() as usize, distinct.len());
                prop_assert_eq!(digest.count() as usize, users.len());
                if let Some(greatest) = users.iter().max() {
                    prop_assert_eq!(digest.max(), f64::from(*greatest));
                }
                prop_assert!(keys.insert(key), "a key twice");
            }
        }
    }
}

/// Sketches that come as such are joined, and what is none is rejected.
#[test]
fn sketches_from_outside_are_read_before_they_are_kept() {
    let spec = table(
        &[("k", DataType::String), ("users", DataType::Bytes)],
        |spec| {
            let function = RollUpFunction::DistinctCountThetaSketch;
            spec.pipeline.roll_up = vec![rule("users", function, Some("sketch"))];
            spec.pipeline.sources = vec![SourceField {
                name: "sketch".to_owned(),
                data_type: DataType::Bytes,
                multi_value: false,
            }];
            spec.columns[1].role = FieldRole::Metric;
        },
    );
    let of = |users: std::ops::Range<i64>| {
        let mut sketch = index::sketch::ThetaSketch::new().unwrap();
        users.for_each(|user| sketch.add_long(user));
        let state = sketch.state().unwrap();
        state
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let texts = [of(0..100), of(50..300), "00ff".to_owned()];
    let texts = texts.map(|sketch| format!(r#"{{"k": "a", "sketch": "{sketch}"}}"#));
    let mut decoder = Decoder::new(&spec, &Three).unwrap();
    let decoded = decode(&mut decoder, &texts.map(String::into_bytes));
    assert_eq!((decoded.rejected.len(), decoded.merged), (1, 1));
    assert!(
        decoded.rejected[0].reason.contains("theta"),
        "{:?}",
        decoded.rejected
    );
    let mut joined = index::sketch::ThetaSketch::new().unwrap();
    let states = decoded.batches[0].column(1).as_binary_view();
    joined.merge_state(states.value(0)).unwrap();
    assert_eq!(joined.estimate().unwrap(), 300.0);

    let spec = table(&[("users", DataType::Bytes)], |spec| {
        let function = RollUpFunction::DistinctCountHll;
        spec.pipeline.roll_up = vec![rule("users", function, Some("score"))];
        spec.pipeline.sources = vec![SourceField {
            name: "score".to_owned(),
            data_type: DataType::Double,
            multi_value: false,
        }];
    });
    let told = Decoder::new(&spec, &Three).unwrap_err();
    assert!(
        told.contains("`score` is DOUBLE, of which no such sketch is made"),
        "{told}"
    );
}

/// What is computed from stored rows is what the pipeline would have made of their records.
#[test]
fn transforms_over_stored_rows_are_those_of_records() {
    let columns = [
        ("c", DataType::Int),
        ("a", DataType::Double),
        ("b", DataType::Double),
        ("other", DataType::Double),
        ("lost", DataType::Double),
        ("lost_too", DataType::Double),
    ];
    let spec = table(&columns, |spec| {
        spec.columns[0].transform = Some("twice(b)".to_owned());
        spec.columns[2].transform = Some("lucky(a)".to_owned());
        spec.columns[3].transform = Some("twice(a)".to_owned());
        spec.columns[4].transform = Some("twice(x)".to_owned());
        spec.columns[5].transform = Some("twice(lost)".to_owned());
    });
    // `other` is stored; `lost` needs a field that is no column.
    let mut later = StoredTransforms::new(&spec, &[0, 2, 4, 5], &Three).unwrap();
    assert_eq!((later.reads(), later.columns()), (&[1][..], vec![2, 0]));
    let values = [Some(1.0), None, Some(13.0), Some(0.3), Some(-4.5)];
    let stored: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    let (computed, failed) = later.run(&[stored], values.len());
    // 13 is not lucky, and 1.2 no INT.
    assert_eq!(failed, 2);

    let payload = |value: &Option<f64>| format!(r#"{{"a": {}}}"#, serde_json::json!(value));
    let texts: Vec<String> = values.iter().map(payload).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let spec = table(&columns, |own| {
        own.columns.clone_from(&spec.columns);
        own.pipeline.continue_on_error = true;
    });
    let mut decoder = Decoder::new(&spec, &Three).unwrap();
    let decoded = decode(&mut decoder, &payloads(&texts));
    let [batch] = &decoded.batches[..] else {
        panic!("{} batches", decoded.batches.len());
    };
    assert_eq!(
        &computed,
        &[Arc::clone(batch.column(2)), Arc::clone(batch.column(0))]
    );
    let (computed, failed) = later.run(&[Arc::new(Float64Array::from(Vec::<f64>::new()))], 0);
    assert_eq!((computed[0].len(), failed), (0, 0));
}
