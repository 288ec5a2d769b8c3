"""The round trip that every Python client makes: see ../README.md. A client is an object of these members:

    name, version      what the table says
    idempotent         whether its producers are
    create(topic, partitions)
    produce(topic, codec, records)     returns when all are acknowledged
    consume(topic, group, count)       as one member of the group: reads count records, commits them, leaves
    committed(topic, group)            offset by partition
    refused()                          what a transactional producer is told
"""

from typing import NamedTuple, Optional

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PARTITIONS = 3
EACH = 40  # records of a codec
FIRST = 70  # records that the first member of the group reads
LIMIT = 60  # seconds for whatever must happen


class Record(NamedTuple):
    key: str
    value: Optional[str]
    header: str  # of the name "codec"


class Read(NamedTuple):
    partition: int
    offset: int
    record: Record


def records(codec):
    """The records of a codec; the first one has no value."""
    return [Record(f"{codec}-{i}", f"{codec} {i} " + "snow " * 40 if i else None, codec) for i in range(EACH)]


def text(data):
    """Of bytes or None."""
    return None if data is None else data.decode()


def data(value):
    """Of a string or None."""
    return None if value is None else value.encode()


def run(client):
    topic, group = client.name, client.name + "-readers"
    client.create(topic, PARTITIONS)
    want = []
    for codec in CODECS:
        client.produce(topic, codec, records(codec))
        want += records(codec)

    got = client.consume(topic, group, FIRST)
    assert len(got) == FIRST, f"the first member reads {len(got)} records, not {FIRST}"
    got += client.consume(topic, group, len(want) - FIRST)
    key = lambda r: r.key
    differ = [pair for pair in zip(sorted((r.record for r in got), key=key), sorted(want, key=key)) if pair[0] != pair[1]]
    assert len(got) == len(want) and not differ, f"{len(got)} records of {len(want)}; got and want: {differ[:3]}"
    ends = {}
    for p in range(PARTITIONS):
        offsets = sorted(r.offset for r in got if r.partition == p)
        assert offsets == list(range(len(offsets))), f"offsets of partition {p}: {offsets}"
        ends[p] = len(offsets)
    committed = client.committed(topic, group)
    assert committed == ends, f"committed are {committed}, not {ends}"

    refused = client.refused()
    how = "five codecs, idempotent" if client.idempotent else "five codecs"
    print(f"{client.version}\t{how}, a group resumes; transactions: {refused}")
