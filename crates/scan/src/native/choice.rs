//! Keys that are one or the other column or constant, as conditions on other columns choose:
//! `CASE WHEN … THEN column ELSE constant END`. A condition is a key of this kind, too.
//!
//! A branch has numbers of its own: the codes of its column's dictionary, or one for its constant.
//! Rows choose their branch as filters choose rows, so that no value is looked at. Two numbers may
//! have the same value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CaseExpr, Column, Literal, NotExpr};
use segment::view::{CodeRoom, DictionaryColumn, Nulls, Values};

use super::number::BlockRows;
use crate::columns::{Source, Stored, source};
use crate::predicate::{Compiled, Compiler, Conjunct};

/// More are sooner evaluated.
const BRANCHES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Choice<'a> {
    /// A row takes the first whose condition is true; the last has none.
    branches: Vec<Branch<'a>>,
    /// The branch of each row of a block.
    chosen: Vec<u8>,
    /// For the codes of each branch.
    rooms: Vec<CodeRoom>,
}

#[derive(Debug)]
struct Branch<'a> {
    conditions: Vec<Conjunct<'a>>,
    values: BranchValues<'a>,
    /// Its first number.
    first: u64,
}

#[derive(Debug)]
enum BranchValues<'a> {
    One(ArrayRef),
    Codes(DictionaryColumn<'a>, Option<Nulls<'a>>),
}

impl BranchValues<'_> {
    /// How many numbers there are, null's the last.
    fn count(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Codes(codes, nulls) => {
                u64::from(codes.cardinality()) + u64::from(nulls.is_some())
            }
        }
    }
}

impl<'a> Choice<'a> {
    /// `None`: the expression is nothing of the kind.
    pub(super) fn new(
        expr: &Arc<dyn PhysicalExpr>,
        compiler: &Compiler<'a, '_>,
    ) -> Result<Option<Self>> {
        let data_type = expr.data_type(compiler.table_schema)?;
        let Some(pairs) = pairs_of(expr, &data_type)? else {
            return Ok(None);
        };
        let mut branches: Vec<Branch<'a>> = Vec::with_capacity(pairs.len());
        for (when, then) in &pairs {
            let when = when.as_ref();
            let conditions = match when.map(|when| compiler.compile(std::slice::from_ref(when))) {
                None => Vec::new(),
                Some(compiled) => match compiled? {
                    Compiled::Never => continue,
                    Compiled::Rows(conditions) => conditions,
                },
            };
            let values = match then.data_type(compiler.table_schema)? == data_type {
                true => branch_values(then, compiler)?,
                false => None,
            };
            let Some(values) = values else {
                return Ok(None);
            };
            branches.push(Branch {
                conditions,
                values,
                first: 0,
            });
        }
        let mut first = 0;
        for branch in &mut branches {
            branch.first = first;
            first += branch.values.count();
        }
        Ok(Some(Self {
            branches,
            chosen: Vec::new(),
            rooms: Vec::new(),
        }))
    }

    /// Numbers are below it.
    pub(super) fn domain(&self) -> u64 {
        let last = self.branches.last();
        last.map_or(1, |last| last.first + last.values.count())
    }

    /// The number of each of the rows.
    pub(super) fn numbers(&mut self, rows: BlockRows<'_>) -> Result<Vec<u64>> {
        let last = self.branches.len().saturating_sub(1);
        self.chosen.clear();
        self.chosen.resize(rows.len as usize, last as u8);
        let mut left = rows.mask.clone();
        let mut own = Vec::new();
        for (at, branch) in self.branches[..last].iter().enumerate() {
            let mut mask = left.clone();
            for condition in &branch.conditions {
                condition.apply(rows.start, &mut mask)?;
            }
            mask.collect_into(&mut own);
            for row in &own {
                self.chosen[*row as usize] = at as u8;
            }
            left.and_not(&mask);
        }
        self.rooms
            .resize_with(self.branches.len(), CodeRoom::default);
        let branches = self.branches.iter().zip(&mut self.rooms);
        let codes = branches.map(|(branch, room)| match &branch.values {
            BranchValues::One(_) => None,
            BranchValues::Codes(codes, nulls) => {
                let null = rows.nulls(*nulls).map(|null| (null, codes.cardinality()));
                Some((codes.codes(rows.range(), room), null))
            }
        });
        let codes: Vec<_> = codes.collect();
        let number = |row: u32| {
            let at = usize::from(self.chosen[row as usize]);
            let code = match &codes[at] {
                None => 0,
                Some((_, Some((null, number)))) if null.contains(row) => *number,
                Some((codes, _)) => codes.get(row as usize),
            };
            self.branches[at].first + u64::from(code)
        };
        Ok(match rows.picked {
            None => (0..rows.len).map(number).collect(),
            Some(picked) => picked.iter().map(|row| number(*row)).collect(),
        })
    }

    /// The values behind numbers.
    pub(super) fn values(&self, numbers: &[u64]) -> Result<ArrayRef> {
        let arrays = self.branches.iter().map(|branch| match &branch.values {
            BranchValues::One(one) => Arc::clone(one),
            BranchValues::Codes(codes, _) => codes.array(),
        });
        let mut arrays: Vec<ArrayRef> = arrays.collect();
        let null = arrays.len();
        arrays.push(new_null_array(arrays[0].data_type(), 1));
        let places = numbers.iter().map(|number| {
            let after = self
                .branches
                .partition_point(|branch| branch.first <= *number);
            let branch = after.saturating_sub(1);
            let code = (number - self.branches[branch].first) as usize;
            match code < arrays[branch].len() {
                true => (branch, code),
                false => (null, 0),
            }
        });
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        Ok(interleave(&arrays, &places.collect::<Vec<_>>())?)
    }
}

type Pair = (Option<Arc<dyn PhysicalExpr>>, Arc<dyn PhysicalExpr>);

/// Each value with its condition; the last has none. `None`: the expression is nothing of the kind.
fn pairs_of(expr: &Arc<dyn PhysicalExpr>, data_type: &DataType) -> Result<Option<Vec<Pair>>> {
    let constant = |value| Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>;
    let null = || Ok::<_, DataFusionError>(constant(ScalarValue::try_from(data_type)?));
    let Some(case) = expr.downcast_ref::<CaseExpr>() else {
        if *data_type != DataType::Boolean || expr.is::<Column>() {
            return Ok(None);
        }
        let flag = |flag| constant(ScalarValue::Boolean(Some(flag)));
        let negated: Arc<dyn PhysicalExpr> = Arc::new(NotExpr::new(Arc::clone(expr)));
        return Ok(Some(vec![
            (Some(Arc::clone(expr)), flag(true)),
            (Some(negated), flag(false)),
            (None, null()?),
        ]));
    };
    let pairs = case.when_then_expr();
    if case.expr().is_some() || pairs.len() >= BRANCHES_MAX {
        return Ok(None);
    }
    let last = match case.else_expr() {
        Some(other) => Arc::clone(other),
        None => null()?,
    };
    let pairs = pairs.iter().cloned();
    let pairs = pairs.map(|(when, then)| (Some(when), then));
    Ok(Some(pairs.chain([(None, last)]).collect()))
}

/// `None`: they have no numbers.
fn branch_values<'a>(
    then: &Arc<dyn PhysicalExpr>,
    compiler: &Compiler<'a, '_>,
) -> Result<Option<BranchValues<'a>>> {
    if let Some(literal) = then.downcast_ref::<Literal>() {
        return Ok(Some(BranchValues::One(literal.value().to_array()?)));
    }
    let Some(column) = then.downcast_ref::<Column>() else {
        return Ok(None);
    };
    let Compiler {
        view,
        spec,
        table_schema,
        null_mode,
        ..
    } = *compiler;
    let field = table_schema.field(column.index());
    Ok(match source(view, spec, field, null_mode)? {
        Source::Constant(one) => Some(BranchValues::One(one)),
        Source::Stored(Stored { column, nulls }) => match column.values() {
            Values::Dictionary(codes) => Some(BranchValues::Codes(codes, nulls)),
            _ => None,
        },
        Source::DocId | Source::Extracted(_) | Source::IsNull(_) => None,
    })
}
