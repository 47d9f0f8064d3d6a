//! EXCLUDE in the frames of windows.
//!
//! The planner's windows know frames that are one range of rows. Here a function is computed over
//! what is left of such a range without some rows around the current one: at most three ranges,
//! of which long ones are made of [`partial`] states.
//! `dialect/words.rs` marks the windows, [`Exclusions`] finds the marks and puts [`Excluding`] in
//! the place of the function. Invariant: it runs at the broker alone, where it can be watched.

mod partial;

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{filter, partition};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::function::{
    AccumulatorArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs,
};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawWindowExpr};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::COUNT_STAR_EXPANSION;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, Expr, PartitionEvaluator, Signature, Volatility,
    WindowFunctionDefinition, WindowUDF, WindowUDFImpl, lit,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::windows::{StandardWindowExpr, WindowAggExec, WindowUDFExpr};

use crate::watched::Watch;

use partial::{LONG, Partial};

/// Which rows of a frame do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Exclusion {
    CurrentRow,
    /// And its peers.
    Group,
    /// Its peers alone.
    Ties,
}

impl Exclusion {
    /// What a window is divided by that has it: the same for all rows, and nobody writes it.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::CurrentRow => "\u{0}EXCLUDE CURRENT ROW",
            Self::Group => "\u{0}EXCLUDE GROUP",
            Self::Ties => "\u{0}EXCLUDE TIES",
        }
    }

    fn of_mark(expr: &Expr) -> Option<Self> {
        let Expr::Literal(value, _) = expr else {
            return None;
        };
        let text = value.try_as_str().flatten()?;
        let all = [Self::CurrentRow, Self::Group, Self::Ties];
        all.into_iter().find(|exclusion| exclusion.mark() == text)
    }
}

/// Puts functions that exclude rows in the place of others, where a window is marked.
#[derive(Debug)]
pub(crate) struct Exclusions(pub(crate) Watch);

impl ExprPlanner for Exclusions {
    fn plan_window(&self, mut raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let marks = raw.partition_by.iter().enumerate();
        let mut found = marks.filter_map(|(at, expr)| Some((at, Exclusion::of_mark(expr)?)));
        let Some((at, exclusion)) = found.next() else {
            return Ok(PlannerResult::Original(raw));
        };
        raw.partition_by.remove(at);
        let Some(function) = Of::known(&raw.func_def)? else {
            return Ok(PlannerResult::Original(raw));
        };
        let name = as_expr(raw.clone()).schema_name().to_string();
        let name = format!("{name} {}", &exclusion.mark()[1..]);
        #[expect(deprecated, reason = "the parser's star is still one")]
        let counts_rows = matches!(raw.args.as_slice(), [] | [Expr::Wildcard { .. }]);
        if counts_rows {
            raw.args = vec![lit(COUNT_STAR_EXPANSION)];
        }
        let condition = raw.filter.take();
        let excluding = Excluding {
            function,
            exclusion,
            is_distinct: std::mem::take(&mut raw.distinct),
            has_condition: condition.is_some(),
            signature: Signature::user_defined(Volatility::Volatile),
            watch: self.0.clone(),
        };
        raw.args.extend(condition.map(|condition| *condition));
        raw.func_def = WindowFunctionDefinition::WindowUDF(Arc::new(WindowUDF::from(excluding)));
        Ok(PlannerResult::Planned(as_expr(raw).alias(name)))
    }
}

fn as_expr(raw: RawWindowExpr) -> Expr {
    Expr::from(WindowFunction {
        fun: raw.func_def,
        params: WindowFunctionParams {
            args: raw.args,
            partition_by: raw.partition_by,
            order_by: raw.order_by,
            window_frame: raw.window_frame,
            filter: raw.filter,
            null_treatment: raw.null_treatment,
            distinct: raw.distinct,
        },
    })
}

/// Servers do not know the function.
pub(crate) fn excludes(window: &WindowAggExec) -> bool {
    window.window_expr().iter().any(|expr| {
        let standard = expr.as_any().downcast_ref::<StandardWindowExpr>();
        let function = standard.map(|expr| expr.get_standard_func_expr().as_any());
        let function = function.and_then(|function| function.downcast_ref::<WindowUDFExpr>());
        function.is_some_and(|function| function.fun().inner().is::<Excluding>())
    })
}

/// What is computed over the rows that are left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Of {
    Aggregate(Arc<AggregateUDF>),
    First,
    Last,
    Nth,
}

impl Of {
    /// `None`: the function does not look at its frame.
    fn known(function: &WindowFunctionDefinition) -> Result<Option<Self>> {
        Ok(Some(match function {
            WindowFunctionDefinition::AggregateUDF(function) => {
                Self::Aggregate(Arc::clone(function))
            }
            WindowFunctionDefinition::WindowUDF(function) => match function.name() {
                "first_value" => Self::First,
                "last_value" => Self::Last,
                "nth_value" => Self::Nth,
                _ => return Ok(None),
            },
        }))
    }
}

#[derive(Clone, Debug)]
struct Excluding {
    function: Of,
    exclusion: Exclusion,
    is_distinct: bool,
    /// Of FILTER: the last argument.
    has_condition: bool,
    signature: Signature,
    watch: Watch,
}

impl Excluding {
    fn told_apart(&self) -> (&Of, Exclusion, bool, bool) {
        let Self {
            function,
            exclusion,
            is_distinct,
            has_condition,
            ..
        } = self;
        (function, *exclusion, *is_distinct, *has_condition)
    }

    /// Without the condition.
    fn own<'a, T>(&self, arguments: &'a [T]) -> &'a [T] {
        let count = arguments.len() - usize::from(self.has_condition && !arguments.is_empty());
        &arguments[..count]
    }
}

impl PartialEq for Excluding {
    fn eq(&self, other: &Self) -> bool {
        self.told_apart() == other.told_apart()
    }
}

impl Eq for Excluding {}

impl Hash for Excluding {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.told_apart().hash(state);
    }
}

impl WindowUDFImpl for Excluding {
    fn name(&self) -> &str {
        match &self.function {
            Of::Aggregate(function) => function.name(),
            Of::First => "first_value",
            Of::Last => "last_value",
            Of::Nth => "nth_value",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let own = self.own(given);
        let mut types = match &self.function {
            Of::Aggregate(function) => {
                let fields = own
                    .iter()
                    .map(|own| Arc::new(Field::new("argument", own.clone(), true)) as FieldRef);
                let fields = fields.collect::<Vec<_>>();
                let fields = fields_with_udf(&fields, function.as_ref())?;
                fields
                    .iter()
                    .map(|field| field.data_type().clone())
                    .collect()
            }
            Of::First | Of::Last if own.len() != 1 => {
                return plan_err!("{} takes one argument", self.name());
            }
            Of::Nth if own.len() != 2 => {
                return plan_err!("nth_value takes a value and a number");
            }
            Of::Nth => vec![own[0].clone(), DataType::Int64],
            Of::First | Of::Last => own.to_vec(),
        };
        types.extend(given[own.len()..].iter().map(|_| DataType::Boolean));
        Ok(types)
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let own = self.own(arguments.input_fields());
        let data_type = match &self.function {
            Of::Aggregate(function) => function.return_field(own)?.data_type().clone(),
            _ => own[0].data_type().clone(),
        };
        Ok(Arc::new(Field::new(arguments.name(), data_type, true)))
    }

    fn partition_evaluator(
        &self,
        arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator {
            excluding: self.clone(),
            exprs: arguments.input_exprs().to_vec(),
            fields: arguments.input_fields().to_vec(),
            ignores_nulls: arguments.ignore_nulls(),
            peers: Vec::new(),
            current: 0,
            group: 0,
            partial: Lazy::NotYet,
        }))
    }
}

/// Of one partition, whose rows come in their order.
#[derive(Debug)]
struct Evaluator {
    excluding: Excluding,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    ignores_nulls: bool,
    /// Rows with the same values of ORDER BY.
    peers: Vec<Range<usize>>,
    current: usize,
    /// Of `peers`, that of the current row.
    group: usize,
    partial: Lazy,
}

/// States of an aggregate, made when a range is long.
#[derive(Debug)]
enum Lazy {
    NotYet,
    /// The aggregate has none that can be merged.
    Never,
    Made(Partial),
}

/// So many rows are computed between two looks at the clock.
const ROWS_BETWEEN_LOOKS: usize = 64;

impl PartitionEvaluator for Evaluator {
    fn uses_window_frame(&self) -> bool {
        true
    }

    /// `values`: of the arguments, and behind them of ORDER BY; of the whole partition.
    fn evaluate(&mut self, values: &[ArrayRef], frame: &Range<usize>) -> Result<ScalarValue> {
        let (arguments, order) = values.split_at(self.exprs.len());
        if self.current == 0 {
            let rows = values.first().map_or(0, |values| values.len());
            self.peers = match order {
                [] => std::iter::once(0..rows).collect(),
                order => partition(order)?.ranges(),
            };
        }
        if self.current.is_multiple_of(ROWS_BETWEEN_LOOKS) {
            self.excluding.watch.check()?;
        }
        while self
            .peers
            .get(self.group)
            .is_some_and(|peers| peers.end <= self.current)
        {
            self.group += 1;
        }
        let left = self.left_of(frame);
        self.current += 1;
        match self.excluding.function.clone() {
            Of::Aggregate(function) => self.aggregate(&function, arguments, &left),
            _ => self.one_row(arguments, left),
        }
    }
}

impl Evaluator {
    /// Ranges of the frame without what is excluded, in order.
    fn left_of(&self, frame: &Range<usize>) -> [Range<usize>; 3] {
        let own = self.current..self.current + 1;
        let peers = self.peers.get(self.group).unwrap_or(&own).clone();
        let within = |range: Range<usize>| {
            let start = range.start.max(frame.start);
            start..range.end.min(frame.end).max(start)
        };
        let (excluded, kept) = match self.excluding.exclusion {
            Exclusion::CurrentRow => (own.clone(), own.end..own.end),
            Exclusion::Group => (peers.clone(), peers.end..peers.end),
            Exclusion::Ties => (peers, own),
        };
        [
            within(0..excluded.start),
            within(kept),
            within(excluded.end..usize::MAX),
        ]
    }

    fn aggregate(
        &mut self,
        function: &AggregateUDF,
        arguments: &[ArrayRef],
        left: &[Range<usize>],
    ) -> Result<ScalarValue> {
        if matches!(self.partial, Lazy::NotYet) && left.iter().any(|range| range.len() >= LONG) {
            let made = self.partial(function, arguments);
            self.excluding.watch.check()?;
            self.partial = made.map_or(Lazy::Never, Lazy::Made);
        }
        let mut accumulator = self.accumulator(function)?;
        let add_rows = |range: Range<usize>, accumulator: &mut Box<dyn Accumulator>| {
            self.add_rows(arguments, &range, accumulator.as_mut())
        };
        for range in left.iter().cloned() {
            match &self.partial {
                Lazy::Made(partial) => partial.add(range, &mut accumulator, &add_rows)?,
                _ => add_rows(range, &mut accumulator)?,
            }
        }
        accumulator.evaluate()
    }

    /// Of all rows of the partition.
    fn partial(&self, function: &AggregateUDF, arguments: &[ArrayRef]) -> Result<Partial> {
        let rows = self.peers.last().map_or(0, |peers| peers.end);
        let of_rows = |range: Range<usize>| {
            self.excluding.watch.check()?;
            let mut accumulator = self.accumulator(function)?;
            self.add_rows(arguments, &range, accumulator.as_mut())?;
            Ok(accumulator)
        };
        Partial::new(rows, &|| self.accumulator(function), &of_rows)
    }

    fn add_rows(
        &self,
        arguments: &[ArrayRef],
        range: &Range<usize>,
        accumulator: &mut dyn Accumulator,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let slice = |values: &ArrayRef| values.slice(range.start, range.len());
        let own = self.excluding.own(arguments);
        let mut rows: Vec<ArrayRef> = own.iter().map(slice).collect();
        if let Some(condition) = arguments.get(own.len()) {
            let condition = slice(condition);
            let rows_left = rows.iter().map(|rows| filter(rows, condition.as_boolean()));
            rows = rows_left.collect::<Result<_, _>>()?;
        }
        accumulator.update_batch(&rows)
    }

    fn accumulator(&self, function: &AggregateUDF) -> Result<Box<dyn Accumulator>> {
        let fields = self.excluding.own(&self.fields);
        let schema = Schema::new(self.fields.clone());
        function.accumulator(AccumulatorArgs {
            return_field: function.return_field(fields)?,
            schema: &schema,
            ignore_nulls: self.ignores_nulls,
            order_bys: &[],
            is_reversed: false,
            name: function.name(),
            is_distinct: self.excluding.is_distinct,
            exprs: self.excluding.own(&self.exprs),
            expr_fields: fields,
        })
    }

    /// The value of the first row that is left, the last one, or another.
    fn one_row(&self, arguments: &[ArrayRef], left: [Range<usize>; 3]) -> Result<ScalarValue> {
        let values = &arguments[0];
        let condition = arguments.get(self.excluding.own(arguments).len());
        let counts = |row: &usize| {
            let holds = condition.is_none_or(|condition| {
                condition.is_valid(*row) && condition.as_boolean().value(*row)
            });
            holds && !(self.ignores_nulls && values.is_null(*row))
        };
        let mut rows = left.into_iter().flatten().filter(counts);
        let row = match self.excluding.function {
            Of::Last => rows.next_back(),
            Of::Nth => {
                let number = ScalarValue::try_from_array(&arguments[1], 0)?;
                match number {
                    ScalarValue::Int64(Some(number)) if number > 0 => rows.nth(number as usize - 1),
                    ScalarValue::Int64(Some(number)) if number < 0 => {
                        rows.nth_back(number.unsigned_abs() as usize - 1)
                    }
                    _ => return exec_err!("nth_value counts rows from 1, or from -1 at the end"),
                }
            }
            _ => rows.next(),
        };
        match row {
            Some(row) => ScalarValue::try_from_array(values, row),
            None => ScalarValue::try_from(values.data_type()),
        }
    }
}
