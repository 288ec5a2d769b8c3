"""confluent-kafka, which is librdkafka: confluent.py BOOTSTRAP. GROUP_PROTOCOL is how the group is led, classic or consumer."""

import os
import sys
import time

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic

import roundtrip
from roundtrip import LIMIT, Read, Record, data, text


PROTOCOL = os.environ.get("GROUP_PROTOCOL", "classic")


class Client:
    name = "confluent-kafka-python-" + PROTOCOL
    version = f"{ck.__version__}, librdkafka {ck.libversion()[0]}"
    idempotent = True

    def __init__(self, bootstrap):
        self.config = {"bootstrap.servers": bootstrap}

    def create(self, topic, partitions):
        admin = AdminClient(self.config)
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(LIMIT)

    def produce(self, topic, codec, records):
        producer = ck.Producer({**self.config, "compression.type": codec, "enable.idempotence": True, "linger.ms": 20})
        errors = []
        for r in records:
            producer.produce(topic, data(r.value), data(r.key), headers=[("codec", data(r.header))], on_delivery=lambda e, _: errors.append(e))
        assert producer.flush(LIMIT) == 0, "not all records are acknowledged"
        assert errors == [None] * len(records), errors

    def consume(self, topic, group, count):
        consumer = ck.Consumer({**self.config, "group.id": group, "group.protocol": PROTOCOL, "auto.offset.reset": "earliest", "enable.auto.commit": False})
        consumer.subscribe([topic])
        got, end = [], time.monotonic() + LIMIT
        while len(got) < count:
            assert time.monotonic() < end, f"{len(got)} of {count} records"
            for m in consumer.consume(count - len(got), 0.5):
                assert m.error() is None, m.error()
                got.append(Read(m.partition(), m.offset(), Record(text(m.key()), text(m.value()), text(dict(m.headers())["codec"]))))
        consumer.commit(asynchronous=False)
        consumer.close()
        return got

    def committed(self, topic, group):
        consumer = ck.Consumer({**self.config, "group.id": group})
        partitions = consumer.committed([ck.TopicPartition(topic, p) for p in range(roundtrip.PARTITIONS)], LIMIT)
        consumer.close()
        return {p.partition: p.offset for p in partitions}

    def refused(self):
        try:
            ck.Producer({**self.config, "transactional.id": self.name}).init_transactions(LIMIT)
        except ck.KafkaException as e:
            error = e.args[0]
            assert error.fatal() and "no transactions" in error.str(), error
            return "refused, and it says why"
        raise AssertionError("a transactional producer is not refused")


roundtrip.run(Client(sys.argv[1]))
