package cv

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	for text, want := range map[string]string{
		`"2020-11-06T16:53:19.783624"`:   "2020-11-06T16:53:19.783624Z",
		`"2020-11-06T16:53:19.8773776"`:  "2020-11-06T16:53:19.8773776Z",
		`"2020-11-06T16:53:19.1"`:        "2020-11-06T16:53:19.1Z",
		`"2020-11-06T16:53:19"`:          "2020-11-06T16:53:19Z",
		`"2020-11-06T16:53:14.14Z"`:      "2020-11-06T16:53:14.14Z",
		`"2020-11-06T16:53:14Z"`:         "2020-11-06T16:53:14Z",
		`"2020-11-06T18:53:14.5+02:00"`:  "2020-11-06T16:53:14.5Z",
		`"2020\u002d11-06T16:53:14Z"`:    "2020-11-06T16:53:14Z",
		`"0001-01-01T00:00:00"`:          "",
		`null`:                           "",
		`""`:                             "",
		`"yesterday"`:                    "",
		`"2020-13-06T16:53:19"`:          "",
		`17`:                             "",
		`{"a":"2020-11-06T16:53:14Z"}`:   "",
		`"2020-11-06T16:53:19.8773776 "`: "",
		`"2020-11-06 16:53:19"`:          "",
	} {
		t.Run(text, func(t *testing.T) {
			v := Time{testStart}
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				t.Fatal(err)
			}
			out, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if want == "" {
				if !v.IsZero() || string(out) != "null" {
					t.Errorf("%v, %s", v, out)
				}
				return
			}
			if got := v.Format(time.RFC3339Nano); got != want || string(out) != `"`+want+`"` || v.Location() != time.UTC {
				t.Errorf("%v, %s", got, out)
			}
		})
	}
	var model struct{ Created, Absent Time }
	if err := json.Unmarshal([]byte(`{"created":null}`), &model); err != nil || !model.Created.IsZero() || !model.Absent.IsZero() {
		t.Error(model, err)
	}
}

// FuzzTime: any text gives a time in UTC or none, the same with and without Z, and one that was
// read is written so that it is read again.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"", "2020-11-06T16:53:19.783624", "2020-11-06T16:53:14.14Z", "2020-11-06T16:53:19.", "2020-11-06T16:53:19,5", "0001-01-01T00:00:00", "9999-12-31T23:59:59.9999999", "2020-02-30T00:00:00Z", "2020-11-06T24:00:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := json.Marshal(s)
		if err != nil {
			return
		}
		var v Time
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if v.Location() != time.UTC {
			t.Errorf("%q is not UTC", s)
		}
		if v.IsZero() {
			return
		}
		if !strings.ContainsAny(s, "Z+") && strings.Count(s, "-") == 2 {
			var zoned Time
			if err := json.Unmarshal([]byte(strings.TrimSuffix(string(text), `"`)+`Z"`), &zoned); err != nil || !zoned.Equal(v.Time) && !zoned.IsZero() {
				t.Errorf("%q is %v, with Z %v (%v)", s, v, zoned, err)
			}
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var again Time
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatal(err)
		}
		if !again.Equal(v.Time) && v.Year() > 0 && v.Year() < 10000 {
			t.Errorf("%q: %v was written as %s and read as %v", s, v, out, again)
		}
	})
}

// FuzzPlainTime: times in the service's own shapes are read, and are what parsing by layout makes
// of them.
func FuzzPlainTime(f *testing.F) {
	for _, s := range []string{"2020-11-06T16:53:19.783624", "2020-11-06T16:53:19", "2020-11-06T16:53:14.14Z"} {
		if _, ok := plainTime(s); !ok {
			f.Errorf("%q is left to parsing by layout", s)
		}
	}
	for _, s := range []string{
		"2020-11-06T16:53:19.783624", "2020-11-06T16:53:14.14Z", "2020-11-06T16:53:19.", "2020-11-06T16:53:19,5", "0000-01-01T00:00:00", "9999-12-31T23:59:59.9999999", "2020-02-30T00:00:00Z", "2020-02-29T00:00:00", "2019-02-29T00:00:00",
		"2020-11-06T24:00:00", "2020-11-06T23:60:00", "2020-11-06T23:00:60", "2020-00-06T00:00:00", "2020-11-00T00:00:00", "2020-11-06T16:53:19.1234567890", "2020-11-06T16:53:19.123456789Z", "2020-11-06T16:53:19.1x", "2020-11-06T16:53:19.Z", "2020-11-06T16:53:19Z0", "2020-11-06T16:53:19ZZ",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := plainTime(s)
		if !ok {
			return
		}
		want, err := time.Parse(time.RFC3339, s)
		if err != nil {
			want, err = time.Parse(zoneless, s)
		}
		if err != nil || !want.UTC().Equal(got.Time) || got.Location() != time.UTC {
			t.Errorf("%q is %v, want %v %v", s, got, want, err)
		}
	})
}
