package dataset_test

import (
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"github.com/cvconsumer/cvconsumer/pkg/sink/dataset"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

const prefix = "azureml://subscriptions/s/datastores/d/paths/p/"

// all asks for everything.
func all() dataset.Options {
	return dataset.Options{Formats: dataset.Formats(), Pictures: dataset.PicturesCopy, ImageURL: prefix}
}

// same compares what was seen with what is wanted.
func same(t *testing.T, what string, got, want seen) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\ngot  %v\nwant %v", what, got, want)
	}
}

// TestDetection converts a project of boxes: some are partly or wholly outside, pictures are
// turned, untagged, of other formats, or not there.
func TestDetection(t *testing.T) {
	b := bag{}
	p := newProject(b, 1, "", "Harbor", object{"name": "boat"}, object{"name": "boat"}, object{"name": "none", "type": "Negative"}, object{"name": ""})
	plain := p.add("png", picture("png", 200, 100), false, []int{0, 1}, [5]float64{0, 0.1, 0.2, 0.3, 0.4}, [5]float64{1, 0.5, 0.5, 0.5, 0.5})
	edge := p.add("bmp", picture("bmp", 100, 100), false, []int{0}, [5]float64{0, -0.1, 0.5, 0.2, 0.7}, [5]float64{0, 1.2, 0, 0.1, 0.1}, [5]float64{0, 0.5, 0.5, 0.50000001, 0.5})
	turned6 := p.add("jpg", turned(80, 40, 6), false, []int{0}, [5]float64{0, 0.25, 0.5, 0.5, 0.25})
	turned3 := p.add("jpg", turned(80, 40, 3), false, []int{3}, [5]float64{3, 0, 0, 1, 1})
	background := p.add("png", picture("png", 20, 20), false, []int{2})
	movie := p.add("gif", picture("gif", 20, 20), false, []int{0}, [5]float64{0, 0, 0, 1, 1})
	tiny := p.add("png", picture("png", 9, 20), false, []int{0}, [5]float64{0, 0, 0, 1, 1})
	p.add("png", picture("png", 20, 20), false, nil)
	p.add("png", nil, false, []int{0}, [5]float64{0, 0, 0, 1, 1})
	p.add("bin", []byte("no picture"), false, []int{0}, [5]float64{0, 0, 0, 1, 1})
	old := p.add("png", picture("png", 20, 20), true, []int{90}, [5]float64{90, 0, 0, 0.5, 0.5})
	p.finish()

	dir, report := convert(t, b, all())
	in := filepath.Join(dir, p.id)
	want := seen{
		plain + ".png":      {"boat 20.0 20.0 60.0 40.0", "boat (b0000000) 100.0 50.0 100.0 50.0"},
		edge + ".bmp":       {"boat 0.0 50.0 10.0 50.0", "boat 50.0 50.0 50.0 50.0"},
		turned6 + ".jpg":    {"boat 10.0 40.0 20.0 20.0"},
		turned3 + ".jpg":    {"tag (b0000000) 0.0 0.0 80.0 40.0"},
		background + ".png": {},
		movie + ".gif":      {"boat 0.0 0.0 20.0 20.0"},
		tiny + ".png":       {"boat 0.0 0.0 9.0 20.0"},
	}
	same(t, "coco", readCOCO(t, filepath.Join(in, "coco", "instances_train.json"), filepath.Join(in, "images"), true), want)
	delete(want, movie+".gif")
	same(t, "azureml", readAzureML(t, filepath.Join(in, "azureml", "training-mltable-folder"), prefix+p.id+"/images/"), want)
	delete(want, tiny+".png")
	same(t, "yolo", readYOLO(t, filepath.Join(in, "yolo"), "train"), want)

	r := report.Projects[0]
	if r.Kind != dataset.Detection || r.Cut != 1 || r.Dropped != 1 || r.Rotated != 1 || !maps.Equal(r.LeftOut, map[string]int{
		"no tag": 1, "no picture in the bundle": 1, "no picture that can be measured": 1, "only in iterations": 1,
	}) {
		t.Errorf("%+v", r)
	}
	if y := r.Formats[2]; y.Train != (dataset.Counts{Images: 5, Labels: 6}) || len(y.LeftOut) != 2 {
		t.Errorf("%+v", y)
	}

	o := all()
	o.Iterations, o.Untagged = true, true
	dir, report = convert(t, b, o)
	got := readYOLO(t, filepath.Join(dir, p.id, "yolo"), "train")
	if len(got) != 7 || !slices.Equal(got[old+".png"], []string{"old 0.0 0.0 10.0 10.0"}) || report.Projects[0].LeftOut["only in iterations"] != 0 {
		t.Errorf("with iterations: %v, %+v", got, report.Projects[0])
	}
}

// TestMulticlass converts a project of one tag an image. Names of tags become folders, whatever
// they are.
func TestMulticlass(t *testing.T) {
	b := bag{}
	names := []string{"sun", "../../etc", "Sun", "CON aux: \x1b[2J\u202e\"#", strings.Repeat("名", 100), "-rf", ""}
	var tags []object
	for _, name := range names {
		tags = append(tags, object{"name": name})
	}
	p := newProject(b, 1, "Multiclass", "<script>", append(tags, object{"name": "nothing", "type": "Negative"}, object{"name": "unused"})...)
	want := seen{}
	for class, name := range append(names[:6:6], "tag (b0000000)", "nothing") {
		image := p.add("jpg", picture("jpg", 20, 30), false, []int{class})
		want[image+".jpg"] = []string{name}
	}
	p.add("jpg", picture("jpg", 20, 30), false, nil)
	p.add("jpg", picture("jpg", 20, 30), false, []int{0, 1})
	p.finish()

	dir, report := convert(t, b, all())
	in := filepath.Join(dir, p.id)
	same(t, "coco", readCOCO(t, filepath.Join(in, "coco", "labels_train.json"), filepath.Join(in, "images"), false), want)
	same(t, "azureml", readAzureML(t, filepath.Join(in, "azureml", "training-mltable-folder"), prefix+p.id+"/images/"), want)
	got, classes := readFolders(t, filepath.Join(in, "yolo"), "train")
	if len(got) != 8 || len(classes) != 8 || !slices.Contains(classes, "sun") || !slices.Contains(classes, "nothing") {
		t.Errorf("yolo: %q, %v", classes, got)
	}
	r := report.Projects[0]
	lower := map[string]bool{} // on some file systems these would be one folder
	for class, name := range append(names[:6:6], "tag (b0000000)", "nothing") {
		folder := r.Formats[2].Folders[id('b', class)]
		if lower[strings.ToLower(folder)] {
			t.Errorf("two folders are %s", folder)
		}
		lower[strings.ToLower(folder)] = true
		if r.Classes[class].Name != name || !slices.Contains(classes, folder) || strings.ContainsAny(folder, "/. \x1b") || len(folder) > 64 {
			t.Errorf("class %d is %+v, in %q", class, r.Classes[class], folder)
		}
	}
	if !maps.Equal(r.LeftOut, map[string]int{"no tag": 1, "several tags, where the project has one for each image": 1}) {
		t.Errorf("%+v", r.LeftOut)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 2 { // the project, and conversion.json
		t.Errorf("%v, %v", found, err)
	}
}

// TestFolders gives each class a folder of its own, on every file system: names that Windows keeps
// for itself, that differ in letter case or in how a letter is written, and that look like what
// another class gets.
func TestFolders(t *testing.T) {
	b := bag{}
	of := func(n, size int) string { return id('b', n)[:size] }
	names := []string{"con", "Lpt1", "sun", "\u017fun", "\uac00", "\u1100\u1161", "x_-" + of(7, 13), "x.", "boat (" + of(9, 8) + ")", "boat (" + id('b', 11) + ")", "boat", "boat"}
	var tags []object
	for _, name := range names {
		tags = append(tags, object{"name": name})
	}
	p := newProject(b, 1, "Multiclass", "", tags...)
	for class := range names {
		p.add("jpg", picture("jpg", 20, 30), false, []int{class})
	}
	p.finish()
	dir, report := convert(t, b, all())
	images, folders := readFolders(t, filepath.Join(dir, p.id, "yolo"), "train")
	if len(images) != len(names) || len(folders) != len(names) {
		t.Errorf("%d images in the folders %q", len(images), folders)
	}
	taken, classes := map[string]bool{"con": true, "lpt1": true}, map[string]bool{}
	for _, folder := range folders {
		key := strings.ToLower(strings.ToUpper(norm.NFC.String(folder)))
		if taken[key] {
			t.Errorf("on some file systems %q is another folder, or none", folder)
		}
		taken[key] = true
	}
	for _, c := range report.Projects[0].Classes {
		if classes[c.Name] {
			t.Errorf("two classes are called %q", c.Name)
		}
		classes[c.Name] = true
	}
}

// TestMultilabel converts a project of several tags an image, which YOLO does not have.
func TestMultilabel(t *testing.T) {
	b := bag{}
	p := newProject(b, 1, "Multilabel", "", object{"name": "house"}, object{"name": "tree"}, object{"name": "nothing", "type": "Negative"})
	want := seen{
		p.add("png", picture("png", 20, 30), false, []int{1, 0}) + ".png": {"house", "tree"},
		p.add("png", picture("png", 20, 30), false, []int{1}) + ".png":    {"tree"},
		p.add("png", picture("png", 20, 30), false, []int{2}) + ".png":    {},
	}
	p.add("png", picture("png", 20, 30), false, nil)
	p.finish()
	dir, report := convert(t, b, all())
	in := filepath.Join(dir, p.id)
	same(t, "coco", readCOCO(t, filepath.Join(in, "coco", "labels_train.json"), filepath.Join(in, "images"), false), want)
	same(t, "azureml", readAzureML(t, filepath.Join(in, "azureml", "training-mltable-folder"), prefix+p.id+"/images/"), want)
	if why := report.Projects[0].Formats[2].NotOffered; !strings.Contains(why, "one class for each image") {
		t.Errorf("yolo: %q", why)
	}
}

// TestSplit splits by image, the same way each time, and so that each tag has its share.
func TestSplit(t *testing.T) {
	b := bag{}
	p := newProject(b, 1, "Multiclass", "", object{"name": "common"}, object{"name": "rare"}, object{"name": "single"})
	content := picture("png", 12, 12)
	tags := map[string]string{}
	for i := range 100 {
		class := 0
		if i%10 == 9 {
			class = 1
		}
		tags[p.add("png", content, false, []int{class})+".png"] = []string{"common", "rare"}[class]
	}
	tags[p.add("png", content, false, []int{2})+".png"] = "single"
	p.finish()
	o := all()
	o.Split, o.Seed = 0.8, 7
	read := func(o dataset.Options) (train, validation seen) {
		t.Helper()
		dir, report := convert(t, b, o)
		in := filepath.Join(dir, p.id)
		for _, f := range report.Projects[0].Formats {
			if f.Train.Images+f.Validation.Images != 101 {
				t.Errorf("%+v", f)
			}
		}
		train, _ = readFolders(t, filepath.Join(in, "yolo"), "train")
		validation, classes := readFolders(t, filepath.Join(in, "yolo"), "val")
		if len(classes) != 3 {
			t.Errorf("the validation set has the folders %q", classes)
		}
		same(t, "coco", readCOCO(t, filepath.Join(in, "coco", "labels_val.json"), filepath.Join(in, "images"), false), validation)
		same(t, "azureml", readAzureML(t, filepath.Join(in, "azureml", "validation-mltable-folder"), prefix+p.id+"/images/"), validation)
		same(t, "coco", readCOCO(t, filepath.Join(in, "coco", "labels_train.json"), filepath.Join(in, "images"), false), train)
		return train, validation
	}
	train, validation := read(o)
	counts := map[string]int{}
	for name := range validation {
		counts[tags[name]]++
		if train[name] != nil {
			t.Errorf("%s is in both", name)
		}
	}
	if counts["common"] != 18 || counts["rare"] != 2 || counts["single"] > 1 {
		t.Errorf("validation: %v", counts)
	}
	if _, again := read(o); !maps.EqualFunc(again, validation, slices.Equal) {
		t.Error("the second time it splits in another way")
	}
	o.Seed = 8
	if _, other := read(o); maps.EqualFunc(other, validation, slices.Equal) {
		t.Error("another seed splits in the same way")
	}
}

// TestPictures leaves pictures where they are, or links to them.
func TestPictures(t *testing.T) {
	b := bag{}
	p := newProject(b, 1, "", "", object{"name": "boat"})
	name := p.add("png", picture("png", 20, 30), false, []int{0}, [5]float64{0, 0, 0, 1, 1}) + ".png"
	p.finish()
	o := dataset.Options{Formats: []dataset.Format{dataset.COCO, dataset.YOLO}, Pictures: dataset.PicturesNone}
	dir, _ := convert(t, b, o)
	in := filepath.Join(dir, p.id)
	same(t, "coco", readCOCO(t, filepath.Join(in, "coco", "instances_train.json"), "", true), seen{name: {"boat 0.0 0.0 20.0 30.0"}})
	if _, err := os.Stat(filepath.Join(in, "images")); err == nil {
		t.Error("there are pictures")
	}
	if len(readYOLO(t, filepath.Join(in, "yolo"), "train")) != 0 {
		t.Error("there are pictures")
	}

	from := t.TempDir()
	for path, content := range b {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(from, path)), 0o700))
		must(t, os.WriteFile(filepath.Join(from, path), []byte(content), 0o600))
	}
	o.Pictures, o.LinkTo = dataset.PicturesLink, from
	dir, _ = convert(t, b, o)
	in = filepath.Join(dir, p.id)
	same(t, "yolo", readYOLO(t, filepath.Join(in, "yolo"), "train"), seen{name: {"boat 0.0 0.0 20.0 30.0"}})
	if target, err := os.Readlink(filepath.Join(in, "images", name)); err != nil || target != filepath.Join(from, p.path("images/"+name)) {
		t.Errorf("the link leads to %s, %v", target, err)
	}
}

// TestWrongBags does not make a training set of what is not as its records say.
func TestWrongBags(t *testing.T) {
	for name, change := range map[string]func(b bag, p *project){
		"another picture": func(b bag, p *project) { b[p.path("images/"+id('c', 1)+".png")] += "x" },
		"no picture":      func(b bag, p *project) { delete(b, p.path("images/"+id('c', 1)+".png")) },
		"a record":        func(b bag, p *project) { b[p.path("images.jsonl")] = "{}\n{" },
		"a path out of it": func(b bag, p *project) {
			b[p.path("images.jsonl")] = strings.Replace(b[p.path("images.jsonl")], `"images/`, `"../../x/`, 1)
		},
		"tags": func(b bag, p *project) { b[p.path("tags.json")] = "7" },
	} {
		b := bag{}
		p := newProject(b, 1, "Multilabel", "", object{"name": "house"})
		p.add("png", picture("png", 20, 30), false, []int{0})
		p.finish()
		change(b, p)
		out, err := dataset.Folder(t.TempDir())
		must(t, err)
		var format *verify.FormatError
		if _, err := dataset.Convert(t.Context(), b, receipt(), out, all()); !errors.As(err, &format) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := dataset.Folder("."); !errors.Is(err, dataset.ErrNotEmpty) {
		t.Errorf("a folder with files: %v", err)
	}
}

// TestOptions says what is wrong with options.
func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o            dataset.Options
		option, says string
	}{
		{dataset.Options{}, "Formats", "none is named"},
		{dataset.Options{Formats: []dataset.Format{"voc"}}, "Formats", `"voc" is none`},
		{dataset.Options{Formats: []dataset.Format{dataset.AzureML}}, "ImageURL", "azureml needs it"},
		{dataset.Options{Formats: []dataset.Format{dataset.AzureML}, ImageURL: "https://host.example/x"}, "ImageURL", "ends in a slash"},
		{dataset.Options{Formats: []dataset.Format{dataset.AzureML}, ImageURL: "x/"}, "ImageURL", "not an absolute"},
		{dataset.Options{Formats: []dataset.Format{dataset.AzureML}, ImageURL: "https://host.example/x/?sig=1"}, "ImageURL", "has no query, such"},
		{dataset.Options{Formats: []dataset.Format{dataset.COCO}, Split: 1}, "Split", "1 is not"},
		{dataset.Options{Formats: []dataset.Format{dataset.COCO}, Split: -0.5}, "Split", "between 0 and 1"},
		{dataset.Options{Formats: []dataset.Format{dataset.COCO}, Split: math.NaN()}, "Split", "NaN is not"},
	} {
		if got := c.o.Check(); len(got) != 1 || got[0].Option != c.option || !strings.Contains(got[0].What, c.says) {
			t.Errorf("%+v: %+v", c.o, got)
		}
	}
	if got := (dataset.Options{Formats: dataset.Formats(), Split: 0.8, ImageURL: "https://host.example/x/"}).Check(); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}
