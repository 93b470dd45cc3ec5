package links_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/internal/links"
)

func TestCut(t *testing.T) {
	const s = "sv=2021-08-06&sr=b&sig=abc%3D"
	for name, c := range map[string]struct{ in, want string }{
		"link":                   {`{"originalImageUri":"https://h.example/i-1?sv=1&sig=abc%3D#f"}`, `{"originalImageUri":"https://h.example/i-1"}`},
		"relative":               {`{"thumbnailUri":"i-1/t-2?sig=x"}`, `{"thumbnailUri":"i-1/t-2"}`},
		"relative with fragment": {`{"thumbnailUri":"i-1/t-2#x"}`, `{"thumbnailUri":"i-1/t-2"}`},
		"no query":               {`{"downloadUri":"https://h.example/i-1","u":null}`, `{"downloadUri":"https://h.example/i-1","u":null}`},
		"other spellings":        {`{"imageUrl":"a?b","URL":"a?b","uri":"a?b","url":"a?b","someURI":"a?b"}`, `{"imageUrl":"a","URL":"a","uri":"a","url":"a","someURI":"a"}`},
		"names that only sound":  {`{"curl":"what?","kuri":"why?","Uris":"a?b","uri ":"a?b"}`, `{"curl":"what?","kuri":"why?","Uris":"a?b","uri ":"a?b"}`},
		"list of links":          {`{"someUri":["a?b",["c#d"],{"x":"e?f","yUri":"g?h"}]}`, `{"someUri":["a",["c"],{"x":"e?f","yUri":"g"}]}`},
		"metadata is the customer's": {
			`{"imageUri":"a?b","metadata":{"url":"https://shop.example/item?id=1","photoUri":"x?y","settings":"https://h?a=b","u":{"aUrl":"z?1"}}}`,
			`{"imageUri":"a","metadata":{"url":"https://shop.example/item?id=1","photoUri":"x?y","settings":"https://h?a=b","u":{"aUrl":"z?1"}}}`,
		},
		"a tag's name":              {`{"name":"a&sig=b","description":"?sv=1&sig=2 ; sv=1&sig=2"}`, `{"name":"a&sig=b","description":"?sv=1&sig=2 ; sv=1&sig=2"}`},
		"a link that is not signed": {`{"description":"https://h.example/x?sig=1","u":"https://h?sv=1","v":"https://h?asv=1&mysig=2"}`, `{"description":"https://h.example/x?sig=1","u":"https://h?sv=1","v":"https://h?asv=1&mysig=2"}`},
		"signed, under any name":    {`{"description":"https://h.example/x?` + s + `"}`, `{"description":"https://h.example/x"}`},
		"signed, in a longer text": {
			`{"d":"see https://h/x?` + s + ` and <HTTPS://H/y?SIG=1;SV=2> or https://shop/?id=1\nhttp://h?sv=1\u0026sig=2"}`,
			`{"d":"see https://h/x and <HTTPS://H/y> or https://shop/?id=1\nhttp://h"}`,
		},
		"signed, in metadata":       {`{"metadata":{"k":"x https://h/x?` + s + `\tz","https://h/?` + s + `":"v"}}`, `{"metadata":{"k":"x https://h/x\tz","https://h/":"v"}}`},
		"settings":                  {`{"settings":{"exportModelContainerUri":"https://h/c?a=b","x":{"y":[" https://h/q?z=1#f","is it?"]}}}`, `{"settings":{"exportModelContainerUri":"https://h/c","x":{"y":[" https://h/q","is it?"]}}}`},
		"escapes":                   {`{"aUri":"https:\/\/h\/\u00e9\u003fsig=\"1","b\u0055ri":"x?y","c":"\u0068ttps:\/\/h\u003Fsv=1\u0026sig\u003d2\u0022?"}`, `{"aUri":"https:\/\/h\/\u00e9","b\u0055ri":"x","c":"\u0068ttps:\/\/h\u0022?"}`},
		"metadata, escaped":         {`{"met\u0061data":{"aUri":"x?y"}}`, `{"met\u0061data":{"aUri":"x?y"}}`},
		"numbers and order":         {`{"z":1.1920929E-07,"a":[1.0,-0,1e400,12345678901234567890,0.10],"z":true}`, `{"z":1.1920929E-07,"a":[1.0,-0,1e400,12345678901234567890,0.10],"z":true}`},
		"text stays":                {`{"n":"a \u0041\/ \u2028 <&> é 😀 \\\" ?","m":""}`, `{"n":"a \u0041\/ \u2028 <&> é 😀 \\\" ?","m":""}`},
		"blanks":                    {"\r\n{ \"a\" : [ 1 ,\t{ } , [ ] , null ] ,\n\"bUri\" : \"x ? y\" }\r\n", `{"a":[1,{},[],null],"bUri":"x "}`},
		"bare link":                 {`"https://h?` + s + `"`, `"https://h"`},
		"bare things":               {` [ true , false , null , 0 ] `, `[true,false,null,0]`},
		"empty link":                {`{"aUri":"","bUri":"?x"}`, `{"aUri":"","bUri":""}`},
		"not UTF-8":                 {"{\"n\":\"\xff?\",\"aUri\":\"\xff?x\"}", "{\"n\":\"\xff?\",\"aUri\":\"\xff\"}"},
		"a link within a link":      {`{"u":"https://h/r?to=https://h2/x?` + s + `"}`, `{"u":"https://h/r"}`},
		"two schemes, one query":    {`{"u":"httphttps://h?` + s + `","v":"http:/h?` + s + `"}`, `{"u":"httphttps://h","v":"http:/h?` + s + `"}`},
		"behind a character of its": {`{"u":"(https://h/é?` + s + `)."}`, `{"u":"(https://h/é"}`},
	} {
		t.Run(name, func(t *testing.T) {
			in := []byte(c.in)
			got, err := links.Cut(in)
			if err != nil || string(got) != c.want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, c.want)
			}
			if string(in) != c.in {
				t.Error("the input was changed")
			}
			var whole bytes.Buffer // without insignificant blanks
			if err := json.Compact(&whole, in); err != nil {
				t.Fatal(err)
			}
			if at, err := links.Find(in); err != nil || (at >= 0) != (c.want != whole.String()) {
				t.Errorf("found at %d, %v", at, err)
			}
			if at, err := links.Find(got); at >= 0 || err != nil {
				t.Errorf("something is left at %d, %v", at, err)
			}
		})
	}
	for _, in := range []string{"", "{", `{"aUri":"x?y"`, `{"a":1}{"b":2}`, `{'a':1}`, "\"a\nb\"", strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)} {
		if got, err := links.Cut([]byte(in)); err == nil || got != nil {
			t.Errorf("%.20q: %s %v", in, got, err)
		}
		if at, err := links.Find([]byte(in)); err == nil || at >= 0 {
			t.Errorf("%.20q: %d %v", in, at, err)
		}
	}
}

func TestScanner(t *testing.T) {
	for text, want := range map[string]int64{
		"":                                            -1,
		"sig=3, design=4; the sv= of it":              -1,
		"a&sig=b&sv=c":                                -1,
		"https://shop.example/item?id=1":              -1,
		"https://h/x sv=1&sig=2":                      -1,
		"https://h/x?sv=1 &sig=2":                     -1,
		"see https://h/x?sv=1&sig=2":                  15,
		"HTTP://h?SIG=2;SV=1":                         8,
		`{"u":"https:\/\/h?sv=1\u0026sig\u003D2"}`:    17,
		`{"u":"https://h?sv=1","v":"&sig=2"}`:         -1,
		`<a href="https://h?a=b&amp;sv=1&amp;sig=c">`: 18,
		`\u00zzhttps://h?sv=1&sig=2\`:                 15,
	} {
		for _, piece := range []int{1, 3, 1 << 10} {
			var s links.Scanner
			for b := []byte(text); len(b) > 0; b = b[min(piece, len(b)):] {
				_, _ = s.Write(b[:min(piece, len(b))])
			}
			if s.At() != want || s.Found() != (want >= 0) || links.InText(text) != s.Found() {
				t.Errorf("%q in pieces of %d: at %d, want %d", text, piece, s.At(), want)
			}
		}
	}
}

// FuzzCut: what Cut gives is accepted by Find and by the Scanner, and what is not in a link of the
// service, nor signed, stays as it was.
func FuzzCut(f *testing.F) {
	f.Add([]byte(`{"aUri":["x?y",{"b":"https://h?sv=x&sig=y","url":"\u003f"}],"b":"\u0068TTP://h\/?sv=1\u0026sig=","c":1E5}`))
	f.Add([]byte(`{"metadata":{"url":"https://shop.example/item?id=1"},"name":"a&sig=b"}`))
	f.Add([]byte(`{"settings":{"x":"https://h?a"},"d":"1 https://h?sv=1&sig=2 https://i?sig=1&sv=2\thttps://h?sv=1"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := links.Cut(in)
		if (err == nil) != json.Valid(in) {
			t.Fatalf("valid %v, error %v", json.Valid(in), err)
		}
		if err != nil {
			return
		}
		if !json.Valid(out) || bytes.ContainsAny(out, "\n\r") {
			t.Fatalf("no single line of JSON: %q", out)
		}
		if at, err := links.Find(out); at >= 0 || err != nil {
			t.Fatalf("Cut gave %q and Find finds something at %d, %v", out, at, err)
		}
		var s links.Scanner
		if _, _ = s.Write(out); s.Found() {
			t.Fatalf("Cut gave %q and the scanner finds something at %d", out, s.At())
		}
		if twice, err := links.Cut(out); err != nil || !bytes.Equal(out, twice) {
			t.Fatalf("cutting twice differs: %q %q", out, twice)
		}
		if at, _ := links.Find(in); at < 0 {
			var whole bytes.Buffer
			if err := json.Compact(&whole, in); err != nil || !bytes.Equal(whole.Bytes(), out) {
				t.Fatalf("nothing was found in %q, and %q is something else", in, out)
			}
		}
	})
}

// FuzzScanner: a text is read as it would be character by character, however it is cut into pieces.
func FuzzScanner(f *testing.F) {
	const link = "https://h.example/x?sv=1&sig=2"
	for _, text := range []string{
		"", link, "see " + link + " there", strings.Repeat("a", 40) + link, "https:x" + link, strings.ReplaceAll(link, "/", `\/`), strings.Replace(link, ":", `\u003a`, 1), strings.Replace(link, "h", `\u0068`, 1), "http:/ /h?sv=1&sig=2", `http:\n//h?sv=1&sig=2`, "a:b:c://https://" + link,
		strings.Repeat("12345678", 5) + ":" + strings.Repeat("12345678", 5) + `\\` + link, `\` + link, `\u00` + link, "::::" + link, "HTTP://h?SV=1&SIG=2", "http:é//h?sv=1&sig=2",
	} {
		f.Add(text, 3)
		f.Add(text, 100)
	}
	f.Fuzz(func(t *testing.T, text string, piece int) {
		var want links.Scanner
		for i := range len(text) {
			_, _ = want.Write([]byte(text[i : i+1])) // a piece of one byte leaves nothing to skip
		}
		var got links.Scanner
		for rest := text; rest != ""; {
			n := min(max(piece, 1), len(rest))
			_, _ = got.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if got.At() != want.At() {
			t.Errorf("%q in pieces of %d: at %d, want %d", text, piece, got.At(), want.At())
		}
	})
}
