package cv

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestStripQueries(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"link":                    {`{"originalImageUri":"https://h.example/i-1?sv=1&sig=abc%3D#f"}`, `{"originalImageUri":"https://h.example/i-1"}`},
		"relative":                {`{"thumbnailUri":"i-1/t-2?sig=x"}`, `{"thumbnailUri":"i-1/t-2"}`},
		"relative with fragment":  {`{"thumbnailUri":"i-1/t-2#x"}`, `{"thumbnailUri":"i-1/t-2"}`},
		"no query":                {`{"downloadUri":"https://h.example/i-1","u":null}`, `{"downloadUri":"https://h.example/i-1","u":null}`},
		"other spellings":         {`{"imageUrl":"a?b","URL":"a?b","uri":"a?b","url":"a?b","someURI":"a?b"}`, `{"imageUrl":"a","URL":"a","uri":"a","url":"a","someURI":"a"}`},
		"names that only sound":   {`{"curl":"what?","kuri":"why?","Uris":"a?b","uri ":"a?b"}`, `{"curl":"what?","kuri":"why?","Uris":"a?b","uri ":"a?b"}`},
		"list of links":           {`{"someUri":["a?b",["c#d"],{"x":"e?f","yUri":"g?h"}]}`, `{"someUri":["a",["c"],{"x":"e?f","yUri":"g"}]}`},
		"link under another name": {`{"description":"https://h.example/x?sig=1","token":"HTTP://h?sig=1","blank":" https://h?sig=1"}`, `{"description":"https://h.example/x","token":"HTTP://h","blank":" https://h"}`},
		"no query in free text":   {`{"d":"https://h.example/#a?b","e":"see https://h?x=1","f":"is it? https://h","g":"httpx://h?x","h":"https:/h?x"}`, `{"d":"https://h.example/#a?b","e":"see https://h?x=1","f":"is it? https://h","g":"httpx://h?x","h":"https:/h?x"}`},
		"escapes":                 {`{"aUri":"https:\/\/h\/\u00e9\u003fsig=\"1","b\u0055ri":"x?y","c":"\u0068ttps://h\u003Fsig"}`, `{"aUri":"https:\/\/h\/\u00e9","b\u0055ri":"x","c":"\u0068ttps://h"}`},
		"names are not values":    {`{"https://h?sig=1":"https://h?sig=1"}`, `{"https://h?sig=1":"https://h"}`},
		"numbers and order":       {`{"z":1.1920929E-07,"a":[1.0,-0,1e400,12345678901234567890,0.10],"z":true}`, `{"z":1.1920929E-07,"a":[1.0,-0,1e400,12345678901234567890,0.10],"z":true}`},
		"text stays":              {`{"n":"a \u0041\/ \u2028 <&> é 😀 \\\" ?","m":""}`, `{"n":"a \u0041\/ \u2028 <&> é 😀 \\\" ?","m":""}`},
		"blanks":                  {"\r\n{ \"a\" : [ 1 ,\t{ } , [ ] , null ] ,\n\"bUri\" : \"x ? y\" }\r\n", `{"a":[1,{},[],null],"bUri":"x "}`},
		"bare link":               {`"https://h?sig=1"`, `"https://h"`},
		"bare things":             {` [ true , false , null , 0 ] `, `[true,false,null,0]`},
		"empty link":              {`{"aUri":"","bUri":"?x"}`, `{"aUri":"","bUri":""}`},
		"not UTF-8":               {"{\"n\":\"\xff?\",\"aUri\":\"\xff?x\"}", "{\"n\":\"\xff?\",\"aUri\":\"\xff\"}"},
	} {
		t.Run(name, func(t *testing.T) {
			in := []byte(c.in)
			got, err := StripQueries(in)
			if err != nil || string(got) != c.want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, c.want)
			}
			if string(in) != c.in {
				t.Error("the input was changed")
			}
		})
	}
	for _, in := range []string{"", "{", `{"aUri":"x?y"`, `{"a":1}{"b":2}`, `{'a':1}`, "\"a\nb\"", strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)} {
		if got, err := StripQueries([]byte(in)); err == nil || got != nil {
			t.Errorf("%.20q: %s %v", in, got, err)
		}
	}
}

func TestStripQueriesOfAPage(t *testing.T) {
	page := []byte(imagePage(0, MaxPage))
	got, err := StripQueries(page)
	if err != nil || bytes.Contains(got, []byte("sig=")) || bytes.ContainsAny(got, "?\n") {
		t.Fatal(err)
	}
	var images []Image
	if err := json.Unmarshal(got, &images); err != nil || len(images) != MaxPage {
		t.Fatal(err)
	}
}

// FuzzStripQueries holds the result against a slow reading of the same rule, token by token.
func FuzzStripQueries(f *testing.F) {
	f.Add([]byte(imagePage(0, 2)))
	f.Add([]byte(testProject))
	f.Add([]byte(testToken))
	f.Add([]byte(`{"aUri":["x?y",{"b":"https://h?x","url":"\u003f"}],"b":"\u0068TTP://h\/?","c":1E5}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := StripQueries(in)
		if (err == nil) != json.Valid(in) {
			t.Fatalf("valid %v, error %v", json.Valid(in), err)
		}
		if err != nil {
			return
		}
		if !json.Valid(out) || bytes.ContainsAny(out, "\n\r") {
			t.Fatalf("no single line of JSON: %q", out)
		}
		twice, err := StripQueries(out)
		if err != nil || !bytes.Equal(out, twice) {
			t.Fatalf("stripping twice differs: %q %q", out, twice)
		}
		want, got := stripSlowly(t, in), tokensOf(t, out)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	})
}

func tokensOf(t *testing.T, in []byte) []json.Token {
	t.Helper()
	var tokens []json.Token
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err == io.EOF {
			return tokens
		}
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
}

func stripSlowly(t *testing.T, in []byte) []json.Token {
	t.Helper()
	type level struct {
		object, uri, key bool // key: the next string is a name
	}
	stack := []level{{}}
	tokens := tokensOf(t, in)
	for i, token := range tokens {
		top := &stack[len(stack)-1]
		switch v := token.(type) {
		case json.Delim:
			switch v {
			case '{':
				stack = append(stack, level{object: true, key: true})
			case '[':
				stack = append(stack, level{uri: top.uri})
			default:
				stack = stack[:len(stack)-1]
				top = &stack[len(stack)-1]
				top.key = top.object
			}
			continue
		case string:
			if top.key {
				top.key = false
				top.uri = v == "uri" || v == "url"
				for _, s := range []string{"Uri", "Url", "URI", "URL"} {
					top.uri = top.uri || strings.HasSuffix(v, s)
				}
				continue
			}
			trimmed := strings.ToLower(strings.TrimLeft(v, " \t\r\n"))
			switch {
			case top.uri:
				tokens[i], _, _ = strings.Cut(v, "#")
				tokens[i], _, _ = strings.Cut(tokens[i].(string), "?")
			case strings.HasPrefix(trimmed, "http://"), strings.HasPrefix(trimmed, "https://"):
				if before, _, ok := strings.Cut(v, "?"); ok && !strings.Contains(before, "#") {
					tokens[i] = before
				}
			}
		}
		top.key = top.object
	}
	return tokens
}

// TestStripQueriesAgreesWithURLs: what net/url takes for an absolute http or https URI with a query
// loses it.
func TestStripQueriesAgreesWithURLs(t *testing.T) {
	for _, s := range []string{"https://h/x?a=b", "HTTPS://h?a", "http://[::1]:80/?a#b", "https://h/a b?c d", "https://h/%20?%zz"} {
		u, err := url.Parse(s)
		if err != nil || !u.IsAbs() || u.RawQuery == "" {
			t.Fatal(s, err)
		}
		in, _ := json.Marshal(map[string]string{"x": s})
		out, err := StripQueries(in)
		if err != nil || strings.Contains(string(out), "?") {
			t.Errorf("%s: %s %v", s, out, err)
		}
	}
}

func TestLenientModels(t *testing.T) {
	const odd = `{"id":"8A32EA60-1C53-43C3-8113-D0B1F470FBDB","created":17,"name":["x"],"settings":{"domainId":""},"lastModified":"yesterday","status":null,"extra":{"a":1}}`
	w := newWorld(t, status(200, odd))
	p, err := w.GetProject(t.Context(), idP)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != idP || p.Name != "" || !p.Created.IsZero() || string(p.Raw) != odd {
		t.Errorf("%+v", p)
	}
	// Names in another case, as older versions of the service write them.
	w = newWorld(t, status(200, "\ufeff"+`[{"Id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","Name":"Iteration 2","Status":"New","DomainId":null}]`))
	its, err := w.GetIterations(t.Context(), idP)
	if err != nil || len(its) != 1 || its[0].ID != idI || its[0].Name != "Iteration 2" || its[0].DomainID != uuid.Nil {
		t.Errorf("%+v %v", its, err)
	}
}
