//! Messages that nobody should send, between good ones: each is a row or a rejection with its
//! reason, while they are consumed and when they are sealed; what stands around them is there, and
//! nothing is late.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, both, until};
use tests::process::number;

const DEEP: usize = 10_000;
const PROOF: &str = "SELECT SUM(end_offset - start_offset - \"rows\" - rejected - filtered - absent \
                     - merged + unnested), SUM(\"rows\"), SUM(rejected) FROM sys.segments";
const LAG: &str =
    "SELECT log_end_offset - next_offset FROM sys.partitions WHERE state = 'CONSUMING'";

fn table(log: &str) -> Value {
    json!({
        "schema": {
            "schemaName": "bad",
            "enableColumnBasedNullHandling": true,
            "dimensionFieldSpecs": [
                { "name": "id", "dataType": "INT" },
                { "name": "n", "dataType": "LONG" },
                { "name": "x", "dataType": "DOUBLE" },
                { "name": "s", "dataType": "STRING" },
                { "name": "doc", "dataType": "JSON" }
            ],
            "dateTimeFieldSpecs": [{ "name": "ts", "dataType": "TIMESTAMP", "format": "TIMESTAMP",
                                     "granularity": "1:MILLISECONDS" }]
        },
        "tableConfig": {
            "tableName": "bad",
            "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
            "tenants": {},
            "tableIndexConfig": {
                "nullHandlingEnabled": true,
                "invertedIndexColumns": ["s"],
                "jsonIndexColumns": ["doc"]
            },
            "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
                "streamType": "kafka",
                "stream.kafka.topic.name": "bad",
                "stream.kafka.broker.list": log,
                "stream.kafka.consumer.prop.auto.offset.reset": "smallest"
            }] } },
            "metadata": {}
        }
    })
}

fn nested(open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP))
}

/// A message, and a part of the reason why it is rejected.
type Rejected = (Vec<u8>, &'static str);

/// Rows, then what is rejected.
fn messages() -> (Vec<Vec<u8>>, Vec<Rejected>) {
    let with = |fields: &str| format!(r#"{{"ts":1767225600000,{fields}}}"#).into_bytes();
    let (arrays, objects) = (nested("[", "]"), nested(r#"{"a":"#, "}"));
    let rows = vec![
        with(r#""id":1,"s":"good""#),
        with(&format!(r#""id":2,"doc":{arrays}"#)),
        with(&format!(r#""id":3,"doc":{objects}"#)),
        with(&format!(r#""id":4,"unknown":{objects}"#)),
        with(r#""id":0,"id":5,"s":"first","s":"last""#),
        with(r#""id":6,"s":"a\u0000b","doc":{"k":"\u0000"}"#),
        with(r#""id":7,"n":-9223372036854775808,"unknown":99999999999999999999999"#),
        with(r#""id":8,"x":99999999999999999999999,"doc":{"n":99999999999999999999999}"#),
        with(r#""id":9,"x":"NaN""#),
    ];
    let rejected = vec![
        (with(&format!(r#""id":-1,"s":{arrays}"#)), "recursion limit"),
        (with(r#""id":-2,"n":9223372036854775808"#), "`n` is LONG"),
        (with(r#""id":2147483648"#), "`id` is INT"),
        (with(r#""x":1e999"#), "number out of range"),
        (with(r#""x":NaN"#), "expected"),
        (with("\"s\":\"a\0b\""), "control character"),
        ([&with(r#""s":"#)[..24], b"\"\xFF\xFE\"}"].concat(), ""),
        (b"\0\0\0".to_vec(), "expected value"),
        (Vec::new(), ""),
    ];
    (rows, rejected)
}

async fn check(cluster: &Cluster, rows: usize, wanted: &[Rejected]) -> Result<()> {
    let sql = cluster.sql();
    let ids = sql.rows("SELECT id FROM bad ORDER BY id").await?;
    let ids: Vec<i64> = ids.iter().map(|row| number(&row[0])).collect();
    ensure!(ids == (1..=rows as i64).collect::<Vec<_>>(), "{ids:?}");
    let deep = "SELECT id, LENGTH(doc) FROM bad WHERE id IN (2, 3) ORDER BY id";
    let deep = sql.rows(deep).await?;
    let lengths: Vec<i64> = deep.iter().map(|row| number(&row[1])).collect();
    ensure!(
        lengths == [2 * DEEP as i64 + 1, 6 * DEEP as i64 + 1],
        "{lengths:?}"
    );
    let texts = "SELECT s, LENGTH(s) FROM bad WHERE id IN (5, 6) ORDER BY id";
    let texts = sql.rows(texts).await?;
    ensure!(texts[0][0] == "last" && texts[1][0] == "a\0b", "{texts:?}");
    let found = sql
        .numbers("SELECT COUNT(*) FROM bad WHERE s = 'good'")
        .await?;
    ensure!(found == [1]);
    // Functions over documents that are too deep for them give nothing, or say so.
    for asked in [
        "SELECT JSON_EXTRACT_SCALAR(doc, '$.a', 'STRING', '-') FROM bad",
        "SELECT COUNT(*) FROM bad WHERE JSON_MATCH(doc, '\"$.k\" IS NOT NULL')",
    ] {
        let answer = cluster.pinot(asked).await?;
        ensure!(answer["exceptions"].is_array(), "{asked}: {answer}");
    }
    let reasons = "SELECT reason FROM sys.rejected_rows ORDER BY \"offset\"";
    let reasons = until("the rejections", || async {
        let reasons = sql.rows(reasons).await?;
        ensure!(reasons.len() == wanted.len(), "{reasons:?}");
        Ok(reasons)
    })
    .await?;
    for (told, (payload, part)) in reasons.iter().zip(wanted) {
        let payload = String::from_utf8_lossy(&payload[..payload.len().min(60)]);
        let told = told[0].as_str().unwrap_or_default();
        ensure!(told.contains(part), "{payload}: {told}");
    }
    let proof = sql.numbers(PROOF).await?;
    ensure!(proof == [0, rows as i64, wanted.len() as i64], "{proof:?}");
    until("nothing is late", || async {
        ensure!(sql.numbers(LAG).await? == [0]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_should_send_harms_nothing_else() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("bad", 1).await?;
        cluster.post("/v1/tables", &table(&cluster.log())).await?;
        let (rows, rejected) = messages();
        let count = rows.len();
        let bad = rejected.iter().map(|(payload, _)| payload.clone());
        let mixed = bad.chain(rows).map(|payload| (0, payload));
        cluster.produce("bad", mixed).await?;
        let asked = "SELECT COUNT(*) FROM bad";
        cluster.wait_for(asked, i64::try_from(count)?).await?;
        check(&cluster, count, &rejected).await?;
        cluster.post("/tables/bad/forceCommit", &json!({})).await?;
        let sealed = "SELECT SUM(\"rows\") FROM sys.segments WHERE status = 'DONE'";
        cluster.wait_for(sealed, i64::try_from(count)?).await?;
        check(&cluster, count, &rejected).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}
