"""Kafka's clients as they are published, against the built-in log.

    python kafka_clients.py 127.0.0.1:9092 FOLDER_OF_JARS

confluent-kafka and the console programs of Apache Kafka write and read the same topics. Each check is a
function; the first that fails ends the run with its name and why.
"""

import subprocess
import sys

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

LOG, JARS = sys.argv[1], sys.argv[2]
WAIT = 30
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def same(found, wanted):
    assert found == wanted, f"{found!r} instead of {wanted!r}"


def client(kind, **settings):
    return kind({"bootstrap.servers": LOG, **{k.replace("_", "."): v for k, v in settings.items()}})


def make_topic(name, partitions=1):
    # It must live until its futures are done.
    admin = client(AdminClient)
    for future in admin.create_topics([NewTopic(name, partitions)]).values():
        future.result(WAIT)


def consume(topic, partition=0, start=OFFSET_BEGINNING, isolation="read_committed"):
    """All messages from `start` to the end."""
    consumer = client(
        Consumer,
        group_id="check",
        enable_auto_commit=False,
        enable_partition_eof=True,
        isolation_level=isolation,
    )
    consumer.assign([TopicPartition(topic, partition, start)])
    messages = []
    while True:
        message = consumer.poll(WAIT)
        assert message is not None, f"nothing came for {WAIT} s after {len(messages)} messages"
        if message.error():
            if message.error().name() == "_PARTITION_EOF":
                consumer.close()
                return messages
            raise KafkaException(message.error())
        messages.append(message)


def program(name, *arguments, given=None):
    """A command-line program of Apache Kafka; gives the lines that it writes."""
    command = ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{JARS}/*"]
    command += [f"org.apache.kafka.tools.{name}", "--bootstrap-server", LOG, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=4 * WAIT)
    assert done.returncode == 0, f"{name} ended with {done.returncode}: {done.stderr[-2000:]}"
    return [line for line in done.stdout.splitlines() if line]


@check
def keys_headers_times_and_codecs_come_back():
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        topic = f"python-{codec}"
        make_topic(topic)
        producer = client(Producer, compression_type=codec, linger_ms=20)
        for number in range(500):
            producer.produce(
                topic,
                key=f"k{number}",
                value=f"value {number}",
                headers=[("h", b"v")],
                timestamp=1_700_000_000_000 + number,
            )
        same(producer.flush(WAIT), 0)
        messages = consume(topic)
        same([m.value().decode() for m in messages], [f"value {n}" for n in range(500)])
        last = messages[-1]
        same((last.offset(), last.key(), last.headers()), (499, b"k499", [("h", b"v")]))
        same(last.timestamp()[1], 1_700_000_000_499)


@check
def offsets_by_time_and_watermarks():
    consumer = client(Consumer, group_id="check")
    asked = [TopicPartition("python-lz4", 0, 1_700_000_000_123)]
    same(consumer.offsets_for_times(asked, WAIT)[0].offset, 123)
    same(consumer.get_watermark_offsets(TopicPartition("python-lz4", 0), WAIT), (0, 500))
    consumer.close()
    same(len(consume("python-lz4", start=490)), 10)


@check
def only_committed_transactions_are_read():
    make_topic("transactions")
    producer = client(Producer, transactional_id="check")
    producer.init_transactions(WAIT)
    for value, keep in [("a", True), ("b", False), ("c", True)]:
        producer.begin_transaction()
        producer.produce("transactions", value=value)
        # What was not sent yet would be dropped by an abort.
        same(producer.flush(WAIT), 0)
        (producer.commit_transaction if keep else producer.abort_transaction)(WAIT)
    same([m.value() for m in consume("transactions")], [b"a", b"c"])
    all_of_them = consume("transactions", isolation="read_uncommitted")
    same([m.value() for m in all_of_them], [b"a", b"b", b"c"])


@check
def the_console_programs_make_write_and_read_a_topic():
    program("TopicCommand", "--create", "--topic", "console", "--partitions", "2")
    assert "console" in program("TopicCommand", "--list")
    keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]
    lines = [f"{n}:value {n}" for n in range(100)]
    program("ConsoleProducer", "--topic", "console", *keyed, given="\n".join(lines) + "\n")
    read = []
    for partition in range(2):
        held = len(consume("console", partition))
        assert held > 0, "all keys went to one partition"
        where = ["--partition", str(partition), "--offset", "earliest"]
        shown = ["--formatter-property", "print.key=true", "--formatter-property", "key.separator=:"]
        count = ["--max-messages", str(held), "--timeout-ms", str(WAIT * 1000)]
        read += program("consumer.ConsoleConsumer", "--topic", "console", *where, *shown, *count)
    same(sorted(read), sorted(lines))


@check
def the_console_consumer_reads_what_python_wrote():
    where = ["--topic", "python-zstd", "--partition", "0", "--offset", "495"]
    count = ["--max-messages", "5", "--timeout-ms", str(WAIT * 1000)]
    read = program("consumer.ConsoleConsumer", *where, *count)
    same(read, [f"value {n}" for n in range(495, 500)])


def main():
    for function in CHECKS:
        try:
            function()
        except Exception as error:
            sys.exit(f"{function.__name__}: {error}")
        print(f"{function.__name__}: ok", flush=True)


main()
