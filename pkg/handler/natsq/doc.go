// Package natsq is the JetStream adapter: it keeps jobs and ledgers, publishes units, events and
// dead letters, and hands the messages of the two work queues to the handler. It is the only
// importer of nats.go below cmd, and it does not interpret what the messages are about.
//
// The story: natsconn.Connect connects to NATS, and [Open] finds or creates the streams, buckets
// and consumers. [Queue.ServeCommands] and [Queue.ServeUnits] pull messages, hand each to a handler
// under a lease that heartbeats keep, and settle it as the handler decides. What the handler stores
// and reads meanwhile goes through the other methods of [Queue], which implement the parts of
// handler.Queue.
//
// What it promises:
//
//   - Every read that decides something goes to the stream's leader ($JS.API.STREAM.MSG.GET), never
//     to a replica's direct get: right after an acknowledged write a replica may still be behind.
//   - Every write that decides something is a compare-and-set on its own subject
//     (Nats-Expected-Last-Subject-Sequence) and carries a token of its own (Cv-Write). Neither
//     "wrong last sequence" (10071, 10164) nor silence proves that another writer was first: the
//     package reads from the leader, and the token there shows whether the write is its own. It
//     repeats the write until that is known, or ctx ends.
//   - A message is settled only as the handler decides. While a handler runs, confirmed InProgress
//     heartbeats keep the message. When none was confirmed for a whole ack wait, the handler's
//     context ends with ErrLeaseLost; from then on a Nak is not sent, while an Ack or Term, which
//     means that the end is stored, still is.
//   - While the server is in no state to answer (away, no leader, stream full, stream or consumer
//     deleted), operations wait and try again, and each change of the reason is logged once.
//
// What it does not do: it does not count attempts, does not order commands and does not judge
// outcomes; the handler does. Heartbeats are no lock: the fence is the ledger's compare-and-set.
//
// The API requests are written by hand where nats.go's jetstream package would decide for the
// caller: its reads use direct gets when a stream allows them, it repeats publishes without reading
// in between, and its consumers fetch ahead, which ages messages in a buffer.
//
// Which file holds what:
//
//	queue.go                                Queue and its options
//	streams.go provision.go                 the settings of streams and consumers; creating and updating them (internal/drift compares)
//	serve.go pull.go lease.go settle.go     the two work queues: slots, pull requests, heartbeats, acknowledgements
//	commands.go units.go jobs.go ledger.go  command messages and their stream's identity; units; jobs; the fence
//	events.go dead.go holds.go secrets.go   events; dead letters; legal holds; secrets
//	notices.go                              notices between replicas
//	forget.go                               finding and removing all of one key
//	bucket.go                               key-value buckets
//	internal/names                          names of streams and subjects; valid ids
//	internal/letter                         dead letters as messages
//	internal/expiry                         removing jobs and ledgers whose time is over
//	internal/rejects                        removing old messages that were no commands
//	internal/room                           whether there is room for new commands
//	internal/jsapi                          requests until answered; reads, writes, removal, watching
//	natsconn                                the connection
package natsq
