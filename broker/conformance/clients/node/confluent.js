// @confluentinc/kafka-javascript, which is librdkafka, by its API like that of kafkajs: confluent.js BOOTSTRAP.
const { KafkaJS, librdkafkaVersion } = require('@confluentinc/kafka-javascript');
const { run, readOf, nextOffsets } = require('./roundtrip.js');

const kafka = new KafkaJS.Kafka({ kafkaJS: { brokers: [process.argv[2]], logLevel: KafkaJS.logLevel.ERROR } });

async function withAdmin(work) {
  const admin = kafka.admin();
  await admin.connect();
  try { return await work(admin); } finally { await admin.disconnect(); }
}

run({
  version: `${require('@confluentinc/kafka-javascript/package.json').version}, librdkafka ${librdkafkaVersion}`,
  idempotent: true,

  create: (topic, numPartitions) => withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions }] })),

  async produce(topic, codec, messages) {
    const producer = kafka.producer({ kafkaJS: { acks: -1, idempotent: true }, 'compression.codec': codec, 'linger.ms': 20 });
    await producer.connect();
    await producer.send({ topic, messages });
    await producer.disconnect();
  },

  async consume(topic, groupId, count) {
    const consumer = kafka.consumer({ kafkaJS: { groupId, fromBeginning: true, autoCommit: false } });
    await consumer.connect();
    await consumer.subscribe({ topic });
    const got = [];
    await new Promise((resolve, reject) => {
      consumer.run({
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
    const producer = kafka.producer({ kafkaJS: { transactionalId: 'kafka-javascript' } });
    try {
      await producer.connect();
      await producer.transaction();
    } catch (e) {
      return 'refused, ' + e.message;
    }
    throw new Error('a transactional producer is not refused');
  },
}, 'kafka-javascript');
