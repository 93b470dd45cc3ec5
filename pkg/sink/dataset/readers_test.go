package dataset_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// The readers here are written from the formats' published descriptions, and share nothing with the
// writers. Each gives what a tool that trains would see.

// seen is an image with what it is labelled with: class names, or boxes in pixels as
// "name x y w h".
type seen map[string][]string

// shown is the size of a picture as it is shown: the two bytes of EXIF's orientation are looked for
// where a camera puts them.
func shown(t *testing.T, path string) (width, height int) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	config, _, err := image.DecodeConfig(bytes.NewReader(b))
	must(t, err)
	if i := bytes.Index(b, []byte("\x01\x12\x00\x03\x00\x00\x00\x01")); i > 0 && binary.BigEndian.Uint16(b[i+8:]) >= 5 {
		return config.Height, config.Width
	}
	return config.Width, config.Height
}

// readCOCO reads a file as pycocotools' createIndex and the description of the data format do
// (https://cocodataset.org/#format-data), and is as strict as the strictest reader known: ids count
// from 1, boxes are within pictures. Pictures, if there are any, have the size that is said.
func readCOCO(t *testing.T, path, pictures string, boxes bool) seen {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	var file struct {
		Info     map[string]any `json:"info"`
		Licenses []any          `json:"licenses"`
		Images   []struct {
			ID       int    `json:"id"`
			FileName string `json:"file_name"`
			Width    int    `json:"width"`
			Height   int    `json:"height"`
		} `json:"images"`
		Annotations []struct {
			ID           int         `json:"id"`
			ImageID      int         `json:"image_id"`
			CategoryID   int         `json:"category_id"`
			BBox         []float64   `json:"bbox"`
			Area         *float64    `json:"area"`
			IsCrowd      *int        `json:"iscrowd"`
			Segmentation [][]float64 `json:"segmentation"`
		} `json:"annotations"`
		Categories []struct {
			ID            int    `json:"id"`
			Name          string `json:"name"`
			Supercategory string `json:"supercategory"`
		} `json:"categories"`
	}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	must(t, dec.Decode(&file))
	names := map[int]string{}
	for i, c := range file.Categories {
		if c.ID != i+1 || c.Name == "" {
			t.Errorf("category %d is %+v", i+1, c)
		}
		names[c.ID] = c.Name
	}
	all := seen{}
	for i, one := range file.Images {
		if one.ID != i+1 || all[one.FileName] != nil {
			t.Errorf("image %d is %+v", i+1, one)
		}
		all[one.FileName] = []string{}
		if pictures != "" {
			if w, h := shown(t, filepath.Join(pictures, one.FileName)); w != one.Width || h != one.Height {
				t.Errorf("%s is %d x %d, the file says %d x %d", one.FileName, w, h, one.Width, one.Height)
			}
		}
	}
	for i, a := range file.Annotations {
		if a.ID != i+1 || a.ImageID < 1 || a.ImageID > len(file.Images) || names[a.CategoryID] == "" {
			t.Fatalf("annotation %d is %+v", i+1, a)
		}
		of := file.Images[a.ImageID-1]
		text := names[a.CategoryID]
		if boxes {
			if len(a.BBox) != 4 || a.Area == nil || *a.Area <= 0 || a.IsCrowd == nil || *a.IsCrowd != 0 || a.Segmentation == nil {
				t.Fatalf("annotation %d is %+v", i+1, a)
			}
			x, y, w, h := a.BBox[0], a.BBox[1], a.BBox[2], a.BBox[3]
			if x < 0 || y < 0 || w <= 0 || h <= 0 || x+w > float64(of.Width)+0.011 || y+h > float64(of.Height)+0.011 || math.Abs(*a.Area-w*h) > 0.01 {
				t.Errorf("box %v is not within %d x %d", a.BBox, of.Width, of.Height)
			}
			text = fmt.Sprintf("%s %.1f %.1f %.1f %.1f", text, x, y, w, h)
		} else if a.BBox != nil || a.Area != nil {
			t.Errorf("annotation %d has a box", a.ID)
		}
		all[of.FileName] = append(all[of.FileName], text)
	}
	return all
}

// readAzureML reads a folder with an MLTable file as the data schemas of automated machine learning
// say (https://learn.microsoft.com/azure/machine-learning/reference-automl-images-schema).
func readAzureML(t *testing.T, dir, url string) seen {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "MLTable"))
	must(t, err)
	var table struct {
		Paths           []map[string]string `yaml:"paths"`
		Transformations []map[string]any    `yaml:"transformations"`
	}
	must(t, yaml.UnmarshalWithOptions(content, &table, yaml.Strict()))
	if len(table.Paths) != 1 || len(table.Transformations) != 2 || table.Transformations[0]["read_json_lines"] == nil || table.Transformations[1]["convert_column_types"] == nil {
		t.Fatalf("the MLTable says %+v", table)
	}
	lines, err := os.ReadFile(filepath.Join(dir, table.Paths[0]["file"]))
	must(t, err)
	all := seen{}
	for line := range strings.Lines(string(lines)) {
		var row struct {
			ImageURL string `json:"image_url"`
			Details  struct {
				Format string `json:"format"`
				Width  int    `json:"width"`
				Height int    `json:"height"`
			} `json:"image_details"`
			Label any `json:"label"`
		}
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		must(t, dec.Decode(&row))
		name, ok := strings.CutPrefix(row.ImageURL, url)
		if !ok || all[name] != nil || row.Details.Width <= 0 || row.Details.Height <= 0 || !slices.Contains([]string{"jpg", "jpeg", "png", "jpe", "jfif", "bmp", "tif", "tiff"}, row.Details.Format) {
			t.Errorf("the row %s", line)
		}
		all[name] = []string{}
		switch label := row.Label.(type) {
		case string: // multi-class
			all[name] = append(all[name], label)
		case []any: // multi-label, or detection
			for _, one := range label {
				if text, ok := one.(string); ok {
					all[name] = append(all[name], text)
					continue
				}
				box := one.(map[string]any)
				x1, y1, x2, y2 := box["topX"].(float64), box["topY"].(float64), box["bottomX"].(float64), box["bottomY"].(float64)
				if x1 < 0 || y1 < 0 || x2 > 1 || y2 > 1 || x1 >= x2 || y1 >= y2 || len(box) != 6 || box["isCrowd"].(float64) != 0 {
					t.Errorf("the box %v", box)
				}
				w, h := float64(row.Details.Width), float64(row.Details.Height)
				all[name] = append(all[name], fmt.Sprintf("%s %.1f %.1f %.1f %.1f", box["label"], x1*w, y1*h, (x2-x1)*w, (y2-y1)*h))
			}
		default:
			t.Errorf("the label %v", label)
		}
	}
	return all
}

// readYOLO reads a set of a folder as Ultralytics does
// (https://docs.ultralytics.com/datasets/detect): the paths of data.yaml are below its folder,
// labels are beside images with "labels" for "images", five numbers a line, all of them at most 1,
// and a class below the number of names.
func readYOLO(t *testing.T, dir, set string) seen {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "data.yaml"))
	must(t, err)
	var data struct {
		Train string         `yaml:"train"`
		Val   string         `yaml:"val"`
		Names map[int]string `yaml:"names"`
	}
	must(t, yaml.UnmarshalWithOptions(content, &data, yaml.Strict()))
	in := map[string]string{"train": data.Train, "val": data.Val}[set]
	files, err := os.ReadDir(filepath.Join(dir, in))
	must(t, err)
	all := seen{}
	for _, file := range files {
		path := filepath.Join(dir, in, file.Name())
		width, height := shown(t, path)
		if width < 10 || height < 10 || !slices.Contains([]string{".bmp", ".jpg", ".png", ".tiff", ".webp"}, filepath.Ext(path)) {
			t.Errorf("%s would be ignored", file.Name())
		}
		at := strings.LastIndex(path, "/images/")
		label := path[:at] + "/labels/" + path[at+len("/images/"):]
		lines, err := os.ReadFile(strings.TrimSuffix(label, filepath.Ext(label)) + ".txt")
		must(t, err)
		all[file.Name()] = []string{}
		for line := range strings.Lines(string(lines)) {
			fields := strings.Fields(line)
			if len(fields) != 5 {
				t.Fatalf("the line %q", line)
			}
			class, err := strconv.Atoi(fields[0])
			must(t, err)
			if data.Names[class] == "" {
				t.Errorf("class %d of %v", class, data.Names)
			}
			var x [4]float64
			for i := range x {
				x[i], err = strconv.ParseFloat(fields[i+1], 64)
				must(t, err)
				if x[i] < 0 || x[i] > 1 {
					t.Errorf("the line %q", line)
				}
			}
			w, h := float64(width), float64(height)
			all[file.Name()] = append(all[file.Name()], fmt.Sprintf("%s %.1f %.1f %.1f %.1f", data.Names[class], (x[0]-x[2]/2)*w, (x[1]-x[3]/2)*h, x[2]*w, x[3]*h))
		}
	}
	return all
}

// readFolders reads a set as torchvision's ImageFolder does, which Ultralytics classifies with: the
// classes are the folders, in the order of their names.
func readFolders(t *testing.T, dir, set string) (all seen, classes []string) {
	t.Helper()
	folders, err := os.ReadDir(filepath.Join(dir, set))
	must(t, err)
	all = seen{}
	for _, folder := range folders {
		classes = append(classes, folder.Name())
		files, err := os.ReadDir(filepath.Join(dir, set, folder.Name()))
		must(t, err)
		for _, file := range files {
			shown(t, filepath.Join(dir, set, folder.Name(), file.Name()))
			all[file.Name()] = append(all[file.Name()], folder.Name())
		}
	}
	return all, classes
}
