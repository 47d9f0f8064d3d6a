//! The records of a star-tree that answer, joined to groups.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::expressions::Column;
use hashbrown::HashMap;
use index::sketch::{HyperLogLog, TDigest};
use index::star_tree::Metric;
use segment::view::StarTree;

use super::fit::{Fit, KeyOf};
use crate::columns::{batch, external};
use crate::native::aggregate::{Aggregate, Kind, Percentile, Width};
use crate::native::samples::{Sample, Samples};
use crate::native::states::States;
use crate::native::values::ValueColumn;
use crate::native::worker::Part;

/// Records, and the group of each.
#[derive(Clone, Copy)]
struct Grouped<'r> {
    records: &'r [u32],
    groups: &'r [u32],
    /// Groups in all.
    count: usize,
}

impl Grouped<'_> {
    fn pairs(self) -> impl Iterator<Item = (u32, usize)> {
        let groups = self.groups.iter().map(|group| *group as usize);
        self.records.iter().copied().zip(groups)
    }
}

pub(super) fn part(
    tree: &StarTree,
    fit: &Fit,
    records: &[u32],
    aggregates: &[Aggregate],
) -> Result<Part> {
    let (groups, codes) = group(tree, fit, records);
    let grouped = Grouped {
        records,
        groups: &groups,
        count: codes.first().map_or(1, Vec::len),
    };
    let mut rows = vec![0_u64; grouped.count];
    for (record, group) in grouped.pairs() {
        rows[group] += tree.tree.rows(record) as u64;
    }
    let mut hashes = vec![0; grouped.count];
    let mut keys = Vec::with_capacity(fit.keys.len());
    for key in &fit.keys {
        let column = ValueColumn::new(key_values(fit, key, &codes, grouped.count)?)?;
        column.hash_into(&mut hashes);
        keys.push(column);
    }
    let metrics = fit.metrics.iter().zip(aggregates);
    let states = metrics.map(|(metric, aggregate)| match metric {
        Some(at) => states(aggregate, tree.tree.metric(*at), grouped, &rows),
        None => Ok(States::Counts(rows.clone())),
    });
    Ok(Part {
        keys,
        hashes,
        states: states.collect::<Result<Vec<_>>>()?,
    })
}

fn dimensions_of(fit: &Fit) -> impl Iterator<Item = usize> {
    let grouped = fit.question.grouped.iter().enumerate();
    grouped.filter(|(_, grouped)| **grouped).map(|(at, _)| at)
}

/// The group of each record, and the codes of each group in the dimensions grouped by.
fn group(tree: &StarTree, fit: &Fit, records: &[u32]) -> (Vec<u32>, Vec<Vec<u32>>) {
    let dimensions: Vec<_> = dimensions_of(fit).map(|at| tree.tree.codes(at)).collect();
    let mut codes = vec![Vec::new(); dimensions.len()];
    if dimensions.is_empty() {
        return (vec![0; records.len()], codes);
    }
    let mut known: HashMap<u128, u32, foldhash::fast::FixedState> = HashMap::default();
    let stars = dimensions_of(fit).map(|at| u128::from(tree.tree.shape().star(at)));
    let stars: Vec<u128> = stars.collect();
    let groups = records.iter().map(|record| {
        let own = dimensions.iter().zip(&stars);
        let key = own.fold(0, |key, (dimension, star)| {
            key * (star + 1) + u128::from(dimension.get(*record))
        });
        *known.entry(key).or_insert_with(|| {
            for (codes, dimension) in codes.iter_mut().zip(&dimensions) {
                codes.push(dimension.get(*record));
            }
            (codes[0].len() - 1) as u32
        })
    });
    let groups = groups.collect();
    (groups, codes)
}

/// The key of each group.
fn key_values(fit: &Fit, key: &KeyOf, codes: &[Vec<u32>], count: usize) -> Result<ArrayRef> {
    let KeyOf { dimension, inputs } = key;
    let column = dimension.and_then(|at| dimensions_of(fit).position(|own| own == at));
    let values = dimension.and_then(|at| fit.values[at].as_ref());
    let stored = match (values, column) {
        (Some(values), Some(column)) => {
            vec![take(
                values,
                &UInt32Array::from(codes[column].clone()),
                None,
            )?]
        }
        _ => Vec::new(),
    };
    if let ([stored], true) = (&stored[..], inputs.expr.is::<Column>()) {
        return Ok(Arc::clone(stored));
    }
    let batch = batch(&inputs.schema, stored, count)?;
    inputs.expr.evaluate(&batch)?.into_array(count)
}

fn states(
    aggregate: &Aggregate,
    metric: &Metric,
    grouped: Grouped<'_>,
    rows: &[u64],
) -> Result<States> {
    let join = aggregate.kind.join();
    let doubles = |value: &dyn Fn(u32) -> f64| {
        let mut values = vec![join.empty_double(); grouped.count];
        for (record, group) in grouped.pairs() {
            values[group] = join.double(values[group], value(record));
        }
        let counts = rows.to_vec();
        States::Doubles {
            join,
            values,
            counts,
        }
    };
    Ok(match metric {
        Metric::Longs(longs) if aggregate.width == Width::Long => {
            let mut values = vec![join.empty_long(); grouped.count];
            for (record, group) in grouped.pairs() {
                values[group] = join.long(values[group], longs.get(record));
            }
            let counts = rows.to_vec();
            States::Longs {
                join,
                values,
                counts,
            }
        }
        Metric::Longs(longs) => doubles(&|record| longs.get(record) as f64),
        Metric::Doubles(values) => doubles(&|record| values.get(record)),
        Metric::Sketches(sketches) => {
            let mut joined = vec![HyperLogLog::default(); grouped.count];
            for (record, group) in grouped.pairs() {
                let own = sketches.join_into(record, &mut joined[group]);
                own.map_err(external)?;
            }
            States::Sketches(joined)
        }
        Metric::Digests(digests) => {
            let Kind::Percentile {
                how: Percentile::Digest(size),
                ..
            } = aggregate.kind
            else {
                return internal_err!("a digest for {:?}", aggregate.kind);
            };
            let mut joined = vec![TDigest::new(size); grouped.count];
            for (record, group) in grouped.pairs() {
                let own = digests.join_into(record, &mut joined[group]);
                own.map_err(external)?;
            }
            let digest = |digest| Sample::Digest(Box::new(digest));
            States::Samples(Samples {
                groups: joined.into_iter().map(digest).collect(),
            })
        }
    })
}
