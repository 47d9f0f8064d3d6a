//! Plans of fragments as bytes.
//!
//! DataFusion's protobuf form carries the plan; this codec adds the scan's description and the
//! [parameters](crate::parameters). Which segments a server reads, and the values of parameters,
//! travel beside the plan, so the bytes are the same for all servers and for every statement of
//! one shape.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::Schema;
use bytes::Bytes;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr_common::physical_expr::proto_decode::PhysicalExprDecodeCtx;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_proto_converter,
};
use datafusion_proto::physical_plan::from_proto::parse_physical_expr;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr_with_converter;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalPlanNodeExt,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use datafusion_proto::protobuf::physical_expr_node::ExprType;
use prost::Message;
use schemas::proto::NullMode;
use schemas::{Fault, TableId};

use crate::fault::from_fault;
use crate::parameters::{Parameters, parameter_of};
use crate::scan_exec::{ScanDescription, SegmentScanExec};

/// Raised by hand whenever a plan's bytes change their meaning; servers of another format are not
/// asked.
pub const PLAN_FORMAT: u32 = 2;

/// Makes the scan that executes a description. Servers have one; brokers do not.
pub trait ScanFactory: fmt::Debug + Send + Sync {
    fn scan(&self, description: ScanDescription) -> Result<Arc<dyn ExecutionPlan>>;
}

pub fn encode_plan(plan: Arc<dyn ExecutionPlan>) -> Result<Bytes> {
    let codec = FragmentCodec::default();
    let bytes = physical_plan_to_bytes_with_proto_converter(plan, &codec, &WithParameters)?;
    check_depth::<protobuf::PhysicalPlanNode>(&bytes)?;
    Ok(bytes)
}

/// Messages within one another are read to a depth of a hundred.
fn check_depth<M: Message + Default>(bytes: &[u8]) -> Result<()> {
    match M::decode(bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(from_fault(Fault::invalid(
            "the statement is nested too deeply for servers: about 30 calls, casts or CASEs within \
             one another; compute the inner ones in a subquery, or ask for less at once",
        ))),
    }
}

/// A plan for a server, and what of it depends on parameters.
#[derive(Debug)]
pub struct DecodedPlan {
    pub plan: Arc<dyn ExecutionPlan>,
    /// Parameters stand elsewhere than in the filters of scans: the plan is of these values alone.
    pub is_of_its_values: bool,
}

pub fn decode_plan(
    plan: &[u8],
    parameters: &Parameters,
    context: &TaskContext,
    factory: Arc<dyn ScanFactory>,
) -> Result<DecodedPlan> {
    let codec = FragmentCodec {
        factory: Some(factory),
        parameters: parameters.clone(),
        parameters_seen: AtomicUsize::new(0),
    };
    let plan = physical_plan_from_bytes_with_extension_codec(plan, context, &codec)?;
    let is_of_its_values = codec.parameters_seen.into_inner() > 0;
    Ok(DecodedPlan {
        plan,
        is_of_its_values,
    })
}

/// Filters of a scan as they were sent, for the values of another run.
#[derive(Clone, Debug)]
pub struct SentFilters(Vec<protobuf::PhysicalExprNode>);

impl SentFilters {
    pub fn with(
        &self,
        parameters: &Parameters,
        table_schema: &Schema,
        context: &TaskContext,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let codec = FragmentCodec {
            parameters: parameters.clone(),
            ..FragmentCodec::default()
        };
        codec.filters(&self.0, table_schema, context)
    }
}

#[derive(Debug, Default)]
struct FragmentCodec {
    factory: Option<Arc<dyn ScanFactory>>,
    parameters: Parameters,
    /// Outside of scans.
    parameters_seen: AtomicUsize,
}

impl FragmentCodec {
    fn filters(
        &self,
        filters: &[protobuf::PhysicalExprNode],
        table_schema: &Schema,
        context: &TaskContext,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let filters = filters.iter();
        filters
            .map(|filter| parse_physical_expr(filter, context, table_schema, self))
            .collect()
    }
}

/// Writes a literal that stands for a parameter as the parameter's number.
struct WithParameters;

#[derive(Clone, PartialEq, Message)]
struct ParameterMessage {
    #[prost(uint32, tag = "1")]
    index: u32,
}

impl PhysicalProtoConverterExtension for WithParameters {
    fn proto_to_execution_plan(
        &self,
        proto: &protobuf::PhysicalPlanNode,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.default_proto_to_execution_plan(proto, context)
    }

    fn execution_plan_to_proto(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<protobuf::PhysicalPlanNode> {
        protobuf::PhysicalPlanNode::try_from_physical_plan_with_converter(
            Arc::clone(plan),
            codec,
            self,
        )
    }

    fn proto_to_physical_expr(
        &self,
        proto: &protobuf::PhysicalExprNode,
        schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        self.default_proto_to_physical_expr(proto, schema, context)
    }

    fn physical_expr_to_proto(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<protobuf::PhysicalExprNode> {
        let Some(index) = parameter_of(expr) else {
            return serialize_physical_expr_with_converter(expr, codec, self);
        };
        let message = ParameterMessage {
            index: index as u32,
        };
        let parameter = protobuf::PhysicalExtensionExprNode {
            expr: message.encode_to_vec(),
            inputs: Vec::new(),
        };
        Ok(protobuf::PhysicalExprNode {
            expr_id: None,
            expr_type: Some(ExprType::Extension(parameter)),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct ScanMessage {
    #[prost(bytes = "bytes", tag = "1")]
    table: Bytes,
    #[prost(string, tag = "2")]
    table_name: String,
    #[prost(message, optional, tag = "3")]
    table_schema: Option<protobuf::Schema>,
    #[prost(uint32, repeated, tag = "4")]
    projection: Vec<u32>,
    #[prost(message, repeated, tag = "5")]
    filters: Vec<protobuf::PhysicalExprNode>,
    #[prost(uint64, optional, tag = "6")]
    fetch: Option<u64>,
    #[prost(enumeration = "NullMode", tag = "7")]
    null_mode: i32,
    #[prost(bool, tag = "8")]
    is_dimension_table: bool,
}

impl PhysicalExtensionCodec for FragmentCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(factory) = &self.factory else {
            return internal_err!("a broker decodes no fragments");
        };
        let message = ScanMessage::decode(bytes)
            .map_err(|error| internal_datafusion_err!("a scan cannot be decoded: {error}"))?;
        factory.scan(from_message(message, context, self)?)
    }

    fn try_decode_expr(
        &self,
        bytes: &[u8],
        _: &[Arc<dyn PhysicalExpr>],
        _: &PhysicalExprDecodeCtx<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let message = ParameterMessage::decode(bytes)
            .map_err(|error| internal_datafusion_err!("a parameter cannot be decoded: {error}"))?;
        self.parameters_seen.fetch_add(1, Ordering::Relaxed);
        let value = self.parameters.get(message.index as usize)?;
        Ok(Arc::new(Literal::new(value.clone())))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        to: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(scan) = node.downcast_ref::<SegmentScanExec>() else {
            return internal_err!("{} has no form for servers", node.name());
        };
        to_message(scan.description(), self)?
            .encode(to)
            .map_err(|error| internal_datafusion_err!("a scan cannot be encoded: {error}"))?;
        check_depth::<ScanMessage>(to)
    }
}

fn to_message(
    description: &ScanDescription,
    codec: &dyn PhysicalExtensionCodec,
) -> Result<ScanMessage> {
    let filters = description
        .filters
        .iter()
        .map(|filter| WithParameters.physical_expr_to_proto(filter, codec))
        .collect::<Result<Vec<_>>>()?;
    let table_schema = protobuf::Schema::try_from(description.table_schema.as_ref())?;
    Ok(ScanMessage {
        table: description.table.to_bytes(),
        table_name: description.table_name.clone(),
        table_schema: Some(table_schema),
        projection: description
            .projection
            .iter()
            .map(|index| *index as u32)
            .collect(),
        filters,
        fetch: description.fetch.map(|fetch| fetch as u64),
        null_mode: description.null_mode as i32,
        is_dimension_table: description.is_dimension_table,
    })
}

fn from_message(
    message: ScanMessage,
    context: &TaskContext,
    codec: &FragmentCodec,
) -> Result<ScanDescription> {
    let null_mode = message.null_mode();
    let table = TableId::from_bytes(&message.table)
        .ok_or_else(|| internal_datafusion_err!("a scan without a table id"))?;
    let schema = message
        .table_schema
        .as_ref()
        .ok_or_else(|| internal_datafusion_err!("a scan without a schema"))?;
    let table_schema = Schema::try_from(schema)?;
    let seen = codec.parameters_seen.load(Ordering::Relaxed);
    let filters = codec.filters(&message.filters, &table_schema, context)?;
    // Those of a scan are bound again for each run.
    let seen_here = codec.parameters_seen.swap(seen, Ordering::Relaxed) - seen;
    let sent_filters = (seen_here > 0).then(|| Arc::new(SentFilters(message.filters)));
    let projection = message.projection.iter().map(|index| *index as usize);
    Ok(ScanDescription {
        table,
        table_name: message.table_name,
        table_schema: Arc::new(table_schema),
        projection: projection.collect(),
        filters,
        sent_filters,
        fetch: message.fetch.map(|fetch| fetch as usize),
        null_mode,
        is_dimension_table: message.is_dimension_table,
    })
}
