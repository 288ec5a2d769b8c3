// kafkajs: kafkajs.js BOOTSTRAP. It brings gzip along; the other codecs are given to it.
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs');
const { compressFrame, decompressFrame } = require('lz4-napi');
const snappy = require('snappyjs');
const zstd = require('@bokuweb/zstd-wasm');
const { run, readOf, nextOffsets } = require('./roundtrip.js');

// Java's producers write snappy in frames of their own, which begin like this; kafkajs and others write it plain.
const javaSnappy = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);

function codec(compress, decompress) {
  return () => ({
    compress: async (encoder) => Buffer.from(await compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(await decompress(buffer)),
  });
}
CompressionCodecs[CompressionTypes.Snappy] = codec(snappy.compress, (b) => {
  if (b.subarray(0, 8).equals(javaSnappy)) throw new Error('a snappy frame that nobody here has written');
  return snappy.uncompress(b);
});
CompressionCodecs[CompressionTypes.LZ4] = codec(compressFrame, decompressFrame);
const zstdReady = zstd.init();
CompressionCodecs[CompressionTypes.ZSTD] = codec(
  async (b) => { await zstdReady; return zstd.compress(b); },
  async (b) => { await zstdReady; return zstd.decompress(b); },
);
const types = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
};

const kafka = new Kafka({ clientId: 'kafkajs', brokers: [process.argv[2]], logLevel: logLevel.ERROR });

async function withAdmin(work) {
  const admin = kafka.admin();
  await admin.connect();
  try { return await work(admin); } finally { await admin.disconnect(); }
}

run({
  version: require('kafkajs/package.json').version,
  idempotent: true,

  create: (topic, numPartitions) => withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions }] })),

  async produce(topic, name, messages) {
    const producer = kafka.producer({ idempotent: true });
    await producer.connect();
    await producer.send({ topic, acks: -1, compression: types[name], messages });
    await producer.disconnect();
  },

  async consume(topic, groupId, count) {
    const consumer = kafka.consumer({ groupId });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    const got = [];
    await new Promise((resolve, reject) => {
      consumer.on(consumer.events.CRASH, (e) => reject(e.payload.error));
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          if (got.length < count) got.push(readOf(partition, message));
          if (got.length === count) resolve();
        },
      }).catch(reject);
    });
    await consumer.commitOffsets(nextOffsets(topic, got));
    await consumer.disconnect();
    return got;
  },

  async committed(topic, groupId) {
    const [{ partitions }] = await withAdmin((admin) => admin.fetchOffsets({ groupId, topics: [topic] }));
    return Object.fromEntries(partitions.map((p) => [p.partition, Number(p.offset)]));
  },

  async refused() {
    const quiet = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.NOTHING, retry: { retries: 2 } });
    const producer = quiet.producer({ transactionalId: 'kafkajs', idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    try {
      await producer.transaction();
    } catch (e) {
      return 'refused after retries, ' + e.message;
    } finally {
      await producer.disconnect();
    }
    throw new Error('a transactional producer is not refused');
  },
}, 'kafkajs');
