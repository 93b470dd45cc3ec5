package contract

import (
	"encoding/json"
	"fmt"
	"time"
)

// Status is what an event says of its command.
type Status string

// The statuses. Exactly one terminal event exists per command. A duplicate answers a message that
// only repeated an earlier one, and ends no command.
const (
	StatusAccepted  Status = "accepted"
	StatusProgress  Status = "progress"
	StatusCompleted Status = "completed"
	StatusFailed    Status = "failed"
	StatusRefused   Status = "refused"
	StatusCancelled Status = "cancelled"
	StatusDuplicate Status = "duplicate"
)

// Terminal reports whether nothing follows this status.
func (s Status) Terminal() bool {
	switch s {
	case StatusCompleted, StatusFailed, StatusRefused, StatusCancelled:
		return true
	default:
		return false
	}
}

// Outcome is how a completed command went; empty (null in JSON) for every other.
type Outcome string

// The outcomes.
const (
	OutcomeComplete     Outcome = "complete"
	OutcomeExceptions   Outcome = "complete_with_exceptions"
	OutcomeNothingFound Outcome = "nothing_found"
	OutcomePlanned      Outcome = "planned"
	OutcomeKept         Outcome = "kept" // of a cancel: no command had the id, and the cancel is kept in case one comes
)

// MarshalJSON prints null for no outcome.
func (o Outcome) MarshalJSON() ([]byte, error) { return json.Marshal(Text(o)) }

// Text is a string whose empty value is null in JSON.
type Text string

// MarshalJSON prints null for the empty string.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// What events are made with.
const (
	// EventSource is the CloudEvents source of all events.
	EventSource = "cvconsumer"
	// EventContentType is the content type of a published event.
	EventContentType = "application/cloudevents+json"

	eventSpecVersion = "1.0"
	eventDataType    = "application/json"
)

// Event is what happened, as published: a CloudEvents 1.0 event in structured JSON.
type Event struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"` // "<command id>.<status>", for progress "<command id>.progress.<n>"
	Source          string    `json:"source"`
	Type            string    `json:"type"`    // "cv.<action>.<status>"
	Subject         string    `json:"subject"` // the command's id
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Traceparent     string    `json:"traceparent,omitempty"`
	Data            EventData `json:"data"`
}

// EventData is an event's payload. All its fields are always there (Progress only in a progress
// event); what is not known is null.
type EventData struct {
	V             int        `json:"v"` // FormatVersion; zero is taken for it
	CommandID     string     `json:"command_id"`
	Seq           uint64     `json:"seq"`      // of the command's message, as its publisher was told
	Stream        Text       `json:"stream"`   // which stream that sequence is of: when it was made
	GivenID       Text       `json:"given_id"` // the id the message gave, where command_id is made of its sequence: the id was taken, or this is a duplicate
	Action        Action     `json:"action"`
	Status        Status     `json:"status"`
	Outcome       Outcome    `json:"outcome"`
	Reference     Text       `json:"reference"`
	Attempt       int        `json:"attempt"`
	StartedAt     *time.Time `json:"started_at"`
	FinishedAt    *time.Time `json:"finished_at"`
	Counts        Counts     `json:"counts"`
	Bundle        *BundleRef `json:"bundle"`
	ExportBundle  *BundleRef `json:"export_bundle"` // the bag of export_first
	Plan          *PlanRef   `json:"plan"`
	Residuals     []Residual `json:"residuals"` // never null
	Exceptions    int64      `json:"exceptions"`
	Progress      *Progress  `json:"progress,omitempty"`
	Waiting       *Waiting   `json:"waiting"`
	ConflictsWith Text       `json:"conflicts_with"` // of an id_conflict: the id of the first command
	DuplicateOf   *MessageOf `json:"duplicate_of"`   // of a duplicate: the message that it repeats
	ReplayOf      Text       `json:"replay_of"`      // the id of the dead command this one repeats
	Error         *Error     `json:"error"`
}

// MessageOf names the message of a command, and says where that command stood.
type MessageOf struct {
	ID     string `json:"id"`     // of the command
	Seq    uint64 `json:"seq"`    // of its message
	Stream Text   `json:"stream"` // which stream that sequence is of
	State  State  `json:"state"`  // of the command, when this was written
}

// Counts is how many distinct things are in the bag, or were deleted.
type Counts struct {
	Projects    int64 `json:"projects"`
	Iterations  int64 `json:"iterations"`
	Performance int64 `json:"performance"`
	Tags        int64 `json:"tags"`
	Images      int64 `json:"images"`
	Exports     int64 `json:"exports"` // model files
	Predictions int64 `json:"predictions"`
	Bytes       int64 `json:"bytes"` // the payload's size without data/export.json or data/deletion.json
}

// BundleRef points to a finished bag.
type BundleRef struct {
	URI            string     `json:"uri"` // "s3://<bucket>/<prefix><id>/export/"
	ManifestSHA256 string     `json:"manifest_sha256"`
	ReceiptSHA256  string     `json:"receipt_sha256"`
	Signed         bool       `json:"signed"`
	TimeStamped    bool       `json:"timestamped,omitempty"` // its signature has a time stamp
	Objects        int64      `json:"objects"`               // every object of the bag, receipts included
	RetainUntil    *time.Time `json:"retain_until"`
}

// PlanRef points to a delete's plan.
type PlanRef struct {
	SHA256 string `json:"sha256"` // hex; what approved_plan takes
	URI    string `json:"uri"`
}

// Residual is something that remains after a delete, and why.
type Residual struct {
	Category Category `json:"category"`
	Reason   string   `json:"reason"`
}

// Progress is how far a command is: things read, of the things counted so far, and the bytes of the
// pictures and models that are stored. Of a completed command the bytes are those of its counts.
type Progress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	Bytes int64 `json:"bytes"`
}

// What a command may wait for.
const (
	WaitCommand    = "command"
	WaitCredential = "credential"
	WaitStorage    = "storage"
	WaitRate       = "rate"
	WaitTraining   = "training"
	WaitTimestamp  = "timestamp" // of the receipt's signature
)

// Waiting is what a command waits for; waiting costs no attempt.
type Waiting struct {
	For    string    `json:"for"` // one of the Wait constants
	Detail string    `json:"detail"`
	Since  time.Time `json:"since"`
}

// NewEvent returns the accepted or terminal event that carries d, which happened at the given time.
// Its id is deterministic: the same event built again by another replica is the same event.
func NewEvent(d EventData, at time.Time, traceparent string) Event {
	return newEvent(d, d.CommandID+"."+string(d.Status), at, traceparent)
}

// NewProgressEvent returns the n-th progress event of a command. Its status is made progress.
func NewProgressEvent(d EventData, n uint64, at time.Time, traceparent string) Event {
	d.Status = StatusProgress
	return newEvent(d, fmt.Sprintf("%s.%s.%d", d.CommandID, d.Status, n), at, traceparent)
}

func newEvent(d EventData, id string, at time.Time, traceparent string) Event {
	if d.V == 0 {
		d.V = FormatVersion
	}
	if d.Residuals == nil {
		d.Residuals = []Residual{}
	}
	return Event{
		SpecVersion: eventSpecVersion, ID: id, Source: EventSource, Type: fmt.Sprintf("cv.%s.%s", d.Action, d.Status),
		Subject: d.CommandID, Time: at.UTC(), DataContentType: eventDataType, Traceparent: traceparent, Data: d,
	}
}

// MarshalJSON prints the data with its version, with times in UTC and never with a null list.
func (d EventData) MarshalJSON() ([]byte, error) {
	type plain EventData
	if d.V == 0 {
		d.V = FormatVersion
	}
	if d.Residuals == nil {
		d.Residuals = []Residual{}
	}
	d.StartedAt, d.FinishedAt = inUTC(d.StartedAt), inUTC(d.FinishedAt)
	return json.Marshal(plain(d))
}

// MarshalJSON prints the times in UTC.
func (b BundleRef) MarshalJSON() ([]byte, error) {
	type plain BundleRef
	b.RetainUntil = inUTC(b.RetainUntil)
	return json.Marshal(plain(b))
}

// MarshalJSON prints the time in UTC.
func (w Waiting) MarshalJSON() ([]byte, error) {
	type plain Waiting
	w.Since = w.Since.UTC()
	return json.Marshal(plain(w))
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// MarshalJSON prints null for no request id.
func (e Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		Retryable bool   `json:"retryable"`
		RequestID Text   `json:"request_id"`
	}{e.Code, e.Message, e.Retryable, Text(e.RequestID)})
}
