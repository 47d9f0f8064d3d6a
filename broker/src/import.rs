//! `INSERT INTO t FROM FILE`: an order to the controller, which a minion carries out.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use query::FileImport;
use schemas::Fault;
use schemas::proto::SubmitImportRequest;
use uuid::Uuid;

use crate::query::{Queries, Rows};

impl Queries {
    /// Answers at once: `sys.tasks` tells how far the task is. The columns are Pinot's.
    pub(crate) async fn submit(
        &self,
        import: FileImport,
        warnings: &mut Vec<String>,
    ) -> Result<Rows, Fault> {
        let controller = self.network.controller()?;
        let mut options = import.options.0;
        // Of the statement itself.
        options.retain(|name, _| {
            !["database", "usemultistageengine", "timeoutms"].contains(&name.as_str())
        });
        let request = SubmitImportRequest {
            table: import.table,
            uris: import.uris,
            options: options.into_iter().collect(),
        };
        let reply = controller.submit_import(request).await?;
        let task = Uuid::from_slice(&reply.task_id)
            .map_err(|error| Fault::internal(format!("a task id has 16 bytes: {error}")))?;
        let unknown = reply.unknown.iter();
        warnings.extend(unknown.map(|name| format!("option `{name}` means nothing here")));
        let field = |name: &str| Field::new(name, DataType::Utf8View, false);
        let schema = Arc::new(Schema::new(vec![field("tableName"), field("taskJobName")]));
        let text =
            |value: String| -> ArrayRef { Arc::new(StringViewArray::from_iter_values([value])) };
        let columns = vec![text(reply.table), text(task.to_string())];
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns)
            .map_err(|error| Fault::internal(error.to_string()))?;
        Ok(Rows {
            schema,
            batches: vec![rows],
        })
    }
}
