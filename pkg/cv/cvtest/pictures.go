package cvtest

import (
	"hash/fnv"
	goimage "image"
	"image/color"
	"math"
	"math/rand/v2"
)

// format is a picture's file format.
type format uint8

const (
	formatJPEG format = iota
	formatPNG
	formatGIF
	formatBMP
)

// picture is what is needed to draw a picture again; it is compact, since an account may hold
// 100,000.
type picture struct {
	seed    uint64
	items   []item // drawn scenes only
	bytes   int32  // 0: a scene; else tiny, filled up to this many bytes
	format  format
	layout  uint8 // of a scene: landscape, portrait, square
	resized bool  // the upload was bigger: an original of its own exists
}

// item is a thing in a scene: what, and where (nil: anywhere).
type item struct {
	name string
	box  *box
}

// version is which blob of a picture.
type version uint8

const (
	versionResized version = iota // the "i-" blob
	versionOriginal
	versionThumbnail
)

// newPicture plans the n-th picture.
func newPicture(seed uint64, n, size int, items []item) picture {
	p := picture{seed: seed, bytes: int32(min(size, math.MaxInt32)), layout: uint8(n % 3), resized: n%5 == 3}
	switch {
	case size > 0:
		p.format = [...]format{formatPNG, formatJPEG, formatGIF, formatPNG, formatBMP}[n%5]
		return p
	case n%23 == 22:
		p.format = formatBMP
	case n%10 == 9:
		p.format = formatGIF
	case n%10 > 6:
		p.format = formatPNG
	}
	p.items = items
	return p
}

// size is width and height in pixels.
func (p picture) size(v version) (w, h int) {
	if p.bytes > 0 {
		return [...]int{8, 16, 4}[v], [...]int{8, 16, 4}[v]
	}
	w, h = [...]int{256, 192, 224}[p.layout], [...]int{192, 256, 224}[p.layout]
	switch v {
	case versionOriginal:
		return w * 3 / 2, h * 3 / 2
	case versionThumbnail:
		return w / 4, h / 4
	}
	return w, h
}

// draw makes the file. An original that is not its own is the resized one.
func (p picture) draw(v version) []byte {
	if v == versionOriginal && !p.resized {
		v = versionResized
	}
	w, h := p.size(v)
	if p.bytes == 0 {
		return scenes.draw(p, w, h)
	}
	f := p.format
	if v != versionResized {
		f = formatPNG
	}
	b := tiny(f, p.seed, w, h)
	if missing := int(p.bytes) - len(b); missing > 0 && v != versionThumbnail {
		b = append(b, filler(p.seed, missing)...)
	}
	return b
}

// Scenes.

// canvas draws in fractions of its size, so that every version of a picture shows the same.
type canvas struct {
	*goimage.RGBA
	w, h float64
}

func (p picture) scene(w, h int) *goimage.RGBA {
	c := canvas{goimage.NewRGBA(goimage.Rect(0, 0, w, h)), float64(w), float64(h)}
	rnd := rand.New(rand.NewPCG(p.seed, 2))
	skies := [][2]color.RGBA{
		{{0x8e, 0xc5, 0xe8, 255}, {0xe6, 0xf2, 0xf9, 255}}, {{0xf6, 0xc8, 0x9a, 255}, {0xfb, 0xec, 0xd2, 255}},
		{{0xb9, 0xc6, 0xd0, 255}, {0xe9, 0xec, 0xee, 255}}, {{0x6d, 0x8f, 0xc2, 255}, {0xd9, 0xe4, 0xf2, 255}},
	}
	grounds := []color.RGBA{{0x7d, 0xa8, 0x5b, 255}, {0xb5, 0x9a, 0x6d, 255}, {0x8a, 0x8d, 0x91, 255}, {0xd8, 0xc9, 0x9b, 255}}
	sky, ground := skies[rnd.IntN(len(skies))], grounds[rnd.IntN(len(grounds))]
	horizon := 0.62 + 0.15*rnd.Float64()
	for y := range h {
		t := float64(y) / c.h / horizon
		var col color.RGBA
		if t < 1 {
			col = mix(sky[0], sky[1], t)
		} else {
			col = mix(ground, color.RGBA{40, 40, 40, 255}, (t-1)*0.5)
		}
		for x := range w {
			c.SetRGBA(x, y, col)
		}
	}
	for i, it := range p.items {
		b := [4]float64{}
		if it.box != nil {
			for k, v := range it.box {
				b[k] = float64(v)
			}
		} else {
			share := 1 / float64(len(p.items))
			width := share * (0.6 + 0.3*rnd.Float64())
			height := min(0.8, 0.45+0.3*rnd.Float64())
			if it.name == "car" {
				height = min(height, 0.7*width)
			}
			b = [4]float64{float64(i)*share + (share-width)*rnd.Float64(), 0.06 + (0.84-height)*rnd.Float64(), width, height}
		}
		c.thing(it.name, b, rnd)
	}
	// A caption of blocks that look like words.
	for x := 0.04; x < 0.3+0.4*rnd.Float64(); {
		l := 0.02 + 0.07*rnd.Float64()
		c.rect(x, 0.945, l, 0.025, color.RGBA{30, 34, 40, 255})
		x += l + 0.015
	}
	return c.RGBA
}

func mix(a, b color.RGBA, t float64) color.RGBA {
	t = max(0, min(1, t))
	f := func(x, y uint8) uint8 { return uint8(float64(x) + (float64(y)-float64(x))*t) }
	return color.RGBA{f(a.R, b.R), f(a.G, b.G), f(a.B, b.B), 255}
}

// fill colors the pixels of a box for which in is true; in gets the place within the box as
// fractions.
func (c canvas) fill(x, y, w, h float64, col color.RGBA, in func(u, v float64) bool) {
	for py := int(y * c.h); py < int(math.Ceil((y+h)*c.h)); py++ {
		for px := int(x * c.w); px < int(math.Ceil((x+w)*c.w)); px++ {
			u, v := ((float64(px)+0.5)/c.w-x)/w, ((float64(py)+0.5)/c.h-y)/h
			if u >= 0 && u <= 1 && v >= 0 && v <= 1 && (in == nil || in(u, v)) && (goimage.Point{X: px, Y: py}).In(c.Rect) {
				c.SetRGBA(px, py, mix(col, color.RGBA{0, 0, 0, 255}, 0.25*max(0, u-0.5)))
			}
		}
	}
}

func (c canvas) rect(x, y, w, h float64, col color.RGBA) { c.fill(x, y, w, h, col, nil) }

func (c canvas) ellipse(x, y, w, h float64, col color.RGBA) {
	c.fill(x, y, w, h, col, func(u, v float64) bool { return (u-0.5)*(u-0.5)+(v-0.5)*(v-0.5) <= 0.25 })
}

func (c canvas) triangle(x, y, w, h float64, col color.RGBA) {
	c.fill(x, y, w, h, col, func(u, v float64) bool { return math.Abs(u-0.5) <= v/2 })
}

// thing draws what a tag's name says, or else a shape and color that belong to the name alone.
func (c canvas) thing(name string, b [4]float64, rnd *rand.Rand) {
	x, y, w, h := b[0], b[1], b[2], b[3]
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(name))
	id := sum.Sum64()
	hue := color.RGBA{uint8(70 + id%150), uint8(60 + id>>8%150), uint8(60 + id>>16%160), 255}
	hue = mix(hue, color.RGBA{255, 255, 255, 255}, 0.2*rnd.Float64())
	dark, pale := mix(hue, color.RGBA{0, 0, 0, 255}, 0.45), mix(hue, color.RGBA{255, 255, 255, 255}, 0.6)
	white := color.RGBA{250, 250, 248, 255}
	switch name {
	case "sun":
		yellow := color.RGBA{0xf8, 0xc5, 0x30, 255}
		for a := range 8 {
			s, k := math.Sincos(float64(a) * math.Pi / 4)
			c.ellipse(x+w*(0.5+0.42*k-0.06), y+h*(0.5+0.42*s-0.06), 0.12*w, 0.12*h, yellow)
		}
		c.ellipse(x+0.2*w, y+0.2*h, 0.6*w, 0.6*h, yellow)
	case "cloud", "rain":
		gray := color.RGBA{0xee, 0xf1, 0xf4, 255}
		if name == "rain" {
			gray = color.RGBA{0x7f, 0x8b, 0x98, 255}
			for i := range 7 {
				c.rect(x+w*(0.12+0.12*float64(i)), y+h*(0.65+0.07*float64(i%3)), 0.02*w, 0.2*h, color.RGBA{0x3f, 0x6f, 0xb5, 255})
			}
		}
		c.ellipse(x, y+0.3*h, 0.5*w, 0.4*h, gray)
		c.ellipse(x+0.25*w, y+0.1*h, 0.5*w, 0.55*h, gray)
		c.ellipse(x+0.5*w, y+0.28*h, 0.5*w, 0.42*h, gray)
	case "house":
		c.rect(x+0.1*w, y+0.4*h, 0.8*w, 0.6*h, color.RGBA{0xd9, 0xb3, 0x8c, 255})
		c.triangle(x, y, w, 0.42*h, color.RGBA{0xa5, 0x42, 0x2d, 255})
		c.rect(x+0.42*w, y+0.65*h, 0.18*w, 0.35*h, color.RGBA{0x5b, 0x3a, 0x21, 255})
		c.rect(x+0.18*w, y+0.5*h, 0.16*w, 0.16*h, color.RGBA{0xbf, 0xdd, 0xee, 255})
		c.rect(x+0.68*w, y+0.5*h, 0.16*w, 0.16*h, color.RGBA{0xbf, 0xdd, 0xee, 255})
	case "tree":
		c.rect(x+0.43*w, y+0.55*h, 0.14*w, 0.45*h, color.RGBA{0x6b, 0x4a, 0x2b, 255})
		c.triangle(x+0.1*w, y+0.2*h, 0.8*w, 0.5*h, color.RGBA{0x2f, 0x6b, 0x36, 255})
		c.triangle(x+0.2*w, y, 0.6*w, 0.4*h, color.RGBA{0x3b, 0x82, 0x43, 255})
	case "car":
		c.ellipse(x+0.2*w, y+0.25*h, 0.6*w, 0.6*h, dark)
		c.rect(x, y+0.5*h, w, 0.3*h, hue)
		for _, u := range []float64{0.12, 0.66} {
			c.ellipse(x+u*w, y+0.66*h, 0.22*w, 0.34*h, color.RGBA{0x26, 0x26, 0x28, 255})
			c.ellipse(x+(u+0.07)*w, y+0.77*h, 0.08*w, 0.12*h, pale)
		}
	case "bottle":
		c.rect(x+0.38*w, y, 0.24*w, 0.35*h, dark)
		c.rect(x+0.15*w, y+0.35*h, 0.7*w, 0.65*h, hue)
		c.rect(x+0.15*w, y+0.52*h, 0.7*w, 0.25*h, white)
	case "can":
		c.rect(x+0.05*w, y+0.08*h, 0.9*w, 0.84*h, hue)
		c.ellipse(x+0.05*w, y, 0.9*w, 0.16*h, pale)
		c.rect(x+0.05*w, y+0.4*h, 0.9*w, 0.2*h, white)
	case "box":
		c.rect(x, y, w, h, color.RGBA{0xc0, 0x93, 0x5c, 255})
		c.rect(x+0.42*w, y, 0.16*w, h, color.RGBA{0xe4, 0xcf, 0xa8, 255})
		c.rect(x+0.08*w, y+0.7*h, 0.26*w, 0.18*h, white)
	case "visitor", "staff", "contractor":
		c.rect(x, y, w, h, white)
		c.rect(x, y, w, 0.2*h, hue)
		c.ellipse(x+0.12*w, y+0.3*h, 0.26*w, 0.28*h, color.RGBA{0xe2, 0xb9, 0x93, 255})
		c.ellipse(x+0.05*w, y+0.58*h, 0.4*w, 0.36*h, dark)
		for i := range 5 {
			c.rect(x+0.55*w, y+h*(0.32+0.12*float64(i)), w*(0.15+0.22*rnd.Float64()), 0.05*h, color.RGBA{60, 64, 72, 255})
		}
	default:
		switch id >> 24 % 5 {
		case 0:
			c.ellipse(x, y, w, h, hue)
			c.ellipse(x+0.25*w, y+0.25*h, 0.5*w, 0.5*h, pale)
		case 1:
			c.rect(x, y, w, h, hue)
			c.rect(x+0.15*w, y+0.15*h, 0.7*w, 0.7*h, pale)
		case 2:
			c.triangle(x, y, w, h, hue)
		case 3:
			c.fill(x, y, w, h, hue, func(u, v float64) bool { return math.Abs(u-0.5)+math.Abs(v-0.5) <= 0.5 })
		default:
			for i := range 4 {
				c.rect(x+float64(i)*w/4, y+float64(i%2)*h/8, w/6, h*7/8, hue)
			}
		}
	}
}
