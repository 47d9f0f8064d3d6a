//! Aggregates that we do not keep ourselves: DataFusion's accumulators over our rows and groups.
//!
//! What an accumulator knows of a segment goes on as its state columns, which are joined by another
//! accumulator of the kind. Whoever asks for states gets those that a final aggregate with as many
//! keys expects: with none, that is one accumulator, else one for all groups.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_empty_array};
use arrow::compute::{concat, take};
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use parking_lot::Mutex;

use super::aggregate::Aggregate;
use super::fold::Slots;
use super::input::evaluated;
use super::number::BlockRows;
use super::plan::Output;
use crate::columns::Source;
use crate::predicate::{Compiler, Inputs};

/// Rows that an accumulator of each group's own waits for: it looks at all groups each time.
const ROWS_AT_ONCE: usize = 8_192;

/// What makes the accumulators.
#[derive(Debug)]
pub(super) struct General {
    function: Arc<AggregateFunctionExpr>,
    /// Of all groups together.
    is_grouped: bool,
    types: Vec<DataType>,
}

impl General {
    /// `types` are those of the arguments, and of what they are ordered by.
    pub(super) fn new(
        function: &AggregateFunctionExpr,
        types: Vec<DataType>,
        (output, has_keys): (Output, bool),
    ) -> Self {
        let is_grouped = has_keys || output == Output::Values;
        Self {
            is_grouped: is_grouped && function.groups_accumulator_supported(),
            function: Arc::new(function.clone()),
            types,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.function.fun().name()
    }

    fn no_rows(&self) -> Vec<ArrayRef> {
        self.types.iter().map(new_empty_array).collect()
    }

    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.is_grouped {
            return self.function.create_groups_accumulator();
        }
        let function = Arc::clone(&self.function);
        let one = move || function.create_accumulator();
        Ok(Box::new(GroupsAccumulatorAdapter::new(one)))
    }
}

/// An accumulator and the groups that it has.
pub(super) struct Joined {
    general: Arc<General>,
    /// Never locked: it makes of what is not shared something that could be.
    accumulator: Mutex<Box<dyn GroupsAccumulator>>,
    groups: usize,
    known: usize,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} groups", self.general.name(), self.groups)
    }
}

impl Joined {
    fn new(general: &Arc<General>, groups: usize) -> Result<Self> {
        let mut accumulator = general.accumulator()?;
        // Unless it has seen a filter, it takes it that each group has a row.
        let filter = BooleanArray::new_null(0);
        accumulator.update_batch(&general.no_rows(), &[], Some(&filter), 0)?;
        Ok(Self {
            accumulator: Mutex::new(accumulator),
            general: Arc::clone(general),
            groups,
            known: 0,
        })
    }

    fn update(&mut self, arguments: &[ArrayRef], slots: &[usize]) -> Result<()> {
        self.known = self.groups;
        let accumulator = self.accumulator.get_mut();
        accumulator.update_batch(arguments, slots, None, self.groups)
    }

    fn merge(&mut self, states: &[ArrayRef], slots: &[usize]) -> Result<()> {
        self.known = self.groups;
        let accumulator = self.accumulator.get_mut();
        accumulator.merge_batch(states, slots, self.groups)
    }

    /// What is known of all groups, those without rows too.
    fn columns(mut self, output: Output) -> Result<Vec<ArrayRef>> {
        if self.known < self.groups {
            let none = self.general.no_rows();
            self.update(&none, &[])?;
        }
        if self.groups == 0 {
            let empty = |own: &DataType| new_empty_array(own);
            return Ok(match output {
                Output::Values => vec![empty(self.general.function.field().data_type())],
                Output::States => {
                    let fields = self.general.function.state_fields()?;
                    fields
                        .iter()
                        .map(|field| empty(field.data_type()))
                        .collect()
                }
            });
        }
        let accumulator = self.accumulator.get_mut();
        match output {
            Output::Values => Ok(vec![accumulator.evaluate(EmitTo::All)?]),
            Output::States => accumulator.state(EmitTo::All),
        }
    }
}

/// An aggregate of one segment.
#[derive(Debug)]
pub(super) struct Gathering<'a> {
    arguments: Vec<(Inputs, Vec<Source<'a>>)>,
    joined: Joined,
    /// Of the rows that wait.
    slots: Vec<usize>,
    waiting: Vec<Vec<ArrayRef>>,
    memory: Memory,
}

/// An accumulator may look at all it has to tell its size: it is asked less often while it grows.
#[derive(Debug, Default)]
struct Memory {
    bytes: usize,
    updates: usize,
    next: usize,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(
        general: &Arc<General>,
        aggregate: &Aggregate,
        compiler: &Compiler<'a, '_>,
    ) -> Result<Self> {
        let arguments = aggregate.arguments().map(|own| compiler.inputs(own));
        Ok(Self {
            arguments: arguments.collect::<Result<_>>()?,
            joined: Joined::new(general, 0)?,
            slots: Vec::new(),
            waiting: Vec::new(),
            memory: Memory::default(),
        })
    }

    pub(super) fn grow(&mut self, groups: usize) {
        self.joined.groups = groups.max(self.joined.groups);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory.bytes
    }

    pub(super) fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        let arguments = self.arguments.iter().map(|(inputs, sources)| {
            let columns = sources.iter();
            let columns = columns.map(|own| own.array(rows.start, rows.len, rows.picked));
            evaluated(inputs, columns.collect::<Result<_>>()?, rows.count())
        });
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        match slots.groups() {
            None => self.slots.resize(self.slots.len() + rows.count(), 0),
            Some(groups) => self
                .slots
                .extend(groups.iter().map(|group| *group as usize)),
        }
        self.waiting.push(arguments);
        let wanted = match self.joined.general.is_grouped {
            true => 0,
            false => ROWS_AT_ONCE.max(self.joined.groups),
        };
        if self.slots.len() >= wanted {
            self.flush()?;
            let memory = &mut self.memory;
            memory.updates += 1;
            if memory.updates >= memory.next {
                memory.next = memory.updates + memory.updates / 16 + 1;
                memory.bytes = self.joined.accumulator.get_mut().size();
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        match &waiting[..] {
            [] => {}
            [arguments] => self.joined.update(arguments, &self.slots)?,
            blocks => {
                let arguments = (0..self.arguments.len()).map(|at| {
                    let parts: Vec<&dyn Array> =
                        blocks.iter().map(|own| own[at].as_ref()).collect();
                    concat(&parts)
                });
                let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
                self.joined.update(&arguments, &self.slots)?;
            }
        }
        self.slots.clear();
        Ok(())
    }

    /// States of the groups at `used`.
    pub(super) fn finish(mut self, used: &[u32]) -> Result<Columns> {
        self.flush()?;
        let columns = self.joined.columns(Output::States)?;
        Ok(Columns::Known(picked(&columns, used)?))
    }
}

/// What is known of each group.
#[derive(Debug)]
pub(super) enum Columns {
    /// Columns of states, or the one of values.
    Known(Vec<ArrayRef>),
    Joining(Joined),
}

impl Columns {
    /// Of groups without rows.
    pub(super) fn empty(general: &Arc<General>, groups: usize) -> Result<Self> {
        Ok(Self::Joining(Joined::new(general, groups)?))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Known(columns) => columns.iter().map(|own| own.get_array_memory_size()).sum(),
            Self::Joining(joined) => joined.accumulator.lock().size(),
        }
    }

    /// Joins the other's state at `row` to the group, for each `(row, group)`.
    pub(super) fn join(&mut self, other: &Self, rows: &[(u32, u32)]) -> Result<()> {
        let (Self::Joining(own), Self::Known(others)) = (self, other) else {
            return internal_err!("states that are joined to what is not open");
        };
        let slots: Vec<usize> = rows.iter().map(|(_, group)| *group as usize).collect();
        let places: Vec<u32> = rows.iter().map(|(row, _)| *row).collect();
        own.merge(&picked(others, &places)?, &slots)
    }

    /// Nothing more comes.
    pub(super) fn settle(&mut self, output: Output) -> Result<()> {
        if let Self::Joining(joined) = self {
            let empty = Joined::new(&joined.general, 0)?;
            let joined = std::mem::replace(joined, empty);
            *self = Self::Known(joined.columns(output)?);
        }
        Ok(())
    }

    /// The columns of the groups; `None` = all.
    pub(super) fn of(&self, groups: Option<&[u32]>) -> Result<Vec<ArrayRef>> {
        match (self, groups) {
            (Self::Known(columns), None) => Ok(columns.clone()),
            (Self::Known(columns), Some(groups)) => picked(columns, groups),
            (Self::Joining(_), _) => internal_err!("states that others may still be joined to"),
        }
    }
}

/// The rows at `places`.
fn picked(columns: &[ArrayRef], places: &[u32]) -> Result<Vec<ArrayRef>> {
    let rows = columns.first().map_or(0, |column| column.len());
    if places.len() == rows && places.iter().zip(0..).all(|(own, at)| *own == at) {
        return Ok(columns.to_vec());
    }
    let places = UInt32Array::from(places.to_vec());
    let picked = columns.iter().map(|column| take(column, &places, None));
    Ok(picked.collect::<Result<_, _>>()?)
}
