//! A star-tree of a sealed segment: the tree, and which columns its dimensions and metrics are.

use std::fmt;

use bytes::Bytes;
use index::CorruptIndex;
use index::star_tree::StarTreeReader;
use schemas::table::{StarTreeFunction, TimeGranularity, star_tree};
use serde::{Deserialize, Serialize};

use super::index::{IndexParts, IndexReader, IndexShape};
use crate::container::IndexKind;

/// Persisted as JSON beside the tree.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) dimensions: Vec<DimensionNote>,
    pub(crate) metrics: Vec<MetricNote>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DimensionNote {
    pub(crate) name: String,
    /// It has codes of its own, whose values are kept.
    pub(crate) has_values: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MetricNote {
    pub(crate) function: StarTreeFunction,
    pub(crate) column: String,
    /// No sum of the values could leave 64 bits.
    pub(crate) is_exact: bool,
}

#[derive(Debug)]
pub struct StarTree {
    pub tree: StarTreeReader,
    /// One for each dimension of the tree, and each metric.
    pub dimensions: Vec<StarTreeDimension>,
    pub metrics: Vec<StarTreeMetric>,
}

#[derive(Debug)]
pub struct StarTreeDimension {
    pub column: String,
    pub bucket: Option<TimeGranularity>,
    /// What each code stands for, ascending; `None`: it is the code of the column's dictionary.
    pub values: Option<Vec<i64>>,
}

#[derive(Debug)]
pub struct StarTreeMetric {
    pub function: StarTreeFunction,
    pub column: String,
    /// No sum of whole numbers wrapped around.
    pub is_exact: bool,
}

/// As the table's config names it.
impl fmt::Display for StarTreeDimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bucket {
            Some(bucket) => f.write_str(&star_tree::bucket_name(&self.column, bucket)),
            None => f.write_str(&self.column),
        }
    }
}

impl StarTree {
    pub fn metric(&self, function: StarTreeFunction, column: &str) -> Option<usize> {
        let mut metrics = self.metrics.iter();
        metrics.position(|metric| metric.function == function && metric.column == column)
    }
}

impl IndexReader for StarTree {
    const KIND: IndexKind = IndexKind::StarTree;

    fn open(parts: IndexParts<'_>) -> Result<Self, CorruptIndex> {
        let got = parts.buffers.len() as u32;
        let mut buffers = parts.buffers.into_iter();
        let mut next = || {
            buffers.next().ok_or(CorruptIndex::Buffers {
                wanted: got + 1,
                got,
            })
        };
        let tree = StarTreeReader::open(next()?)?;
        let description: Description =
            serde_json::from_slice(&next()?).map_err(|error| CorruptIndex::Description {
                what: error.to_string(),
            })?;
        let mut dimensions = Vec::new();
        for note in description.dimensions {
            let bucket = star_tree::time_bucket(&note.name);
            dimensions.push(StarTreeDimension {
                bucket: bucket.map(|(_, granularity)| granularity),
                column: match bucket {
                    Some((column, _)) => column.to_owned(),
                    None => note.name.clone(),
                },
                values: note
                    .has_values
                    .then(|| next().map(|b| longs(&b)))
                    .transpose()?,
            });
        }
        let metrics = description.metrics.into_iter().map(|note| StarTreeMetric {
            function: note.function,
            column: note.column,
            is_exact: note.is_exact,
        });
        let star_tree = Self {
            metrics: metrics.collect(),
            dimensions,
            tree,
        };
        star_tree.check()?;
        Ok(star_tree)
    }

    fn fits(&self, shape: IndexShape) -> bool {
        self.tree.total_rows() == i64::from(shape.rows)
    }
}

impl StarTree {
    fn check(&self) -> Result<(), CorruptIndex> {
        let shape = self.tree.shape();
        let counts = (shape.dimensions.len(), shape.metrics.len());
        let fits = |(dimension, own): (&index::star_tree::Dimension, &StarTreeDimension)| {
            let values = own.values.as_ref();
            values.is_none_or(|values| values.len() == dimension.cardinality as usize)
        };
        let same = counts == (self.dimensions.len(), self.metrics.len());
        if same && shape.dimensions.iter().zip(&self.dimensions).all(fits) {
            return Ok(());
        }
        Err(CorruptIndex::Description {
            what: "it is of another tree".to_owned(),
        })
    }
}

fn longs(bytes: &Bytes) -> Vec<i64> {
    let (numbers, _) = bytes.as_chunks::<8>();
    numbers.iter().map(|n| i64::from_le_bytes(*n)).collect()
}
