package contract

import (
	"slices"
	"testing"
)

// A key leads back to what it was made of, and no two commands have the same.
func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		action  Action
		id, key string
		actions []Action
	}{
		{ActionExport, "req-1", "req-1", []Action{ActionExport, ActionDelete}},
		{ActionDelete, "req-1", "req-1", []Action{ActionExport, ActionDelete}},
		{ActionCancel, "req-1", "cancel.req-1", []Action{ActionCancel}},
		{ActionExport, "cancel", "cancel", []Action{ActionExport, ActionDelete}},
		{ActionCancel, "cancel", "cancel.cancel", []Action{ActionCancel}},
		{ActionExport, "seq-7", "seq-7", []Action{ActionExport, ActionDelete, ActionCancel}},
		{ActionCancel, "seq-7", "seq-7", []Action{ActionExport, ActionDelete, ActionCancel}},
	} {
		key := Key(tt.action, tt.id)
		id, actions := ParseKey(key)
		if key != tt.key || id != tt.id || !slices.Equal(actions, tt.actions) {
			t.Errorf("%s %s has the key %s, which is that of %s %v", tt.action, tt.id, key, id, actions)
		}
		if (Job{Action: tt.action, ID: tt.id}).Key() != key || (Command{Action: tt.action, ID: tt.id}).Key() != key || (EventData{Action: tt.action, CommandID: tt.id}).Key() != key ||
			(DeadLetter{Action: tt.action, ID: tt.id}).Key() != key {
			t.Errorf("job, command, event and dead letter of %s %s do not have the key %s", tt.action, tt.id, key)
		}
	}
	if key := (Job{ID: "req-1", Cancel: &Cancel{ID: "stop"}}).Key(); key != "req-1" {
		t.Errorf("a cancel that waits for req-1 has the key %s", key)
	}
}
