//! A cluster whose nodes are of two versions.
//!
//! There is no earlier release to run. What is earlier about a node is what it says and understands:
//! [`Earlier`] stands between a node and its controller and passes on only what version 1 of the
//! messages has, so that each takes the other for one of the version before. A server of another
//! plan format says so in its heartbeats and refuses this version's plans.

use std::sync::Arc;
use std::time::Duration;

use access::NodeTrust;
use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use futures::StreamExt;
use reqwest::Method;
use rpc::{ControlApi, ControlDoors, GrpcNetwork, Network, UpdateStream, serve_control};
use runtime::TaskGroup;
use schemas::Fault;
use schemas::cluster::Role;
use schemas::proto::*;
use serde_json::Value;
use tests::cluster::{Cluster, Over, until};
use tests::flights;

const COUNT: &str = "SELECT COUNT(*) FROM flights";
const SEALED: &str =
    "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";
const SUM: &str = "SELECT COUNT(*), SUM(distance), MIN(distance), MAX(distance) FROM flights";

/// Passes on what version 1 of the messages has.
struct Earlier {
    network: Arc<dyn Network>,
}

impl Earlier {
    fn controller(&self) -> Result<Arc<dyn ControlApi>, Fault> {
        self.network.controller()
    }
}

macro_rules! passed_on {
    ($($method:ident: $request:ty => $reply:ty),* $(,)?) => {
        #[async_trait]
        impl ControlApi for Earlier {
            async fn watch(&self, request: WatchRequest) -> Result<UpdateStream, Fault> {
                let request = WatchRequest {
                    instance: request.instance,
                    ..WatchRequest::default()
                };
                let updates = self.controller()?.watch(request).await?;
                let earlier = updates.map(|update| {
                    let update = update?;
                    Ok(ClusterUpdate {
                        version: update.version,
                        complete: update.complete,
                        tables: update.tables,
                        removed_tables: update.removed_tables,
                        instances: update.instances,
                        ..ClusterUpdate::default()
                    })
                });
                Ok(earlier.boxed())
            }

            async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatReply, Fault> {
                let request = HeartbeatRequest {
                    incarnation: Default::default(),
                    now_ms: 0,
                    cluster: String::new(),
                    held_revision: 0,
                    held_base: 0,
                    let_go: Vec::new(),
                    leaves: false,
                    ..request
                };
                let reply = self.controller()?.heartbeat(request).await?;
                Ok(HeartbeatReply {
                    version: reply.version,
                    ..HeartbeatReply::default()
                })
            }

            $(async fn $method(&self, request: $request) -> Result<$reply, Fault> {
                self.controller()?.$method(request).await
            })*
        }
    };
}

passed_on!(
    seen: SeenRequest => SeenReply,
    segment_consumed: SegmentConsumedRequest => SegmentConsumedReply,
    commit_start: CommitStartRequest => CommitReply,
    commit_end: CommitEndRequest => CommitReply,
    add_segment: AddSegmentRequest => CommitReply,
    lease_task: LeaseTaskRequest => LeaseTaskReply,
    finish_task: FinishTaskRequest => FinishTaskReply,
    renew_task: RenewTaskRequest => RenewTaskReply,
    import: ImportRequest => ImportReply,
    submit_import: SubmitImportRequest => SubmitImportReply,
    tasks: TasksRequest => TasksReply,
);

/// Where nodes find the controller of `cluster` as one of the version before.
async fn earlier(cluster: &Cluster, tasks: &TaskGroup) -> Result<String> {
    let controller = &cluster.node(0).addresses.controller_grpc;
    let network = GrpcNetwork::trusting(Some(controller), &NodeTrust::default(), tasks)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let door = Earlier {
        network: Arc::new(network),
    };
    let doors = ControlDoors::alone(Arc::new(door));
    serve_control(listener, doors, &NodeTrust::default(), tasks);
    Ok(address)
}

/// Servers of both versions have each partition, and go from one version to the other and back.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_two_versions_serve_one_table() -> Result<()> {
    let tasks = TaskGroup::new("earlier");
    let mut cluster = Cluster::start_of(Over::Grpc, 3).await?;
    let before = earlier(&cluster, &tasks).await?;
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let table = flights::table(&cluster.log(), "flights", 2);
    cluster.post("/v1/tables", &table).await?;
    let mut produced = 0;
    let mut more = async |cluster: &Cluster| -> Result<i64> {
        cluster.produce("flights", flights::events(4_000)?).await?;
        produced += 4_000;
        cluster.wait_for_each(COUNT, produced).await?;
        Ok(produced)
    };
    more(&cluster).await?;
    let now = cluster.node(0).addresses.controller_grpc.clone();
    // The second is of the version before, then the third, then both, then none.
    for (index, address) in [(1, &before), (2, &before), (1, &now), (2, &now)] {
        cluster.stop_node(index).await;
        cluster
            .start_node_with(index, &[&format!("controller.address={address}")])
            .await?;
        cluster.wait_ready().await?;
        let rows = more(&cluster).await?;
        let answer = cluster.sql().numbers(SUM).await?;
        ensure!(answer[0] == rows, "{answer:?} with {rows} rows");
    }
    let sealed = cluster.sql().numbers(SEALED).await?;
    ensure!(sealed[0] > 0, "nothing was sealed by them");
    cluster.stop().await;
    tasks.stop(Duration::from_secs(5)).await;
    Ok(())
}

/// Brokers ask a server of another plan format for nothing. It consumes and commits as the others
/// do: rows are one thing, plans another.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_another_plan_format_are_routed_around() -> Result<()> {
    let mut cluster = Cluster::start_of(Over::Grpc, 3).await?;
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let table = flights::table(&cluster.log(), "flights", 2);
    cluster.post("/v1/tables", &table).await?;
    cluster.produce("flights", flights::events(8_000)?).await?;
    cluster.wait_for_each(COUNT, 8_000).await?;
    let name = std::fs::read_to_string(cluster.data_dir(1).join("INSTANCE"))?;
    let name = name.trim();
    is_asked_alone(&cluster, name).await?;
    let all = cluster.sql().numbers(SUM).await?;

    cluster.stop_node(1).await;
    let other = tannin::node::PLAN_FORMAT + 1;
    cluster.start_node_of_plan_format(1, other).await?;
    cluster.wait_ready().await?;
    is_asked(&cluster, name, false).await?;
    for _ in 0..20 {
        let found = cluster.sql().numbers(SUM).await?;
        ensure!(found == all, "{found:?} instead of {all:?}");
    }
    cluster.produce("flights", flights::events(4_000)?).await?;
    cluster.wait_for_each(COUNT, 12_000).await?;

    cluster.stop_node(1).await;
    cluster.start_node(1).await?;
    cluster.wait_ready().await?;
    is_asked_alone(&cluster, name).await?;
    cluster.wait_for_each(COUNT, 12_000).await?;
    cluster.stop().await;
    Ok(())
}

/// Until the broker would ask the server, when the others are disabled: which one it asks otherwise
/// is a matter of load.
async fn is_asked_alone(cluster: &Cluster, server: &str) -> Result<()> {
    let others = async |state: &str| -> Result<()> {
        for other in cluster.servers().await? {
            if other != server {
                let path = format!("/instances/{other}/state?state={state}");
                cluster.put(&path).await?;
            }
        }
        Ok(())
    };
    others("DISABLE").await?;
    is_asked(cluster, server, true).await?;
    others("ENABLE").await
}

/// Until the broker would ask the server for something, or for nothing.
async fn is_asked(cluster: &Cluster, server: &str, wanted: bool) -> Result<()> {
    until(&format!("{server} is asked: {wanted}"), || async {
        let path = "/debug/routingTable/flights_REALTIME";
        let (status, body) = cluster.call(Role::Broker, Method::GET, path, None).await?;
        ensure!(status.is_success(), "{path}: {status}: {body}");
        let answer: Value = serde_json::from_str(&body)?;
        let servers = answer["flights_REALTIME"]
            .as_object()
            .context("no servers")?;
        ensure!(servers.contains_key(server) == wanted, "{answer}");
        Ok(())
    })
    .await
}
