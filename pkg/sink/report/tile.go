package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// tile is one picture with what is known of it.
type tile struct {
	id        string
	file      string // relative to the page; empty: there is none
	notes     []string
	fault     string // why there is no picture, or what is wrong with it
	unlabeled string // what is said where there are no labels
	boxes     []box
	labels    []label
	facts     []fact
	metadata  []fact
}

// fact is a name and a value.
type fact struct{ Name, Value string }

// box is a box on a picture, in shares of its width and height.
type box struct {
	key

	at [4]float64 // left, top, width, height
}

// key ties a box to its label.
type key struct{ n, color int }

// label is a tag of a picture, with its place on it or its probability.
type label struct {
	key         key // of the box; n is 0 where none is drawn
	name, share string
	placed      bool
	at          [4]float64
}

// markup is HTML that is being written. Only tiles are written by hand: there may be a hundred
// thousand, and a template takes ten times as long for each. Every text of others goes through
// markup.text.
type markup struct{ *bytes.Buffer }

// raw writes HTML of this package's own.
func (m markup) raw(parts ...string) {
	for _, p := range parts {
		m.WriteString(p)
	}
}

// text writes a text of others.
func (m markup) text(text string) {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c > '~', c == '&', c == '<', c == '>', c == '"', c == '\'', c == '=', c == '\\':
			m.WriteString(string(show(text)))
			return
		}
	}
	m.WriteString(text) // show would change nothing
}

// number writes an integer.
func (m markup) number(n int) { m.Write(strconv.AppendInt(m.AvailableBuffer(), int64(n), 10)) }

// coordinate writes a number as SVG has it.
func (m markup) coordinate(v float64) { m.Write(appendCoordinate(m.AvailableBuffer(), v)) }

// percent writes a share.
func (m markup) percent(share float64) {
	if p := share * 100; p >= .1 && p < 1e6 || p == 0 { // most shares, for which percent makes a text
		m.Write(strconv.AppendFloat(m.AvailableBuffer(), p, 'f', 1, 64))
		m.WriteString(" %")
		return
	}
	m.text(percent(share))
}

// place writes the place and size of a box, in words.
func (m markup) place(at [4]float64) {
	m.WriteString("at ")
	m.percent(at[0])
	m.WriteString(", ")
	m.percent(at[1])
	m.WriteString(": ")
	m.percent(at[2])
	m.WriteString(" × ")
	m.percent(at[3])
}

// write writes the tile as an element of the gallery.
func (t *tile) write(b *bytes.Buffer) {
	m := markup{b}
	m.raw(`<li class="tile" id="i-`, t.id, "\">\n", `<div class="stage">`)
	if t.file == "" {
		m.raw(`<span class="less">no picture</span>`)
	} else {
		m.raw(`<a class="frame" href="#i-`, t.id, `"><img src="`)
		m.text(t.file)
		m.raw(`" loading="lazy" decoding="async" alt="Picture `, t.id, `">`)
		t.writeBoxes(m)
		m.raw(`</a>`)
	}
	m.raw("</div>\n<p><code>", t.id, `</code> <a class="close" href="#top">Make it small again</a></p>`, "\n")
	if t.fault != "" {
		m.raw(`<p class="note">`)
		m.text(t.fault)
		m.raw("</p>\n")
	}
	for _, note := range t.notes {
		m.raw(`<p class="less">`)
		m.text(note)
		m.raw("</p>\n")
	}
	t.writeLabels(m)
	m.raw("<dl>")
	for _, f := range t.facts {
		m.raw("<dt>", f.Name, "</dt><dd><bdi>")
		m.text(f.Value)
		m.raw("</bdi></dd>")
	}
	for _, f := range t.metadata {
		m.raw("<dt><bdi>")
		m.text(f.Name)
		m.raw("</bdi></dt><dd><bdi>")
		m.text(f.Value)
		m.raw("</bdi></dd>")
	}
	if t.file != "" {
		m.raw(`<dt class="file">file</dt><dd class="file"><a href="`)
		m.text(t.file)
		m.raw(`">`)
		m.text(path.Base(t.file))
		m.raw("</a></dd>")
	}
	m.raw("</dl>\n</li>\n")
}

// writeBoxes writes the boxes. A picture's size is not known, so they are in percents of it.
func (t *tile) writeBoxes(m markup) {
	if len(t.boxes) == 0 {
		return
	}
	m.raw(`<svg class="boxes" aria-hidden="true">`)
	for _, b := range t.boxes {
		position := func() {
			m.raw(`" x="`)
			m.coordinate(b.at[0] * 100)
			m.raw(`%" y="`)
			m.coordinate(b.at[1] * 100)
		}
		m.raw(`<rect class="b`)
		m.number(b.color)
		position()
		m.raw(`%" width="`)
		m.coordinate(max(b.at[2], 0) * 100)
		m.raw(`%" height="`)
		m.coordinate(max(b.at[3], 0) * 100)
		m.raw(`%"/><text class="t`)
		m.number(b.color)
		position()
		m.raw(`%" dx="4" dy="15">`)
		m.number(b.n)
		m.raw(`</text>`)
	}
	m.raw(`</svg>`)
}

// writeLabels writes the labels.
func (t *tile) writeLabels(m markup) {
	if len(t.labels) == 0 {
		if t.fault == "" {
			m.raw(`<p class="less">`, t.unlabeled, "</p>\n")
		}
		return
	}
	m.raw("<ul>")
	for _, l := range t.labels {
		m.raw("<li>")
		if l.key.n > 0 {
			m.raw(`<span class="key k`)
			m.number(l.key.color)
			m.raw(`">`)
			m.number(l.key.n)
			m.raw(`</span>`)
		}
		m.raw("<bdi>")
		m.text(l.name)
		m.raw("</bdi>")
		if l.share != "" {
			m.raw(" ")
			m.text(l.share)
		}
		if l.placed {
			m.raw(` <span class="less">`)
			m.place(l.at)
			m.raw(`</span>`)
		}
		m.raw("</li>")
	}
	m.raw("</ul>\n")
}

// tileOf is what is shown of a record.
func (p *ProjectPages) tileOf(id string, record json.RawMessage, b bagfile.Blob) *tile {
	t := &tile{id: id}
	if b.File != nil {
		t.file = "../../data/projects/" + p.ID + "/" + *b.File
	}
	if b.Error != nil {
		t.fault = b.Error.Code + ": " + b.Error.Message
	}
	var r picture
	if len(record) > maxRecordBytes {
		t.notes = append(t.notes, "Its record of "+human.Bytes(int64(len(record)))+" is too long to be shown here.")
	} else {
		r = pictureOf(record)
	}
	if p.colors == nil {
		p.colors = tagColors{}
	}
	tags := p.colors
	clear(tags)
	t.boxes = make([]box, 0, min(len(r.Regions), maxBoxes))
	t.labels = make([]label, 0, max(len(r.Regions), len(r.Tags)))
	for i, region := range r.Regions {
		at := region.at()
		t.labels = append(t.labels, label{key: t.box(i, tags.of(region.TagName), at), name: region.TagName, placed: true, at: at})
	}
	if len(r.Regions) == 0 {
		for _, tag := range r.Tags {
			t.labels = append(t.labels, label{name: tag.TagName})
		}
	}
	for i, prediction := range r.Predictions {
		l := label{name: prediction.TagName, share: percent(prediction.Probability)}
		if at := prediction.BoundingBox; at != nil {
			l.placed, l.at = true, at.at()
			if prediction.Probability >= minDrawn {
				l.key = t.box(i, tags.of(prediction.TagName), l.at)
			}
		}
		t.labels = append(t.labels, l)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Metadata)) {
		t.metadata = append(t.metadata, fact{name, fmt.Sprint(r.Metadata[name])})
	}
	add := func(name, value string) { t.facts = append(t.facts, fact{name, value}) }
	if r.Created != "" {
		add("created", r.Created)
	}
	if r.Iteration != "" {
		add("iteration", p.iterationName(r.Iteration))
	}
	if r.Width > 0 && r.Height > 0 {
		add("pixels", strconv.Itoa(r.Width)+" × "+strconv.Itoa(r.Height))
	}
	if b.Bytes != nil {
		add("size", human.Bytes(*b.Bytes))
	}
	if b.Source == "resized" {
		add("source", "resized by the service: it offers no original")
	}
	return t
}

// box adds a box to the picture, and gives what ties it to its label.
func (t *tile) box(i, color int, at [4]float64) key {
	if len(t.boxes) == maxBoxes || t.file == "" {
		return key{}
	}
	k := key{n: i + 1, color: color}
	t.boxes = append(t.boxes, box{k, at})
	return k
}

// tagColors gives each tag of a picture a color.
type tagColors map[string]int

func (c tagColors) of(tag string) int {
	color, ok := c[tag]
	if !ok {
		color = len(c) % colors
		c[tag] = color
	}
	return color
}
