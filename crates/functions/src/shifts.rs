//! LAG and LEAD. DataFusion's go wrong where they leave out nulls and are evaluated while rows
//! come: some rows get no value although one follows, and a LIMIT takes away rows that follow. Ours
//! are DataFusion's, evaluated over a whole partition in that case.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_window::lead_lag::{lag_udwf, lead_udwf};
use datafusion::logical_expr::function::{
    ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs,
};
use datafusion::logical_expr::{
    Documentation, LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF,
    WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;

/// In the place of DataFusion's.
pub(crate) fn shifts() -> [Arc<WindowUDF>; 2] {
    [lag_udwf(), lead_udwf()].map(|own| Arc::new(WindowUDF::from(Shift(own))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shift(Arc<WindowUDF>);

impl WindowUDFImpl for Shift {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn expressions(&self, arguments: ExpressionArgs<'_>) -> Vec<Arc<dyn PhysicalExpr>> {
        self.0.expressions(arguments)
    }

    fn partition_evaluator(
        &self,
        arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let leaves_out = arguments.ignore_nulls();
        let own = self.0.partition_evaluator_factory(arguments)?;
        Ok(match leaves_out {
            true => Box::new(OfPartition(own)),
            false => own,
        })
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        self.0.field(arguments)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        let same = Self(Arc::clone(&self.0));
        ReversedUDWF::Reversed(Arc::new(WindowUDF::from(same)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }

    /// How many rows LEAD looks ahead is not known where it leaves some out, which the arguments do
    /// not tell.
    fn limit_effect(&self, arguments: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        match self.0.inner().limit_effect(arguments) {
            LimitEffect::None => LimitEffect::None,
            _ => LimitEffect::Unknown,
        }
    }
}

/// It waits for all rows of a partition.
#[derive(Debug)]
struct OfPartition(Box<dyn PartitionEvaluator>);

impl PartitionEvaluator for OfPartition {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        self.0.evaluate_all(values, rows)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        self.0.evaluate(values, range)
    }

    fn supports_bounded_execution(&self) -> bool {
        false
    }
}
