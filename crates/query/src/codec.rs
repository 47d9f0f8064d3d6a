//! Plans of fragments as bytes.
//!
//! DataFusion's protobuf form carries the plan; this codec adds the scan's description. Which
//! segments a server reads travels beside the plan, so the bytes are the same for all servers.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::Bytes;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::physical_plan::from_proto::parse_physical_expr;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use datafusion_proto::protobuf;
use prost::Message;
use schemas::TableId;
use schemas::proto::NullMode;

use crate::scan_exec::{ScanDescription, SegmentScanExec};

/// Raised by hand whenever a plan's bytes change their meaning; servers of another format are not
/// asked.
pub const PLAN_FORMAT: u32 = 1;

/// Makes the scan that executes a description. Servers have one; brokers do not.
pub trait ScanFactory: fmt::Debug + Send + Sync {
    fn scan(&self, description: ScanDescription) -> Result<Arc<dyn ExecutionPlan>>;
}

pub fn encode_plan(plan: Arc<dyn ExecutionPlan>) -> Result<Bytes> {
    physical_plan_to_bytes_with_extension_codec(plan, &FragmentCodec::default())
}

pub fn decode_plan(
    plan: &[u8],
    context: &TaskContext,
    factory: Arc<dyn ScanFactory>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let codec = FragmentCodec {
        factory: Some(factory),
    };
    physical_plan_from_bytes_with_extension_codec(plan, context, &codec)
}

#[derive(Debug, Default)]
struct FragmentCodec {
    factory: Option<Arc<dyn ScanFactory>>,
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
            .map_err(|error| internal_datafusion_err!("a scan cannot be encoded: {error}"))
    }
}

fn to_message(
    description: &ScanDescription,
    codec: &dyn PhysicalExtensionCodec,
) -> Result<ScanMessage> {
    let filters = description
        .filters
        .iter()
        .map(|filter| serialize_physical_expr(filter, codec))
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
    codec: &dyn PhysicalExtensionCodec,
) -> Result<ScanDescription> {
    let null_mode = message.null_mode();
    let table = TableId::from_bytes(&message.table)
        .ok_or_else(|| internal_datafusion_err!("a scan without a table id"))?;
    let schema = message
        .table_schema
        .as_ref()
        .ok_or_else(|| internal_datafusion_err!("a scan without a schema"))?;
    let table_schema = Schema::try_from(schema)?;
    let filters = message
        .filters
        .iter()
        .map(|filter| parse_physical_expr(filter, context, &table_schema, codec))
        .collect::<Result<Vec<_>>>()?;
    Ok(ScanDescription {
        table,
        table_name: message.table_name,
        table_schema: Arc::new(table_schema),
        projection: message
            .projection
            .iter()
            .map(|index| *index as usize)
            .collect(),
        filters,
        fetch: message.fetch.map(|fetch| fetch as usize),
        null_mode,
        is_dimension_table: message.is_dimension_table,
    })
}
