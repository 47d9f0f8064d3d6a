//! Values that a plan is run with: literals of a statement that are no part of its plan.
//!
//! At the broker a parameter is a literal that carries its number; it has the value of the
//! statement that is planned, so that nothing between the planner and the codec needs to know of
//! parameters.
//! Servers get the number, and the values beside the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::scalar::ScalarValue;
use datafusion_proto::protobuf;
use prost::Message;

/// Key of the metadata of a literal; its value is the number of the parameter.
const NUMBER: &str = "tannin.parameter";

/// The values of one run, by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(Arc<[ScalarValue]>);

#[derive(Clone, PartialEq, Message)]
struct ParametersMessage {
    #[prost(message, repeated, tag = "1")]
    values: Vec<protobuf::ScalarValue>,
}

impl Parameters {
    pub fn new(values: Vec<ScalarValue>) -> Self {
        Self(values.into())
    }

    pub(crate) fn get(&self, number: usize) -> Result<&ScalarValue> {
        let known = self.0.get(number);
        known.ok_or_else(|| internal_datafusion_err!("there is no value of parameter {number}"))
    }

    pub fn to_bytes(&self) -> Result<Bytes> {
        if self.0.is_empty() {
            return Ok(Bytes::new());
        }
        let values = self.0.iter().map(protobuf::ScalarValue::try_from);
        let values = values.collect::<Result<_, _>>()?;
        Ok(ParametersMessage { values }.encode_to_vec().into())
    }

    pub fn from_bytes(bytes: &Bytes) -> Result<Self> {
        let message = ParametersMessage::decode(bytes.as_ref())
            .map_err(|error| internal_datafusion_err!("parameters cannot be decoded: {error}"))?;
        let values = message.values.iter().map(ScalarValue::try_from);
        Ok(Self(values.collect::<Result<_, _>>()?))
    }
}

/// A literal that stands for parameter `number`.
pub(crate) fn parameter(number: usize, value: ScalarValue) -> Expr {
    let metadata = BTreeMap::from([(NUMBER.to_owned(), number.to_string())]);
    Expr::Literal(value, Some(FieldMetadata::new(metadata)))
}

/// The number of the parameter that the literal stands for.
pub(crate) fn parameter_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    let literal = expr.downcast_ref::<Literal>()?;
    let field = literal
        .return_field(&arrow::datatypes::Schema::empty())
        .ok()?;
    field.metadata().get(NUMBER)?.parse().ok()
}

/// The value of a literal in this run; its own where no values are given.
pub(crate) fn value_of<'a>(
    expr: &'a Arc<dyn PhysicalExpr>,
    parameters: &'a Parameters,
) -> Option<&'a ScalarValue> {
    let own = expr.downcast_ref::<Literal>().map(Literal::value)?;
    match parameter_of(expr) {
        Some(number) if !parameters.0.is_empty() => parameters.get(number).ok(),
        _ => Some(own),
    }
}

/// The expression with the values of this run.
pub(crate) fn bound(
    expr: &Arc<dyn PhysicalExpr>,
    parameters: &Parameters,
) -> Result<Arc<dyn PhysicalExpr>> {
    let bound = Arc::clone(expr).transform_up(|node| {
        if parameter_of(&node).is_none() {
            return Ok(Transformed::no(node));
        }
        let value = value_of(&node, parameters).cloned();
        let value = value.ok_or_else(|| internal_datafusion_err!("a parameter without a value"))?;
        Ok(Transformed::yes(Arc::new(Literal::new(value)) as _))
    })?;
    Ok(bound.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_arrive_as_they_were_sent() {
        let values = vec![
            ScalarValue::Int32(Some(-7)),
            ScalarValue::Int64(Some(i64::MIN)),
            ScalarValue::Float64(Some(-0.0)),
            ScalarValue::Utf8View(Some("it's \u{1F980}".to_owned())),
            ScalarValue::TimestampMillisecond(Some(1_385_000_000_123), None),
        ];
        let sent = Parameters::new(values);
        let came = Parameters::from_bytes(&sent.to_bytes().unwrap()).unwrap();
        assert_eq!(came, sent);
        assert!(came.get(4).is_ok() && came.get(5).is_err());
        assert!(Parameters::default().to_bytes().unwrap().is_empty());
    }
}
