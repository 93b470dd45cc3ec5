package report

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

const usualPicture = `{"id":"1","created":"2026-03-02T08:07:29.659868","width":1024,"height":768,"resizedImageUri":"https://blobs.test/a/b","tags":[{"tagId":"2","tagName":"bottle"},{"tagName":"can"}],` +
	`"regions":[{"regionId":"4","tagName":"bottle","left":0.1,"top":1E-07,"width":0.3,"height":0},{"tagName":null}],"metadata":{"site":"north","ü":"é"},"iteration":"i"}`

func oddPictures() []string {
	out := []string{
		usualPicture, `{}`, `[]`, `null`, ``, `{"width":"1","height":3}`, `{"tags":[{"tagName":7},{"tagName":"x"}],"created":"y"}`, `{"regions":[{"left":"1","top":2}]}`, `{"metadata":{"a":1,"b":null,"c":"d","e":[1]}}`, `{"created":"a\u00e9"}`, "{\"created\":\"\xff\"}",
		`{"predictions":[{"tagName":"x","probability":0.5,"boundingBox":{"left":1,"top":2,"width":3,"height":4}},{"boundingBox":null}]}`, `{"frame":{"left":1},"regions":[{"frame":{"left":1}}]}`, `{"regions":null,"tags":null,"metadata":null}`, `{"width":1.5}`,
	}
	for _, m := range []string{"created", "tags", "regions", "metadata", "tagName", "left"} {
		quoted := `"` + m + `":`
		out = append(out, strings.Replace(usualPicture, quoted, strings.ToUpper(quoted), 1), strings.Replace(usualPicture, quoted, quoted+`null,`+quoted, 1), strings.Replace(usualPicture, quoted, quoted+`{"x":1},"y":`, 1))
	}
	return out
}

// checkPicture compares what pages show of a record with what encoding/json makes of it.
func checkPicture(t *testing.T, record []byte) {
	t.Helper()
	var want picture
	_ = json.Unmarshal(record, &want)
	got := pictureOf(record)
	if len(want.Tags) == 0 && len(got.Tags) == 0 { // an empty list is shown as none
		got.Tags, want.Tags = nil, nil
	}
	if len(want.Regions) == 0 && len(got.Regions) == 0 {
		got.Regions, want.Regions = nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%.500q:\n%+v, want\n%+v", record, got, want)
	}
}

func TestPictures(t *testing.T) {
	for _, record := range oddPictures() {
		checkPicture(t, []byte(record))
	}
	if _, ok := plainPicture([]byte(usualPicture)); !ok {
		t.Error("the usual record is left to encoding/json")
	}
}

func FuzzPictures(f *testing.F) {
	for _, record := range oddPictures() {
		f.Add([]byte(record))
	}
	f.Fuzz(checkPicture)
}

// TestMarkup: what is written by hand is what the functions of templates give.
func TestMarkup(t *testing.T) {
	for _, v := range []float64{0, math.Copysign(0, -1), .0001, .001, .0009999, .00100001, .12345, .999999, 1, -1, 1e4, 1e5, 1e300, math.NaN(), math.Inf(1), math.Inf(-1)} {
		var b bytes.Buffer
		markup{&b}.percent(v)
		if want := string(show(percent(v))); b.String() != want {
			t.Errorf("%v is %s, want %s", v, &b, want)
		}
		b.Reset()
		markup{&b}.coordinate(v)
		if b.String() != coordinate(v) {
			t.Errorf("%v is %s, want %s", v, &b, coordinate(v))
		}
	}
	for c := range rune(0x180) {
		text := "a" + string(c) + "b"
		var b bytes.Buffer
		markup{&b}.text(text)
		if want := string(show(text)); b.String() != want {
			t.Errorf("%q is %s, want %s", text, &b, want)
		}
	}
	for _, text := range []string{"", "\xff", "https://h.example/x?sv=1&sig=2", `https:\u002f\u002fh/x?sv=1&sig=2`, "&amp;"} {
		var b bytes.Buffer
		markup{&b}.text(text)
		if want := string(show(text)); b.String() != want {
			t.Errorf("%q is %s, want %s", text, &b, want)
		}
	}
}

func BenchmarkPictureOf50Regions(b *testing.B) {
	region := `{"regionId":"e3049fbe-e509-4ceb-95c6-f6427b972543","tagName":"thing 17","created":"2020-11-06T16:53:19.1234567","tagId":"e3049fbe-e509-4ceb-95c6-f6427b972543","left":0.125,"top":0.33333,"width":0.25,"height":1}`
	record := []byte(`{"created":"2020","regions":[` + strings.Repeat(region+",", 49) + region + `]}`)
	p := &ProjectPages{ID: "p", site: &Site{}}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			pictureOf(record)
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			var r picture
			if err := json.Unmarshal(record, &r); err != nil {
				b.Fatal(err)
			}
		}
	})
	file := "images/x.jpg"
	b.Run("tile", func(b *testing.B) {
		var buf bytes.Buffer
		for b.Loop() {
			buf.Reset()
			t := p.tileOf("x", record, bagfile.Blob{File: &file})
			t.write(&buf)
		}
		b.ReportMetric(float64(buf.Len()), "bytes")
	})
}
