package contract

import "strings"

// cancelKeyPrefix begins the keys of cancels. No id has a dot.
const cancelKeyPrefix = string(ActionCancel) + "."

// Key names a command among all others: CV_JOBS has its job under it, and the command line takes
// it. It is the id, and of a cancel "cancel.<id>": cancels take no command's id. An id that is made
// of a sequence names one message, whatever its action, and is its own key.
//
// This function and ParseKey are the only ones that know how keys are made.
func Key(a Action, id string) string {
	if a == ActionCancel && !IsSeqID(id) {
		return cancelKeyPrefix + id
	}
	return id
}

// ParseKey returns the id in a key, and the actions that a message with this key may have.
func ParseKey(key string) (id string, actions []Action) {
	if id, ok := strings.CutPrefix(key, cancelKeyPrefix); ok {
		return id, []Action{ActionCancel}
	}
	if IsSeqID(key) {
		return key, []Action{ActionExport, ActionDelete, ActionCancel}
	}
	return key, []Action{ActionExport, ActionDelete}
}

// Key is the command's key.
func (c Command) Key() string { return Key(c.Action, c.ID) }

// Key is under which key CV_JOBS has the job. A cancel that waits for its command has the key of
// that command.
func (j Job) Key() string { return Key(j.Action, j.ID) }

// Key is the key of the event's command.
func (d EventData) Key() string { return Key(d.Action, d.CommandID) }
