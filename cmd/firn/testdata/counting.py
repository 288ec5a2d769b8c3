"""Produces numbered records with librdkafka, idempotent and otherwise as it comes, until standard input ends.

usage: counting.py BROKERS TOPIC PARTITIONS

The records of a partition are numbered from 0. Prints a line for each record when the broker has answered: "partition number offset", or
"failed partition number error".
"""
import select
import sys

from confluent_kafka import Producer

brokers, topic, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 5})


def delivered(error, message):
    number = message.value().decode()
    if error is not None:
        print(f"failed {message.partition()} {number} {error}")
    else:
        print(f"{message.partition()} {number} {message.offset()}")


number = 0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    for partition in range(partitions):
        producer.produce(topic, str(number), partition=partition, on_delivery=delivered)
    number += 1
    producer.poll(0)
left = producer.flush(90)
if left:
    sys.exit(f"{left} records were never answered")
