"""kafka-python or kafka-python-ng, whichever is installed: kafka_python.py BOOTSTRAP."""

import sys
from importlib.metadata import PackageNotFoundError, version

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

import roundtrip
from roundtrip import LIMIT, Read, Record, data, text


def installed():
    for name in "kafka-python", "kafka-python-ng":
        try:
            return name, version(name)
        except PackageNotFoundError:
            pass
    raise SystemExit("neither kafka-python nor kafka-python-ng is installed")


class Client:
    name, version = installed()
    idempotent = "enable_idempotence" in KafkaProducer.DEFAULT_CONFIG  # the fork's producer is not

    def __init__(self, bootstrap):
        self.config = {"bootstrap_servers": bootstrap}

    def create(self, topic, partitions):
        admin = KafkaAdminClient(**self.config)
        admin.create_topics([NewTopic(topic, partitions, 1)])
        admin.close()

    def produce(self, topic, codec, records):
        more = {"enable_idempotence": True} if self.idempotent else {}
        producer = KafkaProducer(**self.config, acks="all", compression_type=None if codec == "none" else codec, linger_ms=20, **more)
        sent = [producer.send(topic, data(r.value), data(r.key), headers=[("codec", data(r.header))]) for r in records]
        for future in sent:
            future.get(LIMIT)
        producer.close()

    def consume(self, topic, group, count):
        consumer = KafkaConsumer(topic, **self.config, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
                                 consumer_timeout_ms=LIMIT * 1000)
        got = []
        for m in consumer:
            got.append(Read(m.partition, m.offset, Record(text(m.key), text(m.value), text(dict(m.headers)["codec"]))))
            if len(got) == count:
                break
        consumer.commit()
        consumer.close(autocommit=False)
        return got

    def committed(self, topic, group):
        consumer = KafkaConsumer(**self.config, group_id=group, enable_auto_commit=False)
        offsets = {p: consumer.committed(TopicPartition(topic, p)) for p in range(roundtrip.PARTITIONS)}
        consumer.close()
        return offsets

    def refused(self):
        if "transactional_id" not in KafkaProducer.DEFAULT_CONFIG:
            return "it has none"
        producer = KafkaProducer(**self.config, transactional_id=self.name)
        try:
            producer.init_transactions()
        except KafkaError as e:
            return "refused, " + type(e).__name__
        raise AssertionError("a transactional producer is not refused")


roundtrip.run(Client(sys.argv[1]))
