package cvtest

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Damage makes of a JSON answer one that says less, or nothing: some value in it is null, missing,
// doubled, huge, negative, of another type, no text or deep, or the answer does not end as it
// should. choose gives a number below n, and decides all. No list gets shorter: an answer that lies
// and is well-formed is not what Damage makes. What is no JSON stays as it is.
func Damage(body []byte, choose func(n int) int) []byte {
	values := valuesOf(body)
	if len(values) == 0 {
		return body
	}
	v := values[choose(len(values))]
	old := body[v.from:v.to]
	if v.name >= 0 && choose(4) == 0 {
		return damageMember(body, v, choose(3))
	}
	switch choose(8) {
	case 0:
		return splice(body, v.from, v.to, "null")
	case 1:
		if v.element {
			return splice(body, v.from, v.from, string(old)+",")
		}
		return splice(body, v.from, v.to, "null")
	case 2:
		return splice(body, v.from, v.to, huge(old, choose(3)))
	case 3:
		return splice(body, v.from, v.to, [...]string{"-1", "-9223372036854775809"}[choose(2)])
	case 4:
		return splice(body, v.from, v.to, otherType(old, choose(5)))
	case 5:
		return splice(body, v.from, v.to, "\"\xff\"")
	case 6:
		return splice(body, v.from, v.to, strings.Repeat("[", 1000)+strings.Repeat("]", 1000))
	default:
		return [...][]byte{body[:len(body)/2], append(bytes.Clone(body), body...), append(bytes.Clone(body), "]x"...), append(bytes.Clone(body), 0)}[choose(4)]
	}
}

// damageMember leaves a member out, or gives it twice.
func damageMember(body []byte, v valueAt, how int) []byte {
	name, _, _ := strings.Cut(string(body[v.name+1:v.from]), `"`)
	name = `"` + name + `"`
	switch how {
	case 0: // before the value is its name, behind it perhaps a comma
		rest := bytes.TrimLeft(body[v.to:], " \t\r\n")
		before := bytes.TrimRight(body[:v.name], " \t\r\n")
		if bytes.HasPrefix(rest, []byte(",")) {
			return append(bytes.Clone(before), rest[1:]...)
		}
		return append(bytes.Clone(bytes.TrimSuffix(before, []byte(","))), rest...)
	case 1:
		return splice(body, v.name, v.name, name+":null,")
	default:
		return splice(body, v.name, v.name, strings.ToUpper(name)+":null,")
	}
}

// huge is a value of the same type that is larger than any of the service's.
func huge(old []byte, how int) string {
	switch {
	case old[0] == '[' && len(old) > 2:
		elements := string(old[1 : len(old)-1])
		return "[" + strings.Repeat(elements+",", 300) + elements + "]"
	case old[0] == '"':
		return `"` + strings.Repeat("a", [...]int{80 << 10, 80 << 10, 5 << 20}[how]) + `"`
	case old[0] == '{':
		return `{"x":[` + strings.Repeat("{},", 100_000) + `{}]}`
	}
	return [...]string{"200000000", "9223372036854775808", "1e400"}[how]
}

// otherType is a value of another type.
func otherType(old []byte, how int) string {
	others := [...]string{"{}", "[]", `""`, "7", "true"}
	for ; ; how++ {
		other := others[how%len(others)]
		number := other == "7" && (old[0] == '-' || old[0] >= '0' && old[0] <= '9')
		if other[0] != old[0] && !number && (other != "true" || old[0] != 'f') {
			return other
		}
	}
}

func splice(body []byte, from, to int, with string) []byte {
	return bytes.Join([][]byte{body[:from], []byte(with), body[to:]}, nil)
}

// valueAt is where a JSON value stands.
type valueAt struct {
	from, to int
	name     int  // where its name begins; -1 if it is no member
	element  bool // of a list
}

// valuesOf is where all values of a JSON text stand, the whole one last; none if it is no JSON.
func valuesOf(body []byte) (values []valueAt) {
	if !json.Valid(body) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	next := func() int { // where the next token begins
		at := int(d.InputOffset())
		return at + len(body[at:]) - len(bytes.TrimLeft(body[at:], " \t\r\n,:"))
	}
	var read func(name int, element bool)
	read = func(name int, element bool) {
		v := valueAt{from: next(), name: name, element: element}
		token, _ := d.Token()
		delim, composed := token.(json.Delim)
		for composed && d.More() {
			if delim == '[' {
				read(-1, true)
				continue
			}
			name := next()
			_, _ = d.Token()
			read(name, false)
		}
		if composed {
			_, _ = d.Token()
		}
		v.to = int(d.InputOffset())
		values = append(values, v)
	}
	read(-1, false)
	return values
}
