package cv

import (
	"slices"
	"strings"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
)

// A listing has 256 images, of which each may have hundreds of regions: package encoding/json takes
// most of the time of an export to decode them. So images as the service writes them are decoded
// here. Whatever stands there in another way is left to that package, so that the outcome is always
// its own: a fuzz test compares them.

// plain reads an image.
type plain struct{ *jsonscan.Plain }

func (p plain) time(into *Time) { *into = parseTime(string(p.Quoted())) }

// listOf reads a list of objects, each about so many bytes long, with the members known.
func listOf[T any](p plain, bytes int, into *[]T, known []string, member func(v *T, i int)) {
	*into = make([]T, 0, p.Left()/bytes+1)
	p.List(func() {
		var v T
		p.Object(known, func(i int) { member(&v, i) })
		*into = append(*into, v)
	})
}

var (
	imageMembers  = []string{"id", "created", "width", "height", "resizedImageUri", "thumbnailUri", "originalImageUri", "tags", "metadata", "regions"}
	tagMembers    = []string{"tagId", "tagName", "created"}
	regionMembers = []string{"regionId", "tagName", "created", "tagId", "left", "top", "width", "height"}
)

// decodePlain is json.Unmarshal into an image that has nothing yet, of JSON in the form that the
// service writes. It reports whether it is in that form; else the image is as it was.
func (i *Image) decodePlain(text []byte) bool {
	if i.Tags != nil || i.Regions != nil || i.Metadata != nil || !i.Created.IsZero() {
		return false
	}
	v, p := *i, plain{jsonscan.NewPlain(text)}
	p.Object(imageMembers, func(n int) {
		switch imageMembers[n] {
		case "id":
			p.ID(&v.ID)
		case "created":
			p.time(&v.Created)
		case "width":
			p.Int(&v.Width)
		case "height":
			p.Int(&v.Height)
		case "resizedImageUri":
			p.String(&v.ResizedImageURI)
		case "thumbnailUri":
			p.String(&v.ThumbnailURI)
		case "originalImageUri":
			p.String(&v.OriginalImageURI)
		case "tags":
			listOf(p, 96, &v.Tags, tagMembers, func(t *ImageTag, n int) {
				switch tagMembers[n] {
				case "tagId":
					p.ID(&t.TagID)
				case "tagName":
					p.String(&t.TagName)
				case "created":
					p.time(&t.Created)
				}
			})
		case "regions":
			listOf(p, 192, &v.Regions, regionMembers, func(r *ImageRegion, n int) {
				switch regionMembers[n] {
				case "regionId":
					p.ID(&r.RegionID)
				case "tagName":
					p.String(&r.TagName)
				case "created":
					p.time(&r.Created)
				case "tagId":
					p.ID(&r.TagID)
				case "left":
					p.Float(&r.Left)
				case "top":
					p.Float(&r.Top)
				case "width":
					p.Float(&r.Width)
				case "height":
					p.Float(&r.Height)
				}
			})
		case "metadata":
			p.Texts(&v.Metadata)
		}
	})
	if !p.Done() {
		return false
	}
	*i = v
	return true
}

// decodeBrief decodes an image that has nothing yet, but for regions, and names and times of tags,
// of the members of an object of which none is there twice. It reports whether they are in the form
// that the service writes; else the image has some of them.
func (i *briefImage) decodeBrief(members []named) bool {
	for _, m := range members {
		if string(m.value) == "null" {
			continue
		}
		p := plain{jsonscan.NewPlain(m.value)}
		switch string(m.name) {
		case "id":
			p.ID(&i.ID)
		case "created":
			p.time(&i.Created)
		case "width":
			p.Int(&i.Width)
		case "height":
			p.Int(&i.Height)
		case "resizedImageUri":
			p.String(&i.ResizedImageURI)
		case "thumbnailUri":
			p.String(&i.ThumbnailURI)
		case "originalImageUri":
			p.String(&i.OriginalImageURI)
		case "tags":
			listOf(p, 96, &i.Tags, tagMembers[:1], func(t *ImageTag, _ int) { p.ID(&t.TagID) })
		case "metadata":
			p.Texts(&i.Metadata)
		default:
			if slices.ContainsFunc(imageMembers, func(known string) bool { return known != "regions" && strings.EqualFold(known, string(m.name)) }) {
				return false
			}
			continue
		}
		if !p.Done() {
			return false
		}
	}
	return true
}
