// Publishes one command, waits for the answer to exactly its message, and prints that event.
//
//   npm install @nats-io/transport-node @nats-io/jetstream
//   node publish.mjs export req-1 '{"all_projects":true}'
//
// It exits with 0 when the command completed or repeated an earlier message, and with 3 when it
// failed, was refused or was cancelled. The rights of a requester in docs/nats.md are enough.
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, headers } from '@nats-io/transport-node'

const [action, id, data] = process.argv.slice(2)
if (!data) {
  console.error('usage: node publish.mjs export|delete|cancel ID DATA')
  process.exit(2)
}
const { NATS_URL, NATS_USER, NATS_PASSWORD, CONSUMER_NATS_DOMAIN, CONSUMER_NATS_INBOX_PREFIX } = process.env
const nc = await connect({
  servers: NATS_URL ?? 'nats://127.0.0.1:4222',
  user: NATS_USER,
  pass: NATS_PASSWORD,
  inboxPrefix: CONSUMER_NATS_INBOX_PREFIX,
})
const js = jetstream(nc, { domain: CONSUMER_NATS_DOMAIN })
const jsm = await jetstreamManager(nc, { domain: CONSUMER_NATS_DOMAIN, checkAPI: false })
const { created } = await jsm.streams.info('CV_COMMANDS')

const h = headers()
h.set('Nats-Msg-Id', id)
const ack = await js.publish(`cv.commands.${action}`, data, { headers: h })
if (ack.duplicate) {
  console.error('the same id was published less than 100 ms ago: publish again')
  process.exit(1)
}

process.exitCode = (await answer()) ? 0 : 3
await nc.close()

// answer reads the events under the id, and under the sequence of a message without an id of its
// own, until one answers the message.
async function answer() {
  const next = new Map([
    [`cv.events.${action}.${id}.*`, 1],
    [`cv.events.${action}.seq-${ack.seq}.*`, 1],
  ])
  for (;;) {
    for (const [subject, seq] of next) {
      const m = await jsm.streams.getMessage('CV_EVENTS', { seq, next_by_subj: subject })
      if (!m) continue
      next.set(subject, m.seq + 1)
      const event = m.json()
      // Times may have more digits than a Date keeps: they are compared as text.
      if (event.data.seq !== ack.seq || event.data.stream !== created) continue // of another message
      if (['completed', 'duplicate', 'failed', 'refused', 'cancelled'].includes(event.data.status)) {
        console.log(JSON.stringify(event))
        return ['completed', 'duplicate'].includes(event.data.status)
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
}
