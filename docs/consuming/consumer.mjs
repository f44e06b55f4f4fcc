// Consume what the relay writes to Kafka: each event once, in order, and nothing that cannot be read stops it.
//
//   npm install kafkajs
//   KAFKA_BROKER=localhost:9092 node consumer.mjs
import { Kafka } from "kafkajs";

const kafka = new Kafka({ clientId: "recordings", brokers: [process.env.KAFKA_BROKER] });
const consumer = kafka.consumer({ groupId: "recordings-node" });

// In production: a table with a unique key, written in one transaction with the effect.
const handled = new Set();

function handle(id, body) {
  if (handled.has(id)) return "known already";
  let event;
  try {
    event = JSON.parse(body);
  } catch (error) {
    handled.add(id);
    return `put aside: ${error.message}`; // poison: keep it somewhere, and go on
  }
  if (event.event === "recording.statusUpdate" && event.recording?.status === "UPLOADED") {
    const id = event.recording.recordingId ?? event.recording.id;
    const bytes = Number(event.recording.fileSize); // a number from Dyte, a text from RealtimeKit
    console.log(`recording ${id} of meeting ${event.meeting?.id ?? event.recording.meetingId}: ${bytes} bytes`);
  }
  handled.add(id);
  return "handled";
}

await consumer.connect();
await consumer.subscribe({ topic: "dyte.events", fromBeginning: true });
await consumer.run({
  // kafkajs commits an offset once this has ended without an error, and keeps the order within a partition
  eachMessage: async ({ message }) => {
    const header = (name) => message.headers[name]?.toString();
    console.log(header("ce_type"), handle(header("ce_id"), message.value.toString("utf8")));
  },
});
