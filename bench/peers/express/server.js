// What one writes after reading Dyte's guide (https://docs.dyte.io/guides/capabilities/webhooks/signatures): Express, the
// signature verified, and the event in Kafka before the answer.
//
//   node server.js PORT KEY.pem [BROKER TOPIC]
//
// The guide verifies JSON.stringify of the parsed body. The raw bytes are right, and cheaper. Without a broker the event
// goes nowhere. Nothing is kept: an event that Kafka does not take is answered 500, and lost if the sender gives up.
import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import express from 'express';
import { Kafka, Partitioners, logLevel } from 'kafkajs';

const [port, keyFile, broker, topic] = process.argv.slice(2);
const key = createPublicKey(readFileSync(keyFile));
const producer = broker === undefined ? null : await connected(broker);

const app = express();
app.disable('x-powered-by');
app.disable('etag');

app.post('/webhooks/dyte', express.raw({ type: 'application/json', limit: '1mb' }), async (request, response) => {
  const signature = Buffer.from(request.get('dyte-signature') ?? '', 'base64');
  if (!verify('RSA-SHA256', request.body, key, signature)) {
    response.status(401).json({ status: 'bad_signature' });
    return;
  }
  const event = JSON.parse(request.body);
  if (producer !== null) {
    await producer.send({ topic, acks: -1, messages: [message(event, request)] });
  }
  response.json({ status: 'accepted' });
});

app.listen(Number(port), '127.0.0.1');

// The meeting is the key, so that its events stay in one partition, in order.
function message(event, request) {
  const meeting = event.meeting?.id ?? event.recording?.meetingId ?? event.meetingId ?? event.streamId;
  return { key: meeting, value: request.body, headers: { type: event.event, uuid: request.get('dyte-uuid') ?? '' } };
}

async function connected(address) {
  const kafka = new Kafka({ clientId: 'express-receiver', brokers: [address], logLevel: logLevel.ERROR });
  const made = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, allowAutoTopicCreation: false });
  await made.connect();
  return made;
}
