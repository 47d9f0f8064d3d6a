//! Rows on their way to the partitions: words of the keys, then those of the arguments, then one
//! that tells which arguments have a value.

use std::ops::RangeInclusive;

use datafusion::common::{Result, internal_err};
use segment::view::Nulls;

use super::super::aggregate::{Aggregate, Kind, Width};
use super::super::exec::NativeAggregateExec;
use super::super::input::{Input, Numbers};
use super::super::number::BlockRows;
use super::keys::Keys;
use super::{Layout, table};
use crate::columns::{doubles, longs};
use crate::filter::Filters;
use crate::rows::BlockMask;

/// Words of a row.
const STRIDES: RangeInclusive<usize> = 1..=8;

/// Bits of the word that tells which arguments are there.
const ARGUMENTS_MAX: usize = u64::BITS as usize;

/// The arguments of all aggregates, each once.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    widths: Vec<Option<Width>>,
    /// Of each aggregate; `None`: it counts rows.
    of_aggregates: Vec<Option<usize>>,
    /// Whether an argument can be without a value.
    may_be_null: bool,
    /// `None`: no row of the segment matches.
    segments: Vec<Option<Vec<Argument<'a>>>>,
}

#[derive(Debug)]
struct Argument<'a> {
    input: Input<'a>,
    nulls: Option<Nulls<'a>>,
}

/// Where an argument is in a row, for the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where its value is behind the keys; `None`: it is only counted.
    pub(super) value: Option<usize>,
    /// The bit that tells whether it is there, in the last word; `None`: it always is.
    pub(super) bit: Option<u32>,
}

impl<'a> Arguments<'a> {
    pub(super) fn open(operator: &'a NativeAggregateExec, filters: &Filters<'_>) -> Result<Self> {
        let mut distinct: Vec<&Aggregate> = Vec::new();
        let mut of_aggregates = Vec::with_capacity(operator.aggregates.len());
        for aggregate in operator.aggregates.iter() {
            if aggregate.argument.is_none() {
                of_aggregates.push(None);
                continue;
            }
            let same = |other: &&Aggregate| {
                other.argument == aggregate.argument && width(other) == width(aggregate)
            };
            let at = distinct.iter().position(same).unwrap_or_else(|| {
                distinct.push(aggregate);
                distinct.len() - 1
            });
            of_aggregates.push(Some(at));
        }
        let mut may_be_null = false;
        let mut segments = Vec::with_capacity(operator.segments().len());
        for (at, view) in operator.segments().iter().enumerate() {
            if filters.of(at)?.is_none() {
                segments.push(None);
                continue;
            }
            let mut arguments = Vec::with_capacity(distinct.len());
            for aggregate in &distinct {
                let Some(argument) = &aggregate.argument else {
                    continue;
                };
                let (inputs, sources) = operator.compiler(view).inputs(argument)?;
                let (input, nulls) =
                    Input::new(inputs, sources, aggregate, &operator.shared.options)?;
                may_be_null |= nulls.is_some()
                    || match &input {
                        Input::Rows | Input::Raw(..) => false,
                        Input::Lookup(lookup) => lookup.may_be_null,
                        Input::Evaluated(_) => true,
                    };
                arguments.push(Argument { input, nulls });
            }
            segments.push(Some(arguments));
        }
        Ok(Self {
            widths: distinct.iter().map(|aggregate| width(aggregate)).collect(),
            of_aggregates,
            may_be_null,
            segments,
        })
    }

    /// Whether a row can hold them beside so many words of keys.
    pub(super) fn fit(&self, key_words: usize) -> bool {
        self.widths.len() <= ARGUMENTS_MAX && STRIDES.contains(&(key_words + self.words()))
    }

    fn values(&self) -> usize {
        self.widths.iter().flatten().count()
    }

    /// Words that a row has for arguments.
    pub(super) fn words(&self) -> usize {
        self.values() + usize::from(self.may_be_null)
    }

    /// Where the argument of an aggregate is; `None`: it counts rows.
    pub(super) fn place(&self, aggregate: usize) -> Option<Place> {
        let at = self.of_aggregates[aggregate]?;
        Some(Place {
            value: self.widths[at].map(|_| self.widths[..at].iter().flatten().count()),
            bit: self.may_be_null.then_some(at as u32),
        })
    }

    fn words_into(
        &self,
        segment: usize,
        rows: BlockRows<'_>,
        columns: &mut [Vec<u64>],
        numbers: &mut Vec<u32>,
    ) -> Result<()> {
        let count = rows.count();
        let values = self.values();
        if self.may_be_null {
            let flags = &mut columns[values];
            flags.clear();
            flags.resize(count, u64::MAX);
        }
        let mut next = 0;
        let arguments = self.segments[segment].iter().flatten();
        for (at, (argument, width)) in arguments.zip(&self.widths).enumerate() {
            let (before, flags) = columns.split_at_mut(values);
            let mut none = Vec::new();
            let column = match width {
                Some(_) => {
                    next += 1;
                    &mut before[next - 1]
                }
                None => &mut none,
            };
            argument.words_into(
                rows,
                (*width, at as u32),
                column,
                flags.first_mut(),
                numbers,
            )?;
        }
        Ok(())
    }
}

/// `None`: it is only counted.
fn width(aggregate: &Aggregate) -> Option<Width> {
    (aggregate.kind != Kind::Count).then_some(aggregate.width)
}

impl Argument<'_> {
    fn words_into(
        &self,
        rows: BlockRows<'_>,
        (width, bit): (Option<Width>, u32),
        column: &mut Vec<u64>,
        mut flags: Option<&mut Vec<u64>>,
        numbers: &mut Vec<u32>,
    ) -> Result<()> {
        column.clear();
        let mut absent = |valid: &dyn Fn(usize) -> bool| {
            if let Some(flags) = flags.as_deref_mut() {
                for (at, flags) in flags.iter_mut().enumerate() {
                    *flags &= !(u64::from(!valid(at)) << bit);
                }
            }
        };
        if let Some(nulls) = rows.nulls(self.nulls) {
            absent(&|at| !nulls.contains(rows.row(at)));
        }
        match (&self.input, width) {
            (Input::Rows, _) => {}
            (Input::Raw(raw, _), Some(Width::Double)) => {
                let values = doubles(raw.values(rows.range()), rows.picked);
                column.extend(values.into_iter().map(f64::to_bits));
            }
            (Input::Raw(raw, _), _) => {
                let values = longs(raw.values(rows.range()), rows.picked);
                column.extend(values.into_iter().map(|value| value as u64));
            }
            (Input::Lookup(lookup), width) => {
                lookup.indices_into(rows, numbers);
                if lookup.may_be_null {
                    absent(&|at| lookup.valid[numbers[at] as usize]);
                }
                if width.is_some() {
                    let at = numbers.iter().map(|at| *at as usize);
                    match &lookup.values {
                        Numbers::Long(values) => column.extend(at.map(|at| values[at] as u64)),
                        Numbers::Double(values) => {
                            column.extend(at.map(|at| values[at].to_bits()));
                        }
                    }
                }
            }
            (Input::Evaluated(own), width) => {
                let (values, valid) = own.read(rows, width)?;
                if let Some(valid) = valid {
                    absent(&|at| valid[at]);
                }
                match values {
                    None => {}
                    Some(Numbers::Long(values)) => {
                        column.extend(values.into_iter().map(|value| value as u64));
                    }
                    Some(Numbers::Double(values)) => {
                        column.extend(values.into_iter().map(f64::to_bits));
                    }
                }
            }
        }
        if width.is_some() && column.len() != rows.count() {
            return internal_err!("{} values of {} rows", column.len(), rows.count());
        }
        Ok(())
    }
}

/// The rows that one worker has read, partition by partition.
#[derive(Debug)]
pub(super) struct Scatter {
    key_words: usize,
    stride: usize,
    shift: u32,
    partitions: Vec<Vec<u64>>,
    rows: usize,
    /// Kept from block to block.
    columns: Vec<Vec<u64>>,
    hashes: Vec<u64>,
    numbers: Vec<u32>,
    picked: Vec<u32>,
}

impl Scatter {
    /// For about so many rows.
    pub(super) fn new(layout: &Layout, rows: u64) -> Self {
        let partitions = 1usize << layout.partition_bits;
        let each = rows as usize / partitions * layout.stride;
        Self {
            key_words: layout.key_words,
            stride: layout.stride,
            shift: u64::BITS - layout.partition_bits,
            partitions: (0..partitions)
                .map(|_| Vec::with_capacity(each + each / 8))
                .collect(),
            rows: 0,
            columns: vec![Vec::new(); layout.stride],
            hashes: Vec::new(),
            numbers: Vec::new(),
            picked: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows * self.stride * size_of::<u64>()
    }

    /// The rows of each partition, as many words each as the layout says.
    pub(super) fn partitions(self) -> Vec<Vec<u64>> {
        self.partitions
    }

    /// Takes the rows of a block, and tells how many they were.
    pub(super) fn add(
        &mut self,
        (keys, arguments): (&Keys<'_>, &Arguments<'_>),
        segment: usize,
        (start, mask): (u32, &BlockMask),
    ) -> Result<u64> {
        let is_full = mask.is_full();
        if !is_full {
            mask.collect_into(&mut self.picked);
        }
        let rows = BlockRows {
            start,
            len: mask.len,
            picked: (!is_full).then_some(self.picked.as_slice()),
            mask,
            entries: None,
        };
        let (words, others) = self.columns.split_at_mut(self.key_words);
        keys.words_into(segment, rows, (words, &mut self.numbers))?;
        arguments.words_into(segment, rows, others, &mut self.numbers)?;
        let count = rows.count();
        self.hashes.clear();
        self.hashes.resize(count, 0);
        for column in words.iter() {
            for (hash, word) in self.hashes.iter_mut().zip(column) {
                *hash = table::hash(*hash, *word);
            }
        }
        match self.stride {
            1 => self.scatter::<1>(),
            2 => self.scatter::<2>(),
            3 => self.scatter::<3>(),
            4 => self.scatter::<4>(),
            5 => self.scatter::<5>(),
            6 => self.scatter::<6>(),
            7 => self.scatter::<7>(),
            8 => self.scatter::<8>(),
            other => return internal_err!("rows of {other} words"),
        }
        self.rows += count;
        Ok(count as u64)
    }

    fn scatter<const WORDS: usize>(&mut self) {
        let count = self.hashes.len();
        let columns: [&[u64]; WORDS] = std::array::from_fn(|at| &self.columns[at][..count]);
        for (at, hash) in self.hashes.iter().enumerate() {
            let row: [u64; WORDS] = std::array::from_fn(|word| columns[word][at]);
            self.partitions[(hash >> self.shift) as usize].extend_from_slice(&row);
        }
    }
}
