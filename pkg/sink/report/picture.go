package report

import (
	"encoding/json"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
)

// picture is what records of images and predictions have in common, as far as pages show it. What
// the service gave in another form is left out.
type picture struct {
	Created string
	Width   int
	Height  int
	Tags    []struct{ TagName string }
	Regions []struct {
		TagName string
		frame
	}
	Metadata    map[string]any
	Iteration   string
	Predictions []struct {
		TagName     string
		Probability float64
		BoundingBox *frame
	}
}

// frame is a box, in shares of the width and height of its picture.
type frame struct{ Left, Top, Width, Height float64 }

func (f frame) at() [4]float64 { return [4]float64{f.Left, f.Top, f.Width, f.Height} }

var (
	pictureMembers = []string{"created", "width", "height", "tags", "regions", "metadata", "iteration", "predictions"}
	regionMembers  = []string{"left", "top", "width", "height", "tagName"}
	tagMembers     = regionMembers[4:]
)

// pictureOf reads a record. One as the service writes it is read by a scanner, several times as
// fast as by package encoding/json, which reads all others.
func pictureOf(record json.RawMessage) picture {
	if r, ok := plainPicture(record); ok {
		return r
	}
	var r picture
	_ = json.Unmarshal(record, &r) // members of another form are left out
	return r
}

// plainPicture is pictureOf of a record as the service writes it. Predictions are few, and left to
// encoding/json.
func plainPicture(record json.RawMessage) (r picture, ok bool) {
	p := jsonscan.NewPlain(record)
	p.Object(pictureMembers, func(i int) {
		switch pictureMembers[i] {
		case "created":
			p.String(&r.Created)
		case "width":
			p.Int(&r.Width)
		case "height":
			p.Int(&r.Height)
		case "tags":
			p.List(func() {
				r.Tags = append(r.Tags, struct{ TagName string }{})
				tag := &r.Tags[len(r.Tags)-1]
				p.Object(tagMembers, func(int) { p.String(&tag.TagName) })
			})
		case "regions":
			p.List(func() {
				r.Regions = append(r.Regions, struct {
					TagName string
					frame
				}{})
				region := &r.Regions[len(r.Regions)-1]
				p.Object(regionMembers, func(i int) {
					if i == 4 {
						p.String(&region.TagName)
					} else {
						p.Float([]*float64{&region.Left, &region.Top, &region.Width, &region.Height}[i])
					}
				})
			})
		case "metadata":
			var texts map[string]string
			p.Texts(&texts)
			r.Metadata = make(map[string]any, len(texts))
			for name, text := range texts {
				r.Metadata[name] = text
			}
		case "iteration":
			p.String(&r.Iteration)
		default:
			p.GiveUp()
		}
	})
	return r, p.Done()
}
