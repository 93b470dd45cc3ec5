package dataset

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// minYOLOPixels is the least width and height of a picture: Ultralytics ignores smaller ones.
const minYOLOPixels = 10

// yoloFormats are the formats of pictures that Ultralytics reads.
var yoloFormats = map[string]bool{"jpeg": true, "png": true, "bmp": true, "tiff": true, "webp": true}

// takesYOLO says why Ultralytics would ignore an image; empty: it does not.
func takesYOLO(e *example) string {
	switch {
	case !yoloFormats[e.format]:
		return "YOLO reads no " + e.format
	case e.width < minYOLOPixels || e.height < minYOLOPixels:
		return "YOLO ignores pictures of less than 10 pixels"
	}
	return ""
}

// yolo writes the files of Ultralytics YOLO for detection: a file of labels for each image, and
// data.yaml.
type yolo struct {
	out    Output
	folder string
	plan   *plan
}

func newYOLO(out Output, folder string, p *plan) *yolo { return &yolo{out, folder, p} }

// takes implements format.
func (y *yolo) takes(e *example) string { return takesYOLO(e) }

// store implements format. An image without boxes has an empty file of labels: it shows none of the
// classes.
func (y *yolo) store(ctx context.Context, e *example) error {
	var lines []byte
	for _, b := range e.boxes {
		lines = strconv.AppendInt(lines, int64(b.class), 10)
		for _, x := range []float64{(b.left + b.right) / 2, (b.top + b.bottom) / 2, b.right - b.left, b.bottom - b.top} {
			lines = strconv.AppendFloat(append(lines, ' '), x, 'f', 8, 64)
		}
		lines = append(lines, '\n')
	}
	name := e.name()
	if err := y.out.Put(ctx, path.Join(y.folder, "labels", e.set(), strings.TrimSuffix(name, path.Ext(name))+".txt"), lines); err != nil {
		return err
	}
	return y.plan.storeIn(ctx, y.out, e, path.Join(y.folder, "images", e.set(), name))
}

// add implements format.
func (y *yolo) add(*example) error { return nil }

// finish implements format. Ultralytics wants a validation set: without a split it is the training
// set.
func (y *yolo) finish(ctx context.Context) error {
	var b strings.Builder
	b.WriteString("# made by consumer convert\n")
	sets := y.plan.sets()
	fmt.Fprintf(&b, "train: images/%s\nval: images/%s\nnames:\n", sets[0], sets[len(sets)-1])
	for i, class := range y.plan.classes {
		fmt.Fprintf(&b, "  %d: %s\n", i, yamlText(class.Name))
	}
	if len(y.plan.classes) == 0 {
		b.WriteString("  {}\n")
	}
	for _, set := range sets {
		if err := y.out.Mkdir(path.Join(y.folder, "images", set)); err != nil {
			return err
		}
	}
	return y.out.Put(ctx, path.Join(y.folder, "data.yaml"), []byte(b.String()))
}

// abort implements format.
func (y *yolo) abort() {}

// yamlText is a text in double quotes, as YAML reads it: every character that is not printable is
// escaped.
func yamlText(text string) string {
	quoted, _ := json.Marshal(strings.ToValidUTF8(text, string(utf8.RuneError))) // a text
	var b strings.Builder
	for _, r := range string(quoted) {
		switch {
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// yoloClasses writes the folders of Ultralytics YOLO for classification: one for each class.
type yoloClasses struct {
	out     Output
	folder  string
	plan    *plan
	folders []string // of the classes
}

func newYOLOClasses(out Output, folder string, p *plan) *yoloClasses {
	y := &yoloClasses{out: out, folder: folder, plan: p}
	taken := map[string]bool{}
	for _, class := range p.classes {
		name := folderName(class, func(name string) bool { return taken[folded(name)] })
		taken[folded(name)] = true
		y.folders = append(y.folders, name)
	}
	return y
}

// byTag maps the ids of tags to folders.
func (y *yoloClasses) byTag() map[string]string {
	m := map[string]string{}
	for i, class := range y.plan.classes {
		m[class.Tag.String()] = y.folders[i]
	}
	return m
}

// reserved are the names that Windows keeps for devices.
var reserved = regexp.MustCompile(`^(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])$`)

// folderName is the folder of a class: its name, if that is a plain word and no other folder has
// it, whatever the letter case; otherwise the plain characters of its name, and a part of its tag's
// id.
func folderName(class Class, taken func(name string) bool) string {
	const longest = 48
	plain := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, class.Name)
	for len(plain) > longest {
		_, size := utf8.DecodeLastRuneInString(plain)
		plain = plain[:len(plain)-size]
	}
	if plain == class.Name && plain != "" && plain[0] != '-' && !reserved.MatchString(plain) && !taken(plain) {
		return plain
	}
	name := strings.TrimLeft(plain, "-") + "-" + class.Tag.String()[:13]
	for taken(name) {
		name += "_"
	}
	return name
}

// folded is a name as file systems compare it that do not tell letter cases apart, nor a letter
// from its parts.
func folded(name string) string { return strings.ToLower(strings.ToUpper(norm.NFC.String(name))) }

// takes implements format.
func (y *yoloClasses) takes(e *example) string { return takesYOLO(e) }

// store implements format.
func (y *yoloClasses) store(ctx context.Context, e *example) error {
	return y.plan.storeIn(ctx, y.out, e, path.Join(y.folder, e.set(), y.folders[e.labels[0]], e.name()))
}

// add implements format.
func (y *yoloClasses) add(*example) error { return nil }

// finish implements format. Every class that has images has a folder in each set: the folders'
// order is the classes' number.
func (y *yoloClasses) finish(context.Context) error {
	for _, set := range y.plan.sets() {
		for i, class := range y.plan.classes {
			if class.Images == 0 {
				continue
			}
			if err := y.out.Mkdir(path.Join(y.folder, set, y.folders[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

// abort implements format.
func (y *yoloClasses) abort() {}
