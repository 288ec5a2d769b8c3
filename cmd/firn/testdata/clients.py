"""Stock Python clients against a broker: clients.py WHAT BOOTSTRAP. Any failure is an exception."""

import collections
import sys
import threading
import time

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
LIMIT = 60  # seconds for what must happen


def confluent(bootstrap):
    """librdkafka: admin calls, every codec with idempotence, a group whose second member goes on where the first one stopped."""
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic("confluent", 2, 1, config={"retention.ms": "3600000"})])["confluent"].result(LIMIT)
    resource = ConfigResource("topic", "confluent")
    assert admin.describe_configs([resource])[resource].result(LIMIT)["retention.ms"].value == "3600000"
    want, errors = [], []
    for codec in CODECS:
        producer = ck.Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True})
        for i in range(100):
            want.append(f"{codec} {i}")
            producer.produce("confluent", want[-1], on_delivery=lambda err, _: errors.append(err))
        assert producer.flush(LIMIT) == 0
    assert errors == [None] * len(want), errors

    def consume(count):
        """As one member of the group, until count records have come; commits them."""
        config = {"bootstrap.servers": bootstrap, "group.id": "readers", "auto.offset.reset": "earliest", "enable.auto.commit": False}
        consumer, got, end = ck.Consumer(config), [], time.monotonic() + LIMIT
        consumer.subscribe(["confluent"])
        while len(got) < count:
            assert time.monotonic() < end, f"{len(got)} of {count} records"
            for message in consumer.consume(count - len(got), 0.5):
                assert message.error() is None, message.error()
                got.append(message.value().decode())
        consumer.commit(asynchronous=False)
        consumer.close()
        return got

    got = consume(120)
    got += consume(len(want) - 120)
    assert sorted(got) == sorted(want), f"{len(set(got))} different of {len(got)} records"

    transactional = ck.Producer({"bootstrap.servers": bootstrap, "transactional.id": "t"})
    try:
        transactional.init_transactions(LIMIT)
    except ck.KafkaException as e:
        assert e.args[0].fatal() and "no transactions" in e.args[0].str(), e
    else:
        raise AssertionError("transactions are not refused")
    admin.delete_topics(["confluent"])["confluent"].result(LIMIT)


def kafka_python(bootstrap):
    """kafka-python: admin calls, an idempotent producer, a group, offsets by time."""
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic("kafka-python", 2, 1)])
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type="gzip", enable_idempotence=True)
    sent = [producer.send("kafka-python", b"%d" % i, partition=i % 2, timestamp_ms=1_000_000 + i) for i in range(100)]
    assert [f.get(LIMIT).offset for f in sent] == [i // 2 for i in range(100)]
    consumer = KafkaConsumer("kafka-python", bootstrap_servers=bootstrap, group_id="readers-2", auto_offset_reset="earliest",
                             enable_auto_commit=False, consumer_timeout_ms=LIMIT * 1000)
    got = [next(consumer).value for _ in sent]
    assert sorted(got, key=int) == [b"%d" % i for i in range(100)], got
    consumer.commit()
    partition = TopicPartition("kafka-python", 1)
    assert consumer.committed(partition) == 50
    assert consumer.offsets_for_times({partition: 1_000_050})[partition].offset == 25
    consumer.close()


def survivor(bootstrap):
    """An idempotent librdkafka producer that lives through deaths of the broker, until stdin ends. What it was told to be written
    must be there once, where it was told, and in order."""
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, NewTopic

    partitions = 4
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic("survivor", partitions, 1)])["survivor"].result(LIMIT)
    producer = ck.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "reconnect.backoff.max.ms": 500})
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    acknowledged, errors, sent = {}, [], 0

    def delivered(err, message):
        if err:
            errors.append(err)
        else:
            acknowledged[int(message.value())] = (message.partition(), message.offset())

    print("producing", flush=True)
    while not ended.is_set():
        if len(producer) > 10_000:  # the broker is away
            producer.poll(0.1)
            continue
        producer.produce("survivor", str(sent), partition=sent % partitions, on_delivery=delivered)
        sent += 1
        producer.poll(0.0005)
    assert producer.flush(LIMIT) == 0 and not errors, errors
    assert len(acknowledged) == sent

    consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.partition.eof": True})
    consumer.assign([ck.TopicPartition("survivor", p, 0) for p in range(partitions)])
    read, at_end = collections.defaultdict(list), set()
    while len(at_end) < partitions:
        message = consumer.poll(LIMIT)
        assert message is not None, "nothing comes"
        if message.error():
            assert message.error().code() == ck.KafkaError._PARTITION_EOF, message.error()
            at_end.add(message.partition())
        else:
            read[message.partition()].append((int(message.value()), message.offset()))
    for p in range(partitions):
        assert [n for n, _ in read[p]] == list(range(p, sent, partitions)), f"partition {p}: {len(read[p])} records of {sent} sent to {partitions}"
        # librdkafka does not know the offset of a batch that it sent again and that was there already.
        assert all(acknowledged[n] == (p, offset) for n, offset in read[p] if acknowledged[n][1] >= 0)
    consumer.close()
    print(sent, "records")


{"confluent": confluent, "kafka-python": kafka_python, "survivor": survivor}[sys.argv[1]](sys.argv[2])
