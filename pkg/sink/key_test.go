package sink_test

import (
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

var (
	project   = uuid.MustParse("11111111-2222-4333-8444-555555555555")
	iteration = uuid.MustParse("66666666-7777-4888-9999-aaaaaaaaaaaa")
	imageA    = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")
	imageB    = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000002")
)

func TestLayout(t *testing.T) {
	l, err := sink.NewLayout("exports/", "req-1")
	if err != nil {
		t.Fatal(err)
	}
	const p, i = "data/projects/11111111-2222-4333-8444-555555555555", "66666666-7777-4888-9999-aaaaaaaaaaaa"
	for name, tc := range map[string]struct{ got, want string }{
		"root":       {string(l.Root()), "exports/req-1/"},
		"export bag": {string(l.Bag(sink.ExportBag)), "exports/req-1/export/"},
		"delete bag": {string(l.Bag(sink.DeleteBag)), "exports/req-1/delete/"},
		"work":       {string(l.Work("units/7.jsonl")), "exports/req-1/.work/units/7.jsonl"},
		"key":        {string(l.Key(sink.ExportBag, sink.ReceiptFile)), "exports/req-1/export/receipt.json"},
		"project":    {string(sink.ProjectPath(project, "project.json")), p + "/project.json"},
		"image":      {string(sink.ImageStem(project, imageA)), p + "/images/" + imageA.String()},
		"prediction": {string(sink.PredictionStem(project, imageA)), p + "/predictions/" + imageA.String()},
		"iteration":  {string(sink.IterationPath(project, iteration, "tags.json")), p + "/iterations/" + i + "/tags.json"},
		"model":      {string(sink.ModelStem(project, iteration, "ONNX", "")), p + "/iterations/" + i + "/exports/ONNX"},
		"flavor":     {string(sink.ModelStem(project, iteration, "DockerFile", "Linux")), p + "/iterations/" + i + "/exports/DockerFile-Linux"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s is %s, want %s", name, tc.got, tc.want)
		}
	}
}

func TestLayoutRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ prefix, id string }{
		"no id":             {"", ""},
		"slash in id":       {"", "a/b"},
		"dots":              {"", ".."},
		"long id":           {"", strings.Repeat("a", 121)},
		"newline":           {"", "a\n"},
		"umlaut":            {"", "ä"},
		"leading slash":     {"/a/", "x"},
		"parent":            {"a/../", "x"},
		"dot":               {"./", "x"},
		"two slashes":       {"a//", "x"},
		"control character": {"a\x00/", "x"},
		"backslash":         {`a\`, "x"},
		"no UTF-8":          {"\xff", "x"},
		"long prefix":       {strings.Repeat("a", 513), "x"},
	} {
		if l, err := sink.NewLayout(tc.prefix, tc.id); err == nil {
			t.Errorf("%s: made %s", name, l.Root())
		}
	}
	for _, prefix := range []string{"", "a", "a-", "a/", "a/b", "données/"} {
		if _, err := sink.NewLayout(prefix, "x"); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("a", "b", "ONNX", "", "TensorFlow", "TensorFlowLite")
	f.Add("a", "a", "A-B", "", "A", "B")
	f.Add("x", "y", "../..", "a/b", "a", "b")
	f.Add("x", "y", "a b", "", "a_b", "")
	f.Add("x", "y", "TF", "é", "TF", "è")
	plain := regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)
	f.Fuzz(func(t *testing.T, id1, id2, platform1, flavor1, platform2, flavor2 string) {
		a, errA := sink.NewLayout("p/", id1)
		b, errB := sink.NewLayout("p/", id2)
		if errA == nil {
			inside(t, string(a.Bag(sink.ExportBag)), "p/")
			if strings.Count(string(a.Root()), "/") != 2 {
				t.Errorf("id %q spans folders: %s", id1, a.Root())
			}
			if errB == nil && id1 != id2 && strings.HasPrefix(string(a.Root()), string(b.Root())) {
				t.Errorf("%s is within %s", a.Root(), b.Root())
			}
		}
		m1, m2 := string(sink.ModelStem(project, iteration, platform1, flavor1)), string(sink.ModelStem(project, iteration, platform2, flavor2))
		folder := string(sink.IterationPath(project, iteration, "exports/"))
		for _, m := range []string{m1, m2} {
			inside(t, m, folder)
			if !plain.MatchString(m) || strings.Contains(strings.TrimPrefix(m, folder), "/") || len(m) > 400 {
				t.Errorf("model path %q", m)
			}
		}
		if (platform1 != platform2 || flavor1 != flavor2) && m1 == m2 {
			t.Errorf("%q-%q and %q-%q meet at %s", platform1, flavor1, platform2, flavor2, m1)
		}
	})
}

// inside fails when a path is not below a folder, or changes when it is cleaned.
func inside(t *testing.T, p, folder string) {
	t.Helper()
	if !strings.HasPrefix(p, folder) || strings.TrimSuffix(p, "/") != path.Clean(p) {
		t.Errorf("%q is not a plain path below %s", p, folder)
	}
}

func TestTextType(t *testing.T) {
	for name, tc := range map[string]struct{ head, kind string }{
		"nothing":            {"", "text/plain; charset=utf-8"},
		"a page":             {"\r\n\t <!doctype html><title>", "text/html; charset=utf-8"},
		"a page with a zero": {"<html>\x00", "text/html; charset=utf-8"},
		"XML":                {"<?xml version='1.0'?><Error>", "text/xml; charset=utf-8"},
		"XML after its mark": {"\ufeff<?xml version='1.0'?><Error>", "text/plain; charset=utf-8"},
		"two bytes a letter": {"\xff\xfe<\x00h\x00", "text/plain; charset=utf-16le"},
		"JSON":               {`{"error":null}`, "text/plain; charset=utf-8"},
		"a message":          {"zur\xfcck", "text/plain; charset=utf-8"},
		"like a bitmap":      {"BMW is a maker of cars and of motorcycles", "text/plain"},
		"like TensorFlow":    {"\nConst", "text/plain; charset=utf-8"},
		"jpeg":               {"\xff\xd8\xff\xe0JFIF", ""},
		"gif, cut":           {"GIF89a", ""},
		"zip":                {"PK\x03\x04labels.txt", ""},
		"onnx":               {"\x08\x03\x12\x0eOnnxMLTools", ""},
		"tensorflow":         {"\x0a\x20\x0a\x0bPlaceholder\x12\x0bPlaceholder", ""},
		"unknown binary":     {"\x7fELF\x02\x01", ""},
	} {
		if kind := sink.TextType([]byte(tc.head)); kind != tc.kind {
			t.Errorf("%s: %q", name, kind)
		}
	}
}

func TestExtension(t *testing.T) {
	for _, tc := range []struct {
		name, head, contentType, ext, media string
	}{
		{"jpeg", "\xff\xd8\xff\xe0....", "text/plain", "jpg", "image/jpeg"},
		{"png", "\x89PNG\r\n\x1a\n....", "", "png", "image/png"},
		{"gif", "GIF89a....", "", "gif", "image/gif"},
		{"webp", "RIFF....WEBPVP8 ", "", "webp", "image/webp"},
		{"wave, not webp", "RIFF....WAVEfmt ", "", "bin", "application/octet-stream"},
		{"bmp", "BM\x46\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00", "", "bmp", "image/bmp"},
		{"a text that begins with BM", "BMW is a maker of cars and of motorcycles", "", "bin", "application/octet-stream"},
		{"tiff", "II*\x00....", "", "tiff", "image/tiff"},
		{"tiff, the other order", "MM\x00*....", "", "tiff", "image/tiff"},
		{"zip", "PK\x03\x04....", "application/octet-stream", "zip", "application/zip"},
		{"onnx", "\x08\x03\x12\x0eOnnxMLTools", "", "onnx", "application/octet-stream"},
		{"core ml", "\x08\x01\x0a\x10....", "", "mlmodel", "application/octet-stream"},
		{"tensorflow", "\x0a\x20\x0a\x0bPlaceholder\x12\x0bPlaceholder", "", "pb", "application/octet-stream"},
		{"tensorflow lite", "\x1c\x00\x00\x00TFL3....", "", "tflite", "application/octet-stream"},
		{"phone", "\x00\x00\x00\x18ftypheic....", "", "heic", "image/heic"},
		{"unknown picture", "\x00???", "image/x-new; a=b", "bin", "image/x-new"},
		{"a page", "<html>", "text/html", "bin", "application/octet-stream"},
		{"a page that looks like TensorFlow", "\n <script>const Constant = 1 </script>", "", "bin", "application/octet-stream"},
		{"a text that calls itself a picture", "not found", "image/x-new", "bin", "application/octet-stream"},
		{"svg is a program", "<svg>", "image/svg+xml", "bin", "application/octet-stream"},
		{"empty", "", "", "bin", "application/octet-stream"},
		{"one byte", "\xff", "", "bin", "application/octet-stream"},
	} {
		if ext, media := sink.Extension([]byte(tc.head), tc.contentType); ext != tc.ext || media != tc.media {
			t.Errorf("%s: %s, %s", tc.name, ext, media)
		}
	}
}
