package names

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// What one token of a subject may be.
var (
	validPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	validID     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
)

// Names are the streams and subjects of one prefix. Streams and buckets have it in upper case.
type Names struct {
	Prefix                                string // the first token of all subjects
	Commands, Work, Events, Dead, Ledgers string // streams
	Jobs, Holds, Secrets                  string // streams behind the key-value buckets
}

// New makes the names of a prefix. It fails when the prefix is not one token of a subject.
func New(prefix string) (Names, error) {
	if !validPrefix.MatchString(prefix) {
		return Names{}, fmt.Errorf("subject prefix %q: only 1 to 64 letters, digits, '_' and '-' are allowed", prefix)
	}
	up := strings.ToUpper(prefix)
	return Names{
		Prefix:   prefix,
		Commands: up + "_COMMANDS", Work: up + "_WORK", Events: up + "_EVENTS", Dead: up + "_DEAD", Ledgers: up + "_LEDGER",
		Jobs: "KV_" + up + "_JOBS", Holds: "KV_" + up + "_HOLDS",
		Secrets: "KV_" + up + "_SECRETS",
	}, nil
}

// CommandSubject is the subject of commands of an action.
func (n Names) CommandSubject(a contract.Action) string { return n.Prefix + ".commands." + string(a) }

// AnyCommandSubject matches the subjects of all commands.
func (n Names) AnyCommandSubject() string { return n.Prefix + ".commands.*" }

// UnitSubject is the subject of unit k of a command.
func (n Names) UnitSubject(id string, k int) string {
	return n.Prefix + ".work." + id + "." + strconv.Itoa(k)
}

// UnitSubjects matches the subjects of all units of a command.
func (n Names) UnitSubjects(id string) string { return n.Prefix + ".work." + id + ".*" }

// LedgerSubject is the subject of the ledger of a command.
func (n Names) LedgerSubject(id string) string { return n.Prefix + ".ledger." + id }

// EventSubject is the subject of one event of a command.
func (n Names) EventSubject(a contract.Action, id string, s contract.Status) string {
	return n.Prefix + ".events." + string(a) + "." + id + "." + string(s)
}

// EventSubjects matches the subjects of all events of an id.
func (n Names) EventSubjects(id string) string { return n.Prefix + ".events.*." + id + ".*" }

// DeadLetterSubject is the subject of a dead letter.
func (n Names) DeadLetterSubject(a contract.Action, id string) string {
	return n.Prefix + ".dead." + string(a) + "." + id
}

// ResultSubject is that of the notice that a unit of a command has a result. No stream stores it.
func (n Names) ResultSubject(id string) string { return n.Prefix + "-signal." + id }

// OverSubject is that of the notice that a command is over. No stream stores it.
func (n Names) OverSubject(id string) string { return n.Prefix + "-over." + id }

// JobSubject is the subject of a job, by the command's key.
func (n Names) JobSubject(key string) string { return n.KeyPrefix(n.Jobs) + key }

// HoldSubject is the subject of the legal hold on a project.
func (n Names) HoldSubject(project string) string { return n.KeyPrefix(n.Holds) + project }

// KeyPrefix is what comes before a key in the subjects of a bucket's stream, as nats.go builds
// them.
func (n Names) KeyPrefix(stream string) string {
	return "$KV." + strings.TrimPrefix(stream, "KV_") + "."
}

// CheckID refuses an id that is not one token of a subject. The decoder of commands allows less
// than this; the check is for ids from the command line, and guards against a defect: an id with a
// wildcard would purge or read the messages of others.
func CheckID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("id %q: only 1 to 128 letters, digits, '_' and '-' are allowed", id)
	}
	return nil
}

// CheckKey is CheckID for the id in a command's key.
func CheckKey(key string) error {
	id, _ := contract.ParseKey(key)
	return CheckID(id)
}

// CheckTokens is CheckID for actions and statuses.
func CheckTokens(tokens ...string) error {
	for _, t := range tokens {
		if err := CheckID(t); err != nil {
			return err
		}
	}
	return nil
}
