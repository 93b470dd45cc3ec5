package cv

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
)

// A listing has 256 images, of which each may have hundreds of regions: package encoding/json takes
// most of the time of an export to decode them. So images as the service writes them are decoded
// here. Whatever stands there in another way is left to that package, so that the outcome is always
// its own: a fuzz test compares them.

// plain reads JSON in the form that the service writes. It gives up at anything else.
type plain struct {
	text []byte
	at   int
	odd  bool // it gave up
}

// giveUp notes that there is something that encoding/json has to judge.
func (p *plain) giveUp() { p.odd = true }

// take skips blanks and c, which has to come then.
func (p *plain) take(c byte) {
	if p.at = jsonscan.Blanks(p.text, p.at); p.at == len(p.text) || p.text[p.at] != c {
		p.giveUp()
		return
	}
	p.at++
}

// ends skips blanks and reports whether c comes then, or nothing that could be read. It skips c.
func (p *plain) ends(c byte) bool {
	if p.at = jsonscan.Blanks(p.text, p.at); p.odd || p.at == len(p.text) {
		p.giveUp()
		return true
	}
	if p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

// object reads an object. member reads the value of each of the members known, by its index; others
// are skipped. It gives up where a member is there twice, or is a known one in another letter case.
func (p *plain) object(known []string, member func(i int)) {
	var had uint64
	p.take('{')
	for first := true; !p.ends('}'); first = false {
		if !first {
			p.take(',')
		}
		name := p.raw()
		p.take(':')
		switch i := p.index(known, name); {
		case p.odd:
			return
		case i < 0:
			p.raw()
		case had&(1<<i) != 0:
			p.giveUp()
		default:
			had |= 1 << i
			if !p.null() {
				member(i)
			}
		}
	}
}

// index is which of the members known has a quoted name, -1: none.
func (p *plain) index(known []string, quoted []byte) int {
	if len(quoted) < 2 || quoted[0] != '"' {
		p.giveUp()
		return -1
	}
	name := quoted[1 : len(quoted)-1]
	for i, k := range known {
		if string(name) == k {
			return i
		}
	}
	for _, c := range name {
		if c == '\\' || c >= utf8.RuneSelf {
			p.giveUp()
		}
	}
	for _, k := range known {
		if len(name) == len(k) && bytes.EqualFold(name, []byte(k)) {
			p.giveUp()
		}
	}
	return -1
}

// list reads a list.
func (p *plain) list(element func()) {
	p.take('[')
	for first := true; !p.ends(']'); first = false {
		if !first {
			p.take(',')
		}
		element()
	}
}

// raw skips blanks, and reads the next value as it stands there.
func (p *plain) raw() []byte {
	p.at = jsonscan.Blanks(p.text, p.at)
	end := jsonscan.Value(p.text, p.at)
	if p.odd || end < 0 {
		p.giveUp()
		return nil
	}
	value := p.text[p.at:end]
	p.at = end
	return value
}

// null reports whether null comes next, which leaves everything as it is. It skips it.
func (p *plain) null() bool {
	p.at = jsonscan.Blanks(p.text, p.at)
	if !bytes.HasPrefix(p.text[p.at:], []byte("null")) {
		return false
	}
	p.at += len("null")
	return true
}

// quoted reads a string without escapes, in UTF-8, without its quotes.
func (p *plain) quoted() []byte {
	value := p.raw()
	if len(value) < 2 || value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 || !utf8.Valid(value) {
		p.giveUp()
		return nil
	}
	return value[1 : len(value)-1]
}

func (p *plain) string(into *string) { *into = string(p.quoted()) }

// id reads an id in its usual form.
func (p *plain) id(into *uuid.UUID) {
	text := p.quoted()
	id, err := uuid.ParseBytes(text)
	if err != nil || len(text) != 36 {
		p.giveUp()
	}
	*into = id
}

func (p *plain) time(into *Time) { *into = parseTime(string(p.quoted())) }

// int reads an integer of up to nine digits.
func (p *plain) int(into *int) {
	text := p.raw()
	n, err := strconv.Atoi(string(text))
	if err != nil || len(text) > 9 {
		p.giveUp()
	}
	*into = n
}

func (p *plain) float(into *float64) {
	text := p.raw()
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		p.giveUp()
	}
	*into = f
}

// texts reads an object of texts.
func (p *plain) texts(into *map[string]string) {
	*into = map[string]string{}
	p.take('{')
	for first := true; !p.ends('}'); first = false {
		if !first {
			p.take(',')
		}
		name := string(p.quoted())
		p.take(':')
		(*into)[name] = string(p.quoted())
	}
}

// listOf reads a list of objects, each about so many bytes long, with the members known.
func listOf[T any](p *plain, bytes int, into *[]T, known []string, member func(v *T, i int)) {
	*into = make([]T, 0, (len(p.text)-p.at)/bytes+1)
	p.list(func() {
		var v T
		p.object(known, func(i int) { member(&v, i) })
		*into = append(*into, v)
	})
}

var (
	imageMembers  = []string{"id", "created", "width", "height", "resizedImageUri", "thumbnailUri", "originalImageUri", "tags", "metadata", "regions"}
	briefMembers  = imageMembers[:9] // without regions
	tagMembers    = []string{"tagId", "tagName", "created"}
	regionMembers = []string{"regionId", "tagName", "created", "tagId", "left", "top", "width", "height"}
)

// decodePlain is json.Unmarshal into an image that has nothing yet, of JSON in the form that the
// service writes. It reports whether it is in that form; else the image is as it was. Of a brief one
// it leaves out regions, and names and times of tags.
func (i *Image) decodePlain(text []byte, brief bool) bool {
	if i.Tags != nil || i.Regions != nil || i.Metadata != nil || !i.Created.IsZero() {
		return false
	}
	v, p := *i, &plain{text: text}
	tagMembers, imageMembers := tagMembers, imageMembers
	if brief {
		tagMembers, imageMembers = tagMembers[:1], briefMembers
	}
	p.object(imageMembers, func(n int) {
		switch imageMembers[n] {
		case "id":
			p.id(&v.ID)
		case "created":
			p.time(&v.Created)
		case "width":
			p.int(&v.Width)
		case "height":
			p.int(&v.Height)
		case "resizedImageUri":
			p.string(&v.ResizedImageURI)
		case "thumbnailUri":
			p.string(&v.ThumbnailURI)
		case "originalImageUri":
			p.string(&v.OriginalImageURI)
		case "tags":
			listOf(p, 512, &v.Tags, tagMembers, func(t *ImageTag, n int) {
				switch tagMembers[n] {
				case "tagId":
					p.id(&t.TagID)
				case "tagName":
					p.string(&t.TagName)
				case "created":
					p.time(&t.Created)
				}
			})
		case "regions":
			listOf(p, 256, &v.Regions, regionMembers, func(r *ImageRegion, n int) {
				switch regionMembers[n] {
				case "regionId":
					p.id(&r.RegionID)
				case "tagName":
					p.string(&r.TagName)
				case "created":
					p.time(&r.Created)
				case "tagId":
					p.id(&r.TagID)
				case "left":
					p.float(&r.Left)
				case "top":
					p.float(&r.Top)
				case "width":
					p.float(&r.Width)
				case "height":
					p.float(&r.Height)
				}
			})
		case "metadata":
			p.texts(&v.Metadata)
		}
	})
	if p.odd || jsonscan.Blanks(text, p.at) < len(text) {
		return false
	}
	*i = v
	return true
}
