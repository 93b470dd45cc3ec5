package natsconn

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// MinPayload is the smallest max_payload that the service can work with, in bytes: the longest
// ledger line, job or unit fits in, and so does a dead letter without its body.
const MinPayload = 64 << 10

// The oldest nats-server that this product is tested with.
const oldestMajor, oldestMinor = 2, 11

// Check fails if the service cannot work with the connected server. Without a connection it is nil.
func Check(nc *nats.Conn) error {
	if limit := nc.MaxPayload(); nc.IsConnected() && limit < MinPayload {
		return fmt.Errorf("the NATS server %s takes messages of at most %d bytes, and %d are needed: raise max_payload in its configuration, or for this user or account",
			nc.ConnectedServerName(), limit, MinPayload)
	}
	return nil
}

// Notes are reasons to upgrade the connected server although it works, as sentences for the
// operator. Without a connection there are none.
func Notes(nc *nats.Conn) []string {
	version := nc.ConnectedServerVersion()
	if version == "" || !older(version) {
		return nil
	}
	return []string{fmt.Sprintf("the NATS server %s has version %s, and nothing older than %d.%d is tested or supported: what works now may fail with it; upgrade it",
		nc.ConnectedServerName(), version, oldestMajor, oldestMinor)}
}

// older reports whether a version is older than the oldest tested one. It is false for a version
// that cannot be read.
func older(version string) bool {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	m, err := strconv.Atoi(major)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(minor)
	if err != nil {
		return false
	}
	return m < oldestMajor || m == oldestMajor && n < oldestMinor
}
