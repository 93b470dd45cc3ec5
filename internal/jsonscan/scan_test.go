package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// texts are JSON, and what comes close to it.
var texts = []string{
	``, ` `, `{}`, `[]`, ` { } `, "[\t\r\n ]", `""`, `"a"`, `"12345678"`, `"1234567\""`, `"\u00e9\/\\"`, `"\u00eg"`, `"\x"`, `"\`, `"\u12`, `"abc`, "\"\x1f\"", "\"\x7f\xff\x80\"",
	"\"1234567\x00\"", "\"\x00234567\"", `0`, `-0`, `-`, `00`, `01`, `1.`, `1.5`, `.5`, `1e`, `1e+`, `1E-07`, `-12.50e12`, `1x`, `tru`, `true`, `truex`, `false`, `fals,`, `null`, `nul`, `nulL`,
	`{"a":1}`, `{"a":1,}`, `{"a" : 1 , "b":[1,2,{"c":null}]}`, `{"a"}`, `{"a":}`, `{a:1}`, `{,}`, `{"a":1 "b":2}`, `[1,]`, `[,1]`, `[1 2]`, `[1}`, `{"a":1]`, `]`, `[1]]`, `{"a":1}{}`, "\ufeff{}",
	`[[[[]]]]`, `{"a":{"b":{"c":{}}}}`, `[true,false,null,"",0]`, `"` + strings.Repeat("0123456789", 20) + `"`, `"é` + strings.Repeat("ü", 20) + `"`,
}

// check compares Valid and Value with package encoding/json.
func check(t *testing.T, text []byte) {
	t.Helper()
	if got, want := Valid(text), json.Valid(text); got != want {
		t.Errorf("Valid(%.200q) is %v", text, got)
	}
	begin := Blanks(text, 0)
	if want := len(text) - len(bytes.TrimLeft(text, " \t\r\n")); begin != want {
		t.Errorf("Blanks(%.200q) is %d, not %d", text, begin, want)
	}
	end := Value(text, begin)
	d := json.NewDecoder(bytes.NewReader(text))
	var raw json.RawMessage
	err := d.Decode(&raw)
	var syntax *json.SyntaxError
	switch {
	case err == nil && (end != int(d.InputOffset()) || !bytes.Equal(raw, text[begin:max(begin, end)])):
		// A decoder takes "1x" for no value, since it looks at what follows a number.
		t.Errorf("Value(%.200q) is %d, not %d", text, end, d.InputOffset())
	case (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && end != Short:
		t.Errorf("Value(%.200q) is %d, and it is short", text, end)
	case errors.As(err, &syntax) && end == Short:
		t.Errorf("Value(%.200q) is short, and it is invalid: %v", text, err)
	}
}

func TestScan(t *testing.T) {
	for _, text := range texts {
		for cut := range len(text) + 1 {
			check(t, []byte(text[:cut]))
		}
		check(t, []byte(`[`+text+`]`))
		check(t, []byte(`{"name":`+text+"}"))
	}
	for _, n := range []int{9_999, 10_000, 10_001} {
		check(t, []byte(strings.Repeat("[", n)+strings.Repeat("]", n)))
		check(t, []byte(strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n)))
	}
	// Each byte at each place among eight.
	for c := range 256 {
		for at := range 9 {
			text := []byte(`"abcdefghi"`)
			text[1+at] = byte(c)
			check(t, text)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(check)
}
