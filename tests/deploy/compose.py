"""The cluster of deploy/compose as processes, beside a real Kafka and a real PostgreSQL: what a user does with
it, a lost server, lost disks.

    python compose.py TANNIN FOLDER KAFKA POSTGRES S3

HOST:PORT of Kafka, the address of a superuser of PostgreSQL, and http://HOST:PORT/bucket of an S3.
"""

import json
import os
import sys
import time
import urllib.request
from urllib.parse import unquote, urlsplit

import psycopg

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from metrics import missing_metrics
from services import Services

TABLE, TOPIC = "clicks", "clicks"
PARTITIONS, REPLICAS = 2, 2
ROWS, SEGMENT_ROWS = 6_000, 1_000
PATIENCE = 60
# After a kill: until the controller takes a server as dead (controller.liveness_ms), and some.
RECOVERY = 30


def schema():
    return {
        "schemaName": TABLE,
        "dimensionFieldSpecs": [{"name": "page", "dataType": "STRING"}],
        "metricFieldSpecs": [{"name": "n", "dataType": "LONG"}],
        "dateTimeFieldSpecs": [
            {
                "name": "ts",
                "dataType": "TIMESTAMP",
                "format": "1:MILLISECONDS:EPOCH",
                "granularity": "1:MILLISECONDS",
            }
        ],
    }


def table_config(kafka):
    stream = {
        "streamType": "kafka",
        "stream.kafka.topic.name": TOPIC,
        "stream.kafka.broker.list": kafka,
        "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
        "stream.kafka.decoder.class.name": (
            "org.apache.pinot.plugin.inputformat.json.JSONMessageDecoder"
        ),
        "realtime.segment.flush.threshold.rows": str(SEGMENT_ROWS),
    }
    return {
        "tableName": TABLE,
        "tableType": "REALTIME",
        "segmentsConfig": {"timeColumnName": "ts", "replication": str(REPLICAS)},
        "tableIndexConfig": {},
        "ingestionConfig": {"streamIngestionConfig": {"streamConfigMaps": [stream]}},
        "metadata": {},
    }


def step(text):
    print(f"{time.monotonic() - START:6.1f} s  {text}", flush=True)


def eventually(what, done, patience=PATIENCE):
    end = time.monotonic() + patience
    while True:
        found = done()
        if found is True:
            return
        assert time.monotonic() < end, f"not after {patience} s: {what}; the last time: {found}"
        time.sleep(0.1)


def query(broker, sql):
    status, text = broker.ask("/v1/sql", {"sql": sql})
    return status, json.loads(text)


def counted(broker):
    """Rows and the sum of their numbers, or why there are none."""
    status, body = query(broker, f"SELECT count(*), sum(n) FROM {TABLE}")
    if status != 200:
        return f"{status}: {body}"
    if body["warnings"]:
        return f"flagged: {body['warnings']}"
    rows, total = body["rows"][0]
    return int(rows), int(total or 0)


def produce(kafka, first, count):
    producer = Producer({"bootstrap.servers": kafka})
    failed = []
    for n in range(first, first + count):
        row = {"page": f"/{n % 50}", "n": n, "ts": 1_767_323_045_000 + n}
        producer.produce(
            TOPIC,
            json.dumps(row),
            partition=n % PARTITIONS,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
        if n % 1_000 == 0:
            producer.poll(0)
    assert producer.flush(PATIENCE) == 0 and not failed, f"Kafka did not take all rows: {failed[:1]}"


def create_table(controller, kafka):
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.create_topics([NewTopic(TOPIC, PARTITIONS)]).values():
        future.result(PATIENCE)
    for path, body in [("/schemas", schema()), ("/tables", table_config(kafka))]:
        status, text = controller.ask(path, body)
        assert status == 200, f"{path}: {status}: {text}"


def sealed_segments(broker):
    """On all replicas."""
    status, body = query(
        broker,
        "SELECT count(*) FROM sys.segments WHERE status = 'DONE' AND "
        f"\"table\" = '{TABLE}' AND servers LIKE '%,%'",
    )
    assert status == 200, body
    return int(body["rows"][0][0])


def sealed_everywhere(broker, wanted):
    found = sealed_segments(broker)
    return found >= wanted or f"{found} segments on {REPLICAS} servers"


def answers_without(brokers, rows):
    """Every answer is right or says what is wrong; how many were refused until all are right again."""
    wanted, refused, right = all_of(rows), 0, 0
    end = time.monotonic() + RECOVERY
    while right < 20 * len(brokers):
        for broker in brokers:
            answer = counted(broker)
            if answer == wanted:
                right += 1
                continue
            assert isinstance(answer, str), f"{broker.name} answers {answer} instead of {wanted}"
            refused, right, last = refused + 1, 0, answer
        assert time.monotonic() < end, f"no right answers {RECOVERY} s after the kill: {last}"
        time.sleep(0.02)
    return refused


def main():
    binary, folder, kafka, postgres, s3 = sys.argv[1:]
    engines = {"kafka:9092": kafka, "metadata:5432": database(postgres), "objects:9000": bucket(s3)}
    services = Services(binary, folder, engines)
    try:
        services.start()
        step(f"healthy: {', '.join(services.all)}")
        run(services, kafka)
        stop(services)
        produced = (2 + len(services.of_role("controller"))) * ROWS
        services.lose_disks(["server", "broker", "minion"])
        services.start()
        for broker in services.of_role("broker"):
            eventually("all rows", lambda: counted(broker) == all_of(produced) or counted(broker))
        step("servers, brokers and minions lost their disks: all rows are there")
        stop(services)
    finally:
        services.kill()


def database(address):
    """What the service `metadata` makes of its environment. Gives its HOST:PORT."""
    with psycopg.connect(address, autocommit=True) as superuser:
        superuser.execute("CREATE DATABASE tannin")
    server = urlsplit(address)
    assert server.username == "tannin", "the user that compose.yaml names"
    os.environ["METADATA_PASSWORD"] = unquote(server.password)
    return f"{server.hostname}:{server.port}"


def bucket(address):
    """What the service `bucket` does. Gives HOST:PORT of the S3."""
    place = urlsplit(address).netloc
    request = urllib.request.Request(f"http://{place}/tannin", method="PUT")
    with urllib.request.urlopen(request, timeout=PATIENCE):
        return place


def stop(services):
    ended = services.stop()
    assert set(ended.values()) == {0}, f"after SIGTERM: {ended}"
    step("all ended with 0 after SIGTERM")


def all_of(rows):
    """What `counted` gives when each number below `rows` is there once."""
    return rows, rows * (rows - 1) // 2


def run(services, kafka):
    brokers, controllers = services.of_role("broker"), services.of_role("controller")
    create_table(controllers[0], kafka)
    produce(kafka, 0, ROWS)
    for broker in brokers:
        eventually("all rows", lambda: counted(broker) == all_of(ROWS) or counted(broker))
    step(f"{ROWS} rows through {len(brokers)} brokers")
    eventually("sealed", lambda: sealed_everywhere(brokers[0], PARTITIONS))
    step(f"at least {PARTITIONS} segments sealed, each on {REPLICAS} servers")
    eventually("metrics", lambda: missing_metrics(services) or True)
    step("every metric of rules, alerts and dashboards is there")

    lost = services.of_role("server")[0]
    sealed = sealed_segments(brokers[0]) + PARTITIONS
    lost.kill()
    refused = answers_without(brokers, ROWS)
    step(f"{lost.name} killed: no wrong answer, {refused} refused, then all right")
    produce(kafka, ROWS, ROWS)
    wanted = all_of(2 * ROWS)
    eventually("all rows", lambda: counted(brokers[0]) == wanted or counted(brokers[0]))
    step(f"{2 * ROWS} rows without it")
    lost.start()
    lost.wait_healthy()
    eventually("sealed again", lambda: sealed_everywhere(brokers[-1], sealed))
    for broker in brokers:
        assert counted(broker) == wanted, counted(broker)
    step(f"{lost.name} is back with its segments")
    lose_controller(controllers, brokers, kafka)


def lose_controller(controllers, brokers, kafka):
    """Each in turn, so that one of them is the leader: rows are read and segments committed by another."""
    for n, lost in enumerate(controllers, 3):
        # Segments grow past their limit, at most to twice of it, until another one leads.
        sealed = sealed_segments(brokers[0]) + PARTITIONS
        lost.kill()
        produce(kafka, (n - 1) * ROWS, ROWS)
        for broker in brokers:
            eventually("all rows", lambda: counted(broker) == all_of(n * ROWS) or counted(broker))
        eventually("sealed", lambda: sealed_everywhere(brokers[0], sealed))
        lost.start()
        lost.wait_healthy()
        step(f"{lost.name} killed: {n * ROWS} rows, at least {sealed} segments; it is back")


START = time.monotonic()
if __name__ == "__main__":
    main()
