package cv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
)

// detected is an image with regions, as the service writes it.
func detected(regions int) string {
	var tags, boxes []string
	for i := range regions {
		id := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i))
		tags = append(tags, fmt.Sprintf(`{"tagId":"%s","tagName":"thing %d","created":"2020-11-06T16:53:%02dZ"}`, id, i, i%60))
		boxes = append(boxes, fmt.Sprintf(`{"regionId":"%s","tagName":"thing %d","created":"2020-11-06T16:53:19.1234567","tagId":"%s","left":0.%d,"top":1.0E-05,"width":0.25,"height":1}`, id, i, id, i))
	}
	return fmt.Sprintf(`{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","created":"2020-11-06T16:53:19","width":640,"height":480,"resizedImageUri":"https://h.example/i/x?sv=1&sig=abc%%3D",`+
		`"thumbnailUri":"https://h.example/t/x","originalImageUri":"https://h.example/o/x?sv=1","tags":[%s],"regions":[%s],"metadata":{"subject":"a","ü":"é"}}`, strings.Join(tags, ","), strings.Join(boxes, ","))
}

// oddImages are images that the service does not write so.
func oddImages() []string {
	image := detected(2)
	out := []string{
		image, detected(0), strings.ReplaceAll(image, `:`, " :\n "), image + " ", image + "x", " " + image, image[:len(image)-1], `{}`, `null`, `[]`, `{"id":null,"tags":null,"regions":null,"metadata":null,"created":null,"width":null}`,
		`{"tags":[],"regions":[],"metadata":{}}`, `{"tags":[null]}`, `{"tags":[{}],"x":{"id":1}}`, `{"metadata":{"a":null}}`, `{"metadata":{"a":"b","a":"c"}}`, `{"metadata":{"a":1}}`, `{"metadata":[]}`, `{"width":1.0}`,
		`{"width":"1"}`, `{"width":99999999999999999999}`, `{"width":1234567890}`, `{"width":-1}`, `{"id":"E3049FBEE5094CEB95C6F6427B972543"}`, `{"id":""}`, `{"id":17}`, `{"regions":[{"left":1e999}]}`, `{"regions":[{"left":"1"}]}`,
		`{"regions":[{"left":-0}]}`, `{"originalImageUri":["x"]}`, `{"originalImageUri":"a\/b"}`, "{\"originalImageUri\":\"\xff\"}", `{"tags":[1]}`, `{"tags":{}}`, `{"created":17}`, `{"created":"now"}`, `{"raw":"eA=="}`, `{"Raw":1,"-":2}`,
	}
	for _, m := range []string{"id", "tags", "regions", "metadata", "created", "tagName", "left"} {
		quoted := `"` + m + `":`
		out = append(out, strings.Replace(image, quoted, strings.ToUpper(quoted), 1), strings.Replace(image, quoted, `"\u00`+fmt.Sprintf("%02x", m[0])+m[1:]+`":`, 1),
			strings.Replace(image, quoted, `"x":0,`+quoted+`null,`+quoted, 1), strings.Replace(image, quoted, strings.ToUpper(quoted)+"null,"+quoted, 1), strings.Replace(image, quoted, quoted+`null,"x":`, 1))
	}
	return append(out, strings.Replace(image, `"metadata"`, `"ſ":1,"metadata"`, 1))
}

// checkImage compares what is made of an image with what package encoding/json makes of it.
func checkImage(t *testing.T, text []byte) {
	t.Helper()
	type lenient Image
	var want Image
	wantErr := decodeModel(text, (*lenient)(&want), &want.Raw, "tags", "metadata", "originalImageUri", "resizedImageUri")
	var got Image
	gotErr := got.UnmarshalJSON(text)
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("%.500q: error %v, want %v", text, gotErr, wantErr)
	}
	// With an error, or a member twice, members were decoded in any order; the latter makes an
	// answer unusable before.
	s := shape{text: text, left: 1 << 20}
	s.value(jsonscan.Blanks(text, 0), 1, false)
	if wantErr == nil && s.err == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%.500q:\n%+v, want\n%+v", text, got, want)
	}
}

func TestPlainImages(t *testing.T) {
	for _, text := range oddImages() {
		checkImage(t, []byte(text))
	}
	for _, usual := range []string{detected(2), imagePage(0, 1)[1:], strings.ReplaceAll(detected(2), `,`, " ,\r\n\t ")} {
		usual = strings.TrimSuffix(usual, "]")
		if !new(Image).decodePlain([]byte(usual)) {
			t.Errorf("not decoded as it stands: %s", usual)
		}
	}
	// What was there before stays, as with package encoding/json.
	i := Image{Tags: []ImageTag{{TagName: "x"}}}
	if err := json.Unmarshal([]byte(`{"tags":[{"tagId":"e3049fbe-e509-4ceb-95c6-f6427b972543"}]}`), &i); err != nil || i.Tags[0].TagName != "x" {
		t.Errorf("%+v %v", i, err)
	}
}

// checkBrief compares a brief listing of one image with a whole one.
func checkBrief(t *testing.T, image string) {
	t.Helper()
	read := func(q ImageQuery) ([]Image, error) {
		client, err := New("http://127.0.0.1:1", TrainingKey(testKey), Options{Transport: answers("[" + image + "]"), MaxAttempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		return client.GetImages(t.Context(), idP, q)
	}
	whole, wantErr := read(ImageQuery{})
	brief, err := read(ImageQuery{Keep: func(raw json.RawMessage) json.RawMessage { return bytes.Clone(raw) }})
	if fmt.Sprint(err) != fmt.Sprint(wantErr) && !strings.Contains(fmt.Sprint(wantErr), "of another type") { // members are judged in any order
		t.Fatalf("%.500q: error %v, want %v", image, err, wantErr)
	}
	for i := range whole {
		if i < len(brief) && brief[i].Regions == nil {
			whole[i].Regions = nil
		}
		if i < len(brief) && len(brief[i].Tags) > 0 && brief[i].Tags[0].TagName == "" {
			for n, tag := range whole[i].Tags {
				whole[i].Tags[n] = ImageTag{TagID: tag.TagID}
			}
		}
	}
	if !reflect.DeepEqual(brief, whole) {
		t.Errorf("%.500q:\n%+v, want\n%+v", image, brief, whole)
	}
}

// TestBriefImages: what is left out of a brief listing stands in Raw, and all else is there.
func TestBriefImages(t *testing.T) {
	for _, image := range append(oddImages(), `{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","id":1}`, `{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","tags":[{"tagId":"e3049fbe-e509-4ceb-95c6-f6427b972543"},7]}`,
		`{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","tags":[],"metadata":null,"regions":7}`, `{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","Metadata":{"a":"b"}}`) {
		checkBrief(t, image)
	}
	w := newWorld(t, status(200, "["+detected(2)+","+strings.Replace(detected(1), "e3049fbe", "f3049fbe", 1)+"]"))
	list, err := w.GetTaggedImages(t.Context(), idP, ImageQuery{Keep: func(raw json.RawMessage) json.RawMessage { return raw[:1:1] }})
	if err != nil || len(list) != 2 || list[0].Regions != nil || len(list[0].Tags) != 2 || list[0].Tags[1].TagName != "" || list[0].Tags[1].TagID == uuid.Nil || list[1].Metadata["ü"] != "é" || len(list[0].Raw) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func FuzzBriefImages(f *testing.F) {
	for _, image := range oddImages() {
		f.Add(image)
	}
	f.Fuzz(func(t *testing.T, image string) {
		if len(image) < 1<<14 {
			checkBrief(t, image)
		}
	})
}

func FuzzPlainImages(f *testing.F) {
	for _, text := range oddImages() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) < 1<<16 {
			checkImage(t, text)
		}
	})
}

func BenchmarkImageOf50Regions(b *testing.B) {
	text := []byte(detected(50))
	for _, way := range []struct {
		name string
		of   func() error
	}{
		{"scan", func() error {
			if !jsonscan.Valid(text) {
				b.Fatal("invalid")
			}
			return nil
		}},
		{"valid", func() error {
			if !json.Valid(text) {
				b.Fatal("invalid")
			}
			return nil
		}},
		{"shape", func() error {
			left := 1 << 20
			return checkShape(text, &left)
		}},
		{"decode", func() error { return new(Image).UnmarshalJSON(text) }},
		{"brief", func() error {
			var s shape
			s.begin(text, 1<<20)
			s.value(0, 1, false)
			if !new(briefImage).decodeBrief(s.members) {
				b.Fatal("not brief")
			}
			return nil
		}},
		{"json", func() error {
			type lenient Image
			return json.Unmarshal(text, new(lenient))
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := way.of(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
