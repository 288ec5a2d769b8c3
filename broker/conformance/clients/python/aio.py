"""aiokafka: aio.py BOOTSTRAP."""

import asyncio
import sys

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

import roundtrip
from roundtrip import LIMIT, Read, Record, data, text


class Client:
    name, version = "aiokafka", aiokafka.__version__
    idempotent = True

    def __init__(self, bootstrap):
        self.config = {"bootstrap_servers": bootstrap}

    def create(self, topic, partitions):
        async def go():
            admin = AIOKafkaAdminClient(**self.config)
            await admin.start()
            await admin.create_topics([NewTopic(topic, partitions, 1)])
            await admin.close()

        wait(go())

    def produce(self, topic, codec, records):
        async def go():
            compression = None if codec == "none" else codec
            async with aiokafka.AIOKafkaProducer(**self.config, enable_idempotence=True, compression_type=compression, linger_ms=20) as producer:
                sent = [await producer.send(topic, data(r.value), data(r.key), headers=[("codec", data(r.header))]) for r in records]
                await asyncio.gather(*sent)

        wait(go())

    def consume(self, topic, group, count):
        async def go():
            got = []
            async with self.consumer(topic, group_id=group) as consumer:
                while len(got) < count:
                    m = await consumer.getone()
                    got.append(Read(m.partition, m.offset, Record(text(m.key), text(m.value), text(dict(m.headers)["codec"]))))
                await consumer.commit()
            return got

        return wait(go())

    def committed(self, topic, group):
        async def go():
            async with self.consumer(group_id=group) as consumer:
                return {p: await consumer.committed(aiokafka.TopicPartition(topic, p)) for p in range(roundtrip.PARTITIONS)}

        return wait(go())

    def refused(self):
        async def go():
            producer = aiokafka.AIOKafkaProducer(**self.config, transactional_id=self.name)
            try:
                await producer.start()
            except KafkaError as e:
                return "refused, " + type(e).__name__
            finally:
                await producer.stop()
            raise AssertionError("a transactional producer is not refused")

        return wait(go())

    def consumer(self, *topics, **more):
        return aiokafka.AIOKafkaConsumer(*topics, **self.config, **more, auto_offset_reset="earliest", enable_auto_commit=False)


def wait(steps):
    return asyncio.run(asyncio.wait_for(steps, LIMIT))


roundtrip.run(Client(sys.argv[1]))
