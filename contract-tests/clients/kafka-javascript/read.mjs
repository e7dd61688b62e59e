// Prints the values of a topic's first records, one per line.

import kafkajs from "kafkajs";

const { MERCH_EVENTS, MERCH_KAFKA, MERCH_TOPIC } = process.env;
const wanted = Number(MERCH_EVENTS);
const kafka = new kafkajs.Kafka({ brokers: MERCH_KAFKA.split(","), logLevel: kafkajs.logLevel.ERROR });
const consumer = kafka.consumer({ groupId: `kafkajs-${process.pid}-${Date.now()}` });
const limit = setTimeout(() => {
  console.error(`expected ${wanted} records within 60 s, got ${seen}`);
  process.exit(1);
}, 60_000);
let seen = 0;

await consumer.connect();
await consumer.subscribe({ topic: MERCH_TOPIC, fromBeginning: true });
await new Promise((resolve) => {
  consumer.run({
    autoCommit: false,
    eachMessage: async ({ message }) => {
      if (seen === wanted) return;
      process.stdout.write(`${message.value.toString()}\n`);
      seen += 1;
      if (seen === wanted) resolve();
    },
  });
});
clearTimeout(limit);
await consumer.disconnect();
