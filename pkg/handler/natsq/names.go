package natsq

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// DefaultPrefix is the first token of all subjects unless a setting says otherwise.
const DefaultPrefix = "cv"

// Names of the durable consumers. Each action has its own consumer and its own slots: a delete does
// not wait for exports, nor a cancel for either.
const (
	exportsDurable = "exports"
	deletesDurable = "deletes"
	cancelsDurable = "cancels"
	workDurable    = "workers"
)

// What one token of a subject may be.
var (
	validPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	validID     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
)

// names are the streams and subjects of one prefix. Streams and buckets have it in upper case.
type names struct {
	prefix                                string
	commands, work, events, dead, ledgers string // streams
	jobs, holds, secrets                  string // streams behind the key-value buckets
}

// newNames are the names of a prefix. It fails when the prefix is not one token of a subject.
func newNames(prefix string) (names, error) {
	if !validPrefix.MatchString(prefix) {
		return names{}, fmt.Errorf("subject prefix %q: only 1 to 64 letters, digits, '_' and '-' are allowed", prefix)
	}
	up := strings.ToUpper(prefix)
	return names{
		prefix:   prefix,
		commands: up + "_COMMANDS", work: up + "_WORK", events: up + "_EVENTS", dead: up + "_DEAD", ledgers: up + "_LEDGER",
		jobs: "KV_" + up + "_JOBS", holds: "KV_" + up + "_HOLDS",
		secrets: "KV_" + up + "_SECRETS",
	}, nil
}

// Subjects of commands, units, ledgers, events and dead letters. The plural ones have wildcards.

func (n names) commandSubject(a contract.Action) string { return n.prefix + ".commands." + string(a) }
func (n names) anyCommandSubject() string               { return n.prefix + ".commands.*" }
func (n names) unitSubject(id string, k int) string {
	return n.prefix + ".work." + id + "." + strconv.Itoa(k)
}
func (n names) unitSubjects(id string) string  { return n.prefix + ".work." + id + ".*" }
func (n names) ledgerSubject(id string) string { return n.prefix + ".ledger." + id }
func (n names) eventSubject(a contract.Action, id string, s contract.Status) string {
	return n.prefix + ".events." + string(a) + "." + id + "." + string(s)
}
func (n names) eventSubjects(id string) string { return n.prefix + ".events.*." + id + ".*" }
func (n names) deadLetterSubject(a contract.Action, id string) string {
	return n.prefix + ".dead." + string(a) + "." + id
}

// Subjects of notices, which no stream stores.

func (n names) resultSubject(id string) string { return n.prefix + "-signal." + id }
func (n names) overSubject(id string) string   { return n.prefix + "-over." + id }

// Subjects of bucket entries.

func (n names) jobSubject(key string) string      { return n.keyPrefix(n.jobs) + key }
func (n names) holdSubject(project string) string { return n.keyPrefix(n.holds) + project }

// keyPrefix is what comes before a key in the subjects of a bucket's stream, as nats.go builds
// them.
func (n names) keyPrefix(stream string) string {
	return "$KV." + strings.TrimPrefix(stream, "KV_") + "."
}

// checkID refuses an id that is not one token of a subject. The decoder of commands allows less
// than this; the check is for ids from the command line, and guards against a defect: an id with a
// wildcard would purge or read the messages of others.
func checkID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("id %q: only 1 to 128 letters, digits, '_' and '-' are allowed", id)
	}
	return nil
}

// checkKey is checkID for the id in a command's key.
func checkKey(key string) error {
	id, _ := contract.ParseKey(key)
	return checkID(id)
}

// checkTokens is checkID for actions and statuses.
func checkTokens(tokens ...string) error {
	for _, t := range tokens {
		if err := checkID(t); err != nil {
			return err
		}
	}
	return nil
}
