package bag_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// The wire may not know the files of bags, nor these the wire: so the scope of a command has a type
// in each. Whatever the one writes the other reads, but for what only the door judges.
func TestScopesAreTheSame(t *testing.T) {
	id, at := uuid.MustParse("a2e7570a-5d0e-4e96-ba6d-125f56a98544"), time.Date(2026, time.November, 24, 9, 30, 0, 0, time.UTC)
	written := contract.Scope{
		Resource: "default", AllProjects: true, ProjectIDs: []uuid.UUID{id}, IterationIDs: []uuid.UUID{id}, TagIDs: []uuid.UUID{id}, ImageIDs: []uuid.UUID{id},
		ImageMetadata: []map[string]string{{"subject": contract.Redacted}}, Categories: []contract.Category{contract.CategoryImages}, Reference: "case 17",
		NotAfter: &at, RetainUntil: &at, DryRun: true, ApprovedPlan: "sha", ExportFirst: true, ExportRetainUntil: &at, Unpublish: true,
		Expect: &contract.Expect{ProjectName: "p"}, ID: "other",
	}
	full(t, written)
	atTheDoor := map[string]bool{"not_after": true, "expect": true, "id": true} // judged before there is a bag

	raw, err := contract.Marshal(written)
	must(t, err)
	var read bagfile.Scope
	must(t, json.Unmarshal(raw, &read))
	full(t, read)
	again, err := contract.Marshal(read)
	must(t, err)
	wire, bag := members(t, raw), members(t, again)
	for name, value := range wire {
		if got, ok := bag[name]; ok == atTheDoor[name] || ok && string(got) != string(value) {
			t.Errorf("%s: a command has %s, the bag %s", name, value, got)
		}
		delete(bag, name)
	}
	if len(bag) > 0 {
		t.Errorf("no command has %v", bag)
	}
}

// full fails unless every field of a struct is set: so none can be added and forgotten here.
func full(t *testing.T, v any) {
	t.Helper()
	s := reflect.ValueOf(v)
	for i := range s.NumField() {
		if s.Field(i).IsZero() {
			t.Fatalf("%s.%s is empty", s.Type(), s.Type().Field(i).Name)
		}
	}
}

// members is the members of a JSON object.
func members(t *testing.T, raw []byte) (m map[string]json.RawMessage) {
	t.Helper()
	must(t, json.Unmarshal(raw, &m))
	return m
}
