package verify

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCheckMembers(t *testing.T) {
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	for _, tc := range []struct {
		name, in string
		own      bool
		want     string // part of the error; empty: none
	}{
		{"scalars", ` [1, -2.5e3, "a\"}b", true, null, {}, []] `, true, ""},
		{"a bare scalar", `"x"`, true, ""},
		{"names in several objects", `{"a":{"a":1},"b":[{"a":1},{"a":2}]}`, true, ""},
		{"twice", `{"a":1,"b":2,"a":3}`, true, `"a" is there twice`},
		{"twice, far apart, deep inside", `{"x":[{"y":{"a":1,"b":{"a":2},"c":3,"a":4}}]}`, false, `"a" is there twice`},
		{"twice, in another letter case", `{"id":1,"ID":2}`, false, "is there twice"},
		{"twice, with an escape", `{"id":1,"\u0069d":2}`, false, `"id" is there twice`},
		{"twice, by a long s", "{\"tags\":1,\"tag\u017f\":2}", false, "is there twice"},
		{"twice, by what is no UTF-8", "{\"\xff\":1,\"\xfe\":2}", false, "is there twice"},
		{"own in capitals", `{"Id":1}`, true, `"Id" is in another letter case`},
		{"the service's in capitals", `{"projectId":1}`, false, ""},
		{"in-toto's", `{"predicateType":1}`, true, ""},
		{"the customer's, in both letter cases", `{"metadata":{"a":1,"A":2},"b":{"metadata":[{"x":1,"X":2}]}}`, false, ""},
		{"the customer's in a file of the product's own", `{"image_metadata":[{"a":1,"A":2}]}`, true, ""},
		{"the customer's, twice", `{"metadata":{"a":1,"a":2}}`, false, `"a" is there twice`},
		{"as deep as may be", deep, true, ""},
		{"too deep", "[" + deep + "]", true, "nested too deeply"},
		{"too many values", "[" + strings.Repeat("1,", maxValues) + "1]", true, "more values than there is room for"},
		{"too many objects", "[" + strings.Repeat("{},", maxValues/9) + "{}]", true, "more values than there is room for"},
		{"nothing", "", true, "not valid JSON"},
		{"blanks", " \n", true, "not valid JSON"},
		{"something after it", `{"a":1} {"a":1}`, true, "not valid JSON"},
		{"no value", `{"a":}`, true, "not valid JSON"},
		{"no colon", `{"a" 1}`, true, "not valid JSON"},
		{"no name", `{1:2}`, true, "not valid JSON"},
		{"no comma", `[1 2]`, true, "not valid JSON"},
		{"a comma too many", `[1,]`, true, "not valid JSON"},
		{"another end", `{"a":[1}`, true, "not valid JSON"},
		{"no end of a list", `[[1],`, true, "not valid JSON"},
		{"no end of an object", `{"a":{"b":1}`, true, "not valid JSON"},
		{"no end of a text", `["a\"`, true, "not valid JSON"},
		{"no end of a name", `{"a`, true, "not valid JSON"},
		{"a word that is none", `[nul]`, true, "not valid JSON"},
		{"a name with a bad escape", `{"\x":1}`, true, "not valid JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := checkMembers([]byte(tc.in), tc.own)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// A line of records costs next to no garbage.
func TestCheckMembersAllocates(t *testing.T) {
	line := []byte(`{"image":{"id":"x","created":"2024-01-01T00:00:00Z","tags":[{"tagId":"y","tagName":"z"}],"metadata":{"a":"b"}},"file":"images/x.jpg","bytes":1}`)
	if n := testing.AllocsPerRun(100, func() {
		if err := checkMembers(line, false); err != nil {
			t.Fatal(err)
		}
	}); n > 8 {
		t.Errorf("%.0f allocations, at most 8 are wanted", n)
	}
}

// FuzzCheckValid: what passes is JSON.
func FuzzCheckValid(f *testing.F) {
	for _, text := range []string{`{"a":[1,{"b":null}],"c":"d\u00e9"}`, `{"a":1,}`, `[1,]`, `{}{}`, `[1 2]`, `{"a" "b"}`, "{}\x00", ` {} `, `01`, `-`, `[1.e3]`, "\"\x01\"", `"\x"`, `[]]`, `tru`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, own := range []bool{true, false} {
			if checkNoted(text, own, nil) == nil && !json.Valid(text) {
				t.Errorf("%q passes", text)
			}
		}
	})
}
