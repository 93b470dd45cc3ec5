// Package natsq is the JetStream adapter: it keeps jobs and ledgers, publishes units, events and
// dead letters, and hands the messages of the two work queues to the handler. It is the only
// importer of nats.go below cmd, and it does not read what the messages are about.
//
// What it promises:
//
//   - Every read that decides something goes to the stream's leader ($JS.API.STREAM.MSG.GET), never to a replica's direct get: right after an
//     acknowledged write a replica may still be behind.
//   - Every write that decides something is a compare-and-set on its own subject (Nats-Expected-Last-Subject-Sequence) and carries a token of its own
//     (Cv-Write). "Wrong last sequence" (10071, 10164) and silence are no proof that somebody else won: the leader is read, and the token there tells
//     whether the write is ours. It is repeated until that is known, or ctx ends.
//   - A message is settled only as the handler says. While a handler runs, the message is kept by confirmed InProgress heartbeats; when none was
//     confirmed for a whole ack wait, the handler's context ends with ErrLeaseLost, and what it then says is not sent, unless it is that the end is stored.
//   - Trouble with the server (away, no leader, stream full, stream or consumer deleted) is waited out and logged once per change.
//
// What it does not do: it has no opinion on attempts, order or outcomes, and heartbeats are not a
// lock. The ledger's compare-and-set is.
//
// The API requests are written by hand where nats.go's jetstream package would decide for us: reads
// there use direct gets when a stream allows them, publishes are repeated by it without looking,
// and its consumers fetch ahead, which ages messages in a buffer.
package natsq
