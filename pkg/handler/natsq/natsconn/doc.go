// Package natsconn connects to NATS, and stays connected: it retries for ever, and reads
// credentials again at every connect. It also says whether the service can work with the connected
// server. It knows nothing of streams.
package natsconn
