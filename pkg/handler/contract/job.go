package contract

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

var (
	// ErrNoJob says that CV_JOBS has no entry for the id.
	ErrNoJob = errors.New("no such job")
	// ErrConflict says that a compare-and-set lost: another replica wrote first.
	ErrConflict = errors.New("written by another replica meanwhile")
)

// State is where a job stands: accepted, running, or a terminal status.
type State string

// The states.
const (
	StateAccepted  State = "accepted"
	StateRunning   State = "running"
	StateCompleted State = State(StatusCompleted)
	StateFailed    State = State(StatusFailed)
	StateRefused   State = State(StatusRefused)
	StateCancelled State = State(StatusCancelled)
)

// Terminal reports whether the job has ended; any replica can publish its event then.
func (s State) Terminal() bool { return Status(s).Terminal() }

// jobVersion is the `v` of a job whose digest was made under a key: to an older replica its command
// would be another one. All other jobs have FormatVersion.
const jobVersion = 2

// Job is the durable record of carrying out one command, as CV_JOBS keeps it. All its fields are
// always there; what is not known is null.
type Job struct {
	V         int        `json:"v"` // set when the job is encoded
	ID        string     `json:"id"`
	Action    Action     `json:"action"`
	State     State      `json:"state"`
	Outcome   Outcome    `json:"outcome"`
	Attempt   int        `json:"attempt"` // how many were made that count, the one under way included
	Created   time.Time  `json:"created"`
	Updated   time.Time  `json:"updated"`
	Phase     string     `json:"phase"`
	Attempted bool       `json:"begun"` // an attempt was made, counted or not: validate does not run again
	Progress  Progress   `json:"progress"`
	Waiting   *Waiting   `json:"waiting"`
	Bundle    Text       `json:"bundle"` // "s3://…", the bag's URI
	Error     *Error     `json:"error"`
	ReplayOf  Text       `json:"replay_of"`
	GivenID   Text       `json:"given_id"` // the id the message gave, where ID is made of its sequence because that id was taken
	Command   CommandRef `json:"command"`
	First     *Origin    `json:"first"`   // where the command was published again: the message that its working objects are sealed for; null else
	Holder    Text       `json:"holder"`  // the coordinator that took it last; a new one at every taking
	Counted   []Text     `json:"counted"` // the holders whose attempts count, in order
	Event     *Event     `json:"event"`   // the terminal event, whole, from the write that decided the end; null before

	Claim    *Claim       `json:"claim"`    // the projects it is at work on, where its data does not tell or others may not know; null else
	Deletion *DeletionRef `json:"deletion"` // what a delete was begun with; null before

	Cancel      *Cancel `json:"cancel"`      // the command is to end cancelled; null when no cancel came in time
	Irrevocable bool    `json:"irrevocable"` // it has begun what cannot be taken back, and finishes: a cancel comes too late
	LeftBehind  Text    `json:"left_behind"` // where an ended command left objects that it could not remove, and why; `consumer gc` removes them
}

// Claim is which projects a command is at work on.
type Claim struct {
	Projects []uuid.UUID `json:"projects"`
	// Held says that no other command was at work on them when this one looked, after it had
	// claimed them: from then on the others wait.
	Held bool `json:"held"`
}

// Has reports whether one of these projects is claimed.
func (c *Claim) Has(projects []uuid.UUID) bool {
	return c != nil && slices.ContainsFunc(c.Projects, func(p uuid.UUID) bool { return slices.Contains(projects, p) })
}

// DeletionRef names the working objects that a delete was begun with. Objects in the bucket decide
// nothing by themselves: one that has another digest is not believed.
type DeletionRef struct {
	BegunSHA256 string `json:"begun_sha256"` // of the beginning: facts, time and plan
	PlanSHA256  string `json:"plan_sha256"`  // of the plan
	// Credentials are those that got an answer about a planned project, as keyed digests.
	Credentials []string `json:"credentials"`
}

// CancelKept is how long a cancel waits for its command: by the times at which the two were
// published.
const CancelKept = 24 * time.Hour

// Cancel is what a job knows of the cancel that ends it.
type Cancel struct {
	ID   string    `json:"id"`   // the cancel's own
	Time time.Time `json:"time"` // when it was published
}

// OnlyCancel reports whether this is no job yet, only a cancel that waits for its command.
func (j Job) OnlyCancel() bool { return j.State == "" && j.Cancel != nil }

// CountAttempt counts an attempt, by a new holder.
func (j *Job) CountAttempt(holder Text) {
	j.Holder, j.Attempt, j.Counted = holder, j.Attempt+1, append(slices.Clone(j.Counted), holder)
}

// RefundAttempt takes back the count of a holder's attempt. It reports whether that attempt
// counted.
func (j *Job) RefundAttempt(holder Text) bool {
	i := slices.Index(j.Counted, holder)
	if i < 0 {
		return false
	}
	j.Attempt, j.Counted = j.Attempt-1, slices.Delete(slices.Clone(j.Counted), i, i+1)
	return true
}

// Over reports whether the job has ended or is ending: its units are not worth doing any more.
func (j Job) Over() bool {
	return j.State.Terminal() || j.Phase == PhaseCleanUp || j.Phase == PhaseEnding || j.Cancel != nil
}

// Phases of a job. Only these decide anything: delete, seal and clean up, after which a cancel is
// too late, and ending.
const (
	PhasePlan    = "plan"
	PhaseRead    = "read"
	PhaseDelete  = "delete" // from just before the first destructive call
	PhaseCommit  = "commit"
	PhaseSeal    = "seal"     // the bag is whole but for its manifests and receipt
	PhaseCleanUp = "clean up" // its bag has a receipt, and the working objects are being removed
	PhaseEnding  = "ending"   // it will end failed or cancelled; what it stored is being removed
)

// InIrrevocablePhase reports whether a cancel comes too late for the job's phase: the command's bag
// is about to get its receipt, or a delete is about to delete.
func (j Job) InIrrevocablePhase() bool {
	return j.Phase == PhaseDelete || j.Phase == PhaseSeal || j.Phase == PhaseCleanUp
}

// CommandRef is what a job remembers of its command. A sequence is an identity only together with
// the stream: where CV_COMMANDS was deleted and made again, another message has it.
type CommandRef struct {
	Seq       uint64    `json:"seq"`       // the message's sequence in the command stream
	Stream    Text      `json:"stream"`    // which stream that is; see Message
	Published time.Time `json:"published"` // when the stream stored the message
	Digest    string    `json:"digest"`    // of the canonical data, salted, and keyed if that has metadata values; see Command.Ref
	Resource  string    `json:"resource"`
	Account   string    `json:"account"` // which the alias meant then, see account.Names; empty when the alias was not configured
	Signer    Text      `json:"signer"`  // the NKey public key by which the message was signed; null where that was not demanded
	Approver  Text      `json:"approver"`
	// SignedUntil is until when a copy of the message could be carried out if this job were not
	// there: see Command.SignedUntil.
	SignedUntil *time.Time `json:"signed_until"`
}

// Origin is the message of a command that its objects are sealed for, by stream and sequence: the
// first one that it came with under its job.
type Origin struct {
	Stream Text   `json:"stream"`
	Seq    uint64 `json:"seq"`
}

// String names the message.
func (o Origin) String() string { return string(o.Stream) + "/" + strconv.FormatUint(o.Seq, 10) }

// Origin is the message that the objects of the job's command are sealed for.
func (j Job) Origin() Origin {
	if j.First != nil {
		return *j.First
	}
	return Origin{j.Command.Stream, j.Command.Seq}
}

// PublishedAgain notes that the command came with another message, c. What it stored stays its own.
func (j *Job) PublishedAgain(c Command) {
	first := j.Origin()
	j.First, j.Command = &first, j.Command.WithMessage(c)
}

// SameMessage reports whether c came with the very message that is remembered here, and not with
// another one that has its sequence.
func (r CommandRef) SameMessage(c Command) bool {
	return r.Seq == c.Seq && string(r.Stream) == c.Stream && r.Published.Equal(c.Published)
}

// CopyCounts reports whether a copy of the message, which is a signed delete, would be carried out
// now if the job were not there.
func (r CommandRef) CopyCounts(now time.Time) bool {
	return r.SignedUntil != nil && !now.After(*r.SignedUntil)
}

// WithMessage is what is remembered of the same command when its message is another one now: the
// command was published again.
func (r CommandRef) WithMessage(c Command) CommandRef {
	r.Seq, r.Stream, r.Published = c.Seq, Text(c.Stream), c.Published
	r.Signer, r.Approver, r.SignedUntil = Text(c.Signer), Text(c.Approver), c.SignedUntil()
	return r
}

// EarlierStream reports whether of two identities of the command stream the first is that of an
// earlier one. One that is not known is earlier than all others.
func EarlierStream(a, b string) bool {
	before, err := time.Parse(time.RFC3339Nano, a)
	if err != nil {
		before = time.Time{}
	}
	after, err := time.Parse(time.RFC3339Nano, b)
	return err == nil && before.Before(after)
}

// MarshalJSON prints the job with its version and with times in UTC; of one that is only a cancel,
// no more than that.
func (j Job) MarshalJSON() ([]byte, error) {
	type plain Job
	j.V = max(j.V, FormatVersion)
	if strings.HasPrefix(j.Command.Digest, keyedDigest) {
		j.V = max(j.V, jobVersion)
	}
	if j.OnlyCancel() {
		return json.Marshal(struct {
			V      int     `json:"v"`
			ID     string  `json:"id"`
			Cancel *Cancel `json:"cancel"`
		}{j.V, j.ID, j.Cancel})
	}
	j.Created, j.Updated = j.Created.UTC(), j.Updated.UTC()
	return json.Marshal(plain(j))
}

// MarshalJSON prints the time in UTC.
func (c Cancel) MarshalJSON() ([]byte, error) {
	type plain Cancel
	c.Time = c.Time.UTC()
	return json.Marshal(plain(c))
}

// DecodeJob reads a job as CV_JOBS keeps it. It fails with ErrNewer when a newer version wrote it.
func DecodeJob(raw []byte) (Job, error) {
	var j Job
	err := DecodeUpTo(jobVersion, raw, "job", &j)
	return j, err
}
