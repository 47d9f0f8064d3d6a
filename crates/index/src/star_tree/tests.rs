//! Answers of trees against those of the rows, the golden bytes, and damaged ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Dimension, Input, Metric, MetricKind, Question, Shape, StarTreeReader, StarTreeWriter,
    serialize,
};
use crate::sketch::{DIGEST_SIZE, HyperLogLog, TDigest};

const METRICS: [MetricKind; 7] = [
    MetricKind::SumLong,
    MetricKind::MinLong,
    MetricKind::MaxDouble,
    MetricKind::MinDouble,
    MetricKind::SumDouble,
    MetricKind::Distinct,
    MetricKind::Digest,
];

#[derive(Clone, Debug)]
struct Rows {
    shape: Shape,
    /// One list of codes for each dimension.
    codes: Vec<Vec<u32>>,
    values: Vec<i64>,
}

impl Rows {
    fn doubles(&self) -> Vec<f64> {
        self.values.iter().map(|value| *value as f64).collect()
    }

    fn hashes(&self) -> Vec<u64> {
        let spread = |value: &i64| (*value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.values.iter().map(spread).collect()
    }

    fn tree(&self, block: usize) -> StarTreeReader {
        StarTreeReader::open(Bytes::from(self.bytes(block))).unwrap()
    }

    fn bytes(&self, block: usize) -> Vec<u8> {
        let mut writer = StarTreeWriter::new(self.shape.clone()).unwrap();
        let (doubles, hashes) = (self.doubles(), self.hashes());
        for start in (0..self.values.len()).step_by(block) {
            let rows = start..(start + block).min(self.values.len());
            let codes: Vec<&[u32]> = self.codes.iter().map(|c| &c[rows.clone()]).collect();
            let inputs: Vec<Input<'_>> = METRICS
                .iter()
                .map(|kind| match kind {
                    MetricKind::Distinct => Input::Hashes(&hashes[rows.clone()]),
                    MetricKind::SumLong | MetricKind::MinLong => {
                        Input::Longs(&self.values[rows.clone()])
                    }
                    _ => Input::Doubles(&doubles[rows.clone()]),
                })
                .collect();
            writer.add(&codes, &inputs).unwrap();
        }
        serialize(&writer.finish().unwrap()).unwrap()
    }
}

/// Rows, then each metric of [`METRICS`], of one group.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    rows: i64,
    sum: i64,
    min: i64,
    max: f64,
    least: f64,
    total: f64,
    distinct: u64,
    digested: f64,
}

impl Group {
    fn new() -> Self {
        Self {
            rows: 0,
            sum: 0,
            min: i64::MAX,
            max: f64::MIN,
            least: f64::MAX,
            total: 0.0,
            distinct: 0,
            digested: 0.0,
        }
    }
}

type Groups = BTreeMap<Vec<u32>, Group>;

fn by_rows(rows: &Rows, question: &Question) -> Groups {
    let mut groups = Groups::new();
    let mut sketches: BTreeMap<Vec<u32>, HyperLogLog> = BTreeMap::new();
    let hashes = rows.hashes();
    'rows: for (row, value) in rows.values.iter().enumerate() {
        let mut key = Vec::new();
        for (dimension, codes) in rows.codes.iter().enumerate() {
            let code = codes[row];
            let filter = question.filters[dimension].as_ref();
            if filter.is_some_and(|filter| !filter.contains(&code)) {
                continue 'rows;
            }
            if question.grouped[dimension] {
                key.push(code);
            }
        }
        sketches.entry(key.clone()).or_default().add(hashes[row]);
        let group = groups.entry(key).or_insert_with(Group::new);
        group.rows += 1;
        group.digested += 1.0;
        group.sum = group.sum.wrapping_add(*value);
        group.min = group.min.min(*value);
        group.max = group.max.max(*value as f64);
        group.least = group.least.min(*value as f64);
        group.total += *value as f64;
    }
    for (key, group) in &mut groups {
        group.distinct = sketches[key].count();
    }
    groups
}

fn by_tree(tree: &StarTreeReader, question: &Question) -> Groups {
    let mut groups = Groups::new();
    let mut sketches: BTreeMap<Vec<u32>, HyperLogLog> = BTreeMap::new();
    let found = tree.find(question, usize::MAX).unwrap();
    for record in found.records {
        let grouped = (0..question.grouped.len()).filter(|d| question.grouped[*d]);
        let key: Vec<u32> = grouped.map(|d| tree.codes(d).get(record)).collect();
        if tree.rows(record) == 0 {
            continue;
        }
        let sketch = sketches.entry(key.clone()).or_default();
        let group = groups.entry(key).or_insert_with(Group::new);
        group.rows += tree.rows(record);
        let long = |metric| match tree.metric(metric) {
            Metric::Longs(values) => values.get(record),
            other => panic!("{other:?}"),
        };
        let double = |metric| match tree.metric(metric) {
            Metric::Doubles(values) => values.get(record),
            other => panic!("{other:?}"),
        };
        group.sum = group.sum.wrapping_add(long(0));
        group.min = group.min.min(long(1));
        group.max = group.max.max(double(2));
        group.least = group.least.min(double(3));
        group.total += double(4);
        let Metric::Sketches(sketches) = tree.metric(5) else {
            panic!("no sketches");
        };
        sketches.join_into(record, sketch).unwrap();
        group.distinct = sketch.count();
        let Metric::Digests(digests) = tree.metric(6) else {
            panic!("no digests");
        };
        let mut digest = TDigest::new(DIGEST_SIZE);
        digests.join_into(record, &mut digest).unwrap();
        assert!(digest.min() >= group.least && digest.max() <= group.max);
        group.digested += digest.count();
    }
    groups
}

fn shapes() -> impl Strategy<Value = Shape> {
    let cardinality = prop_oneof![1_u32..4, 5_u32..40, Just(255_u32), Just(70_000_u32)];
    let dimension = (cardinality, any::<bool>()).prop_map(|(cardinality, has_star)| Dimension {
        cardinality,
        has_star,
    });
    (prop::collection::vec(dimension, 1..6), 0_u32..30).prop_map(|(dimensions, leaf)| Shape {
        dimensions,
        metrics: METRICS.to_vec(),
        leaf_records_max: leaf,
    })
}

fn rows() -> impl Strategy<Value = Rows> {
    (shapes(), 0_usize..400, any::<u64>()).prop_map(|(shape, count, seed)| {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        // Squared, so that few codes have most rows.
        let mut skewed = |limit: u32| {
            let unit = (next() % 1000) as f64 / 1000.0;
            ((unit * unit * f64::from(limit)) as u32).min(limit - 1)
        };
        let codes = shape.dimensions.iter().map(|dimension| {
            let codes = (0..count).map(|_| skewed(dimension.cardinality));
            codes.collect()
        });
        let codes = codes.collect();
        // Whole numbers, whose sums are exact as doubles too.
        let values = (0..count).map(|_| i64::from(skewed(100_000)) - 50_000);
        Rows {
            codes,
            values: values.collect(),
            shape,
        }
    })
}

fn questions(shape: &Shape, seed: u64) -> Vec<Question> {
    let dimensions = shape.dimensions.len();
    (0..24)
        .map(|number| {
            let bits = seed.rotate_left(number * 7) ^ u64::from(number);
            let filters = (0..dimensions).map(|d| {
                let limit = shape.dimensions[d].cardinality;
                match bits >> (d * 3) & 3 {
                    0 => Some((0..limit).step_by(3).take(5).collect()),
                    1 if bits & 64 == 0 => Some(vec![bits as u32 % limit]),
                    2 if bits & 1024 == 0 => Some((0..limit.div_ceil(2)).collect()),
                    _ => None,
                }
            });
            Question {
                filters: filters.collect(),
                grouped: (0..dimensions).map(|d| bits >> (d + 20) & 1 == 1).collect(),
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn trees_answer_as_the_rows_do(rows in rows(), seed in any::<u64>(), block in 1_usize..150) {
        let tree = rows.tree(block);
        prop_assert!(tree.base_records() as usize <= rows.values.len().max(1));
        for question in questions(&rows.shape, seed) {
            let (expected, found) = (by_rows(&rows, &question), by_tree(&tree, &question));
            prop_assert_eq!(found, expected, "{:?}", question);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(at in any::<usize>(), bit in 0_u8..8, cut in 0_usize..300) {
        let rows = small();
        let mut bytes = rows.bytes(3);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        bytes.truncate(bytes.len() - cut.min(bytes.len()).saturating_sub(100));
        if let Ok(tree) = StarTreeReader::open(Bytes::from(bytes)) {
            for question in questions(&rows.shape, 77) {
                let fits = tree.shape().dimensions == rows.shape.dimensions;
                if let Some(found) = fits.then(|| tree.find(&question, 10_000)).flatten() {
                    for record in found.records {
                        read_all(&tree, record);
                    }
                }
            }
        }
    }
}

/// Whatever is wrong with it.
fn read_all(tree: &StarTreeReader, record: u32) {
    for at in 0..tree.shape().metrics.len() {
        match tree.metric(at) {
            Metric::Longs(values) => drop(values.get(record)),
            Metric::Doubles(values) => drop(values.get(record)),
            Metric::Sketches(sketches) => {
                let _ = sketches.join_into(record, &mut HyperLogLog::default());
            }
            Metric::Digests(digests) => {
                let _ = digests.join_into(record, &mut TDigest::new(DIGEST_SIZE));
            }
        }
    }
}

fn small() -> Rows {
    let dimension = |cardinality| Dimension {
        cardinality,
        has_star: true,
    };
    Rows {
        shape: Shape {
            dimensions: vec![dimension(2), dimension(3)],
            metrics: METRICS.to_vec(),
            leaf_records_max: 1,
        },
        codes: vec![vec![0, 1, 0, 0], vec![2, 1, 2, 0]],
        values: vec![10, 20, 30, 400],
    }
}

impl Rows {
    /// With the sums of the values alone.
    fn writer(&self) -> StarTreeWriter {
        let mut shape = self.shape.clone();
        shape.metrics = vec![MetricKind::SumLong];
        let mut writer = StarTreeWriter::new(shape).unwrap();
        let codes: Vec<&[u32]> = self.codes.iter().map(Vec::as_slice).collect();
        writer.add(&codes, &[Input::Longs(&self.values)]).unwrap();
        writer
    }
}

/// Version 1 of the bytes. When this fails, files on disk can no longer be read: raise the magic
/// to `STR2` and keep reading `STR1`.
#[test]
fn golden_bytes() {
    let bytes = serialize(&small().writer().finish().unwrap()).unwrap();
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let expected: Vec<Vec<u8>> = vec![
        b"STR1".to_vec(),
        words(&[2, 1, 11, 8, 3, 1, 0]),
        words(&[2, 1, 3, 1]),
        words(&[0, 0]),
        // The root, then 0, 1 and the star of the first dimension.
        words(&[0, 0, 3, 7, 1, 3]),
        words(&[0, 0, 2, 6, 4, 3]),
        words(&[1, 2, 3, 2, 0, 0]),
        words(&[2, 3, 6, 7, 7, 4]),
        // Those below 0, then those below the star.
        words(&[0, 0, 1, 0, 0, 0]),
        words(&[2, 1, 2, 1, 0, 0]),
        words(&[3, 6, 7, 6, 0, 0]),
        words(&[0, 3, 4, 3, 0, 0]),
        words(&[1, 4, 5, 4, 0, 0]),
        words(&[2, 5, 6, 5, 0, 0]),
        words(&[3, 7, 8, 7, 0, 0]),
        vec![0, 0, 1, 2, 2, 2, 0, 2],
        vec![0, 2, 1, 0, 1, 2, 3, 3],
        words(&[1, 0, 1, 0]),
        vec![0, 1, 0, 0, 0, 1, 2, 3],
        words(&[20, 0, 2, 0]),
        [380_u16, 20, 0, 380, 0, 20, 420, 440]
            .map(u16::to_le_bytes)
            .concat(),
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn what_is_left_out_is_read_from_one_record() {
    let tree = small().tree_of_sums();
    let ask = |filter: Option<Vec<u32>>, grouped: [bool; 2]| {
        let question = Question {
            filters: vec![filter, None],
            grouped: grouped.to_vec(),
        };
        let found = tree.find(&question, 100).unwrap();
        let Metric::Longs(sums) = tree.metric(0) else {
            panic!("no sums");
        };
        let mut answer: Vec<(i64, i64)> = found
            .records
            .iter()
            .map(|record| (tree.rows(*record), sums.get(*record)))
            .collect();
        answer.sort_unstable();
        answer
    };
    assert_eq!(ask(None, [false, false]), [(4, 460)]);
    assert_eq!(ask(Some(vec![0]), [false, false]), [(3, 440)]);
    assert_eq!(ask(None, [false, true]), [(1, 20), (1, 400), (2, 40)]);
    assert_eq!(ask(None, [true, false]), [(1, 20), (3, 440)]);
    let all = Question {
        filters: vec![None, None],
        grouped: vec![true, true],
    };
    assert!(tree.find(&all, 1).is_none(), "more than one record");
}

impl Rows {
    fn tree_of_sums(&self) -> StarTreeReader {
        let bytes = serialize(&self.writer().finish().unwrap()).unwrap();
        StarTreeReader::open(Bytes::from(bytes)).unwrap()
    }
}

#[test]
fn too_many_values_are_refused() {
    let dimension = Dimension {
        cardinality: u32::MAX - 1,
        has_star: true,
    };
    let shape = Shape {
        dimensions: vec![dimension; 5],
        metrics: Vec::new(),
        leaf_records_max: 1,
    };
    let error = StarTreeWriter::new(shape).unwrap_err().to_string();
    assert!(error.contains("160 bits"), "{error}");
}

#[test]
fn sketches_of_many_values_are_dense() {
    let count = 60_000;
    let rows = Rows {
        shape: Shape {
            dimensions: vec![Dimension {
                cardinality: 2,
                has_star: true,
            }],
            metrics: METRICS.to_vec(),
            leaf_records_max: 0,
        },
        codes: vec![(0..count).map(|row| u32::from(row % 7 == 0)).collect()],
        values: (0..i64::from(count)).collect(),
    };
    let tree = rows.tree(4096);
    for question in questions(&rows.shape, 5) {
        assert_eq!(by_tree(&tree, &question), by_rows(&rows, &question));
    }
}
