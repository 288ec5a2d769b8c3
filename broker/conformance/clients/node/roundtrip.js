// The round trip that both Node clients make: see ../README.md. A client is an object of
//   version, idempotent               what the table says
//   create(topic, partitions)
//   produce(topic, codec, records)    returns when all are acknowledged
//   consume(topic, group, count)      as one member of the group: reads count records, commits exactly them, leaves
//   committed(topic, group)           offset by partition
//   refused()                         what a transactional producer is told
const assert = require('assert');

const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const PARTITIONS = 3;
const EACH = 40; // records of a codec
const FIRST = 70; // records that the first member of the group reads
const LIMIT = 120e3; // milliseconds for all of it

// recordsOf a codec; the first one has no value.
const recordsOf = (codec) =>
  Array.from({ length: EACH }, (_, i) => ({
    key: `${codec}-${i}`,
    value: i ? `${codec} ${i} ` + 'snow '.repeat(40) : null,
    headers: { codec },
  }));

const byKey = (a, b) => (a.key < b.key ? -1 : 1);

// readOf a message as both libraries give it.
const readOf = (partition, m) => ({
  partition,
  offset: Number(m.offset),
  record: { key: m.key.toString(), value: m.value === null ? null : m.value.toString(), headers: { codec: m.headers.codec.toString() } },
});

// nextOffsets are what to commit after these reads, as both libraries take it.
const nextOffsets = (topic, reads) => {
  const next = new Map();
  for (const r of reads) next.set(r.partition, Math.max(next.get(r.partition) ?? 0, r.offset + 1));
  return [...next].map(([partition, offset]) => ({ topic, partition, offset: String(offset) }));
};

async function roundTrip(client, topic) {
  const group = topic + '-readers';
  await client.create(topic, PARTITIONS);
  const want = [];
  for (const codec of CODECS) {
    await client.produce(topic, codec, recordsOf(codec));
    want.push(...recordsOf(codec));
  }
  const got = await client.consume(topic, group, FIRST);
  assert.strictEqual(got.length, FIRST, 'what the first member reads');
  got.push(...(await client.consume(topic, group, want.length - FIRST)));
  assert.deepStrictEqual(got.map((r) => r.record).sort(byKey), want.sort(byKey));
  const ends = {};
  for (const r of got.sort((a, b) => a.offset - b.offset)) {
    assert.strictEqual(r.offset, ends[r.partition] ?? 0, `offset in partition ${r.partition}`);
    ends[r.partition] = r.offset + 1;
  }
  assert.deepStrictEqual(await client.committed(topic, group), ends, 'committed offsets');
  const refused = await client.refused();
  const how = client.idempotent ? 'five codecs, idempotent' : 'five codecs';
  console.log(`${client.version}\t${how}, a group resumes; transactions: ${refused}`);
}

// run ends the process: a client that hangs is a failure.
function run(client, topic) {
  setTimeout(() => { console.error(`not done after ${LIMIT / 1000} s`); process.exit(1); }, LIMIT).unref();
  roundTrip(client, topic).then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
}

module.exports = { run, readOf, nextOffsets };
