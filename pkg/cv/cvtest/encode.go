package cvtest

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"hash/adler32"
	"hash/crc32"
	goimage "image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
)

// filler is n bytes that do not compress.
func filler(seed uint64, n int) []byte {
	b := make([]byte, n+8)
	x := seed | 1
	for i := 0; i < n; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:], x)
	}
	return b[:n]
}

func encode(f format, img *goimage.RGBA) []byte {
	var b bytes.Buffer
	var err error
	switch f {
	case formatPNG:
		err = png.Encode(&b, img)
	case formatGIF:
		err = gif.Encode(&b, quantize(img), nil)
	case formatBMP:
		w, h := img.Rect.Dx(), img.Rect.Dy()
		return bmp(w, h, func(x, y int) (r, g, b byte) {
			c := img.RGBAAt(x, y)
			return c.R, c.G, c.B
		})
	default:
		err = jpeg.Encode(&b, img, &jpeg.Options{Quality: 82})
	}
	if err != nil {
		panic(err) // a bytes.Buffer does not fail, and the picture is ours
	}
	return b.Bytes()
}

// quantize maps every pixel to the nearest of 216 colors, six steps of each channel; the general
// way takes most of a test's time.
func quantize(img *goimage.RGBA) *goimage.Paletted {
	cube := make(color.Palette, 0, 216)
	for i := range 216 {
		cube = append(cube, color.RGBA{uint8(i / 36 * 51), uint8(i / 6 % 6 * 51), uint8(i % 6 * 51), 255})
	}
	out := goimage.NewPaletted(img.Rect, cube)
	step := func(v uint8) uint8 { return uint8((int(v) + 25) / 51) }
	for i := range out.Pix {
		out.Pix[i] = step(img.Pix[4*i])*36 + step(img.Pix[4*i+1])*6 + step(img.Pix[4*i+2])
	}
	return out
}

// Tiny pictures are put together by hand, so that they cost little and never change with the
// version of Go.

func tiny(f format, seed uint64, w, h int) []byte {
	noise := filler(seed, 3*w*h)
	at := func(x, y int) (r, g, b byte) {
		i := 3 * (y*w + x)
		return noise[i], noise[i+1], noise[i+2]
	}
	switch f {
	case formatJPEG:
		return tinyJPEG(noise[:24])
	case formatGIF:
		return tinyGIF(w, h, noise)
	case formatBMP:
		return bmp(w, h, at)
	default:
		return tinyPNG(w, h, at)
	}
}

func tinyPNG(w, h int, at func(x, y int) (r, g, b byte)) []byte {
	raw := make([]byte, 0, h*(1+3*w))
	for y := range h {
		raw = append(raw, 0)
		for x := range w {
			r, g, b := at(x, y)
			raw = append(raw, r, g, b)
		}
	}
	out := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(name string, data []byte) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
		start := len(out)
		out = append(append(out, name...), data...)
		out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[start:]))
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(w))
	head = binary.BigEndian.AppendUint32(head, uint32(h))
	chunk("IHDR", append(head, 8, 2, 0, 0, 0))
	// A zlib stream of one stored block.
	z := []byte{0x78, 0x01, 0x01}
	z = binary.LittleEndian.AppendUint16(z, uint16(len(raw)))
	z = binary.LittleEndian.AppendUint16(z, ^uint16(len(raw)))
	z = binary.BigEndian.AppendUint32(append(z, raw...), adler32.Checksum(raw))
	chunk("IDAT", z)
	chunk("IEND", nil)
	return out
}

// tinyGIF writes four colors without compression: a clear code before every second pixel keeps all
// codes at three bits.
func tinyGIF(w, h int, noise []byte) []byte {
	out := []byte("GIF89a")
	out = append(out, byte(w), 0, byte(h), 0, 0x81, 0, 0)
	out = append(out, noise[:12]...)
	out = append(out, 0x2c, 0, 0, 0, 0, byte(w), 0, byte(h), 0, 0, 2)
	var data []byte
	var acc uint32
	var bits uint
	code := func(c uint32) {
		acc |= c << bits
		for bits += 3; bits >= 8; bits -= 8 {
			data = append(data, byte(acc))
			acc >>= 8
		}
	}
	for i := range w * h {
		if i%2 == 0 {
			code(4)
		}
		code(uint32(noise[12+i] & 3))
	}
	code(5)
	data = append(data, byte(acc))
	out = append(append(out, byte(len(data))), data...)
	return append(out, 0, 0x3b)
}

//go:embed gray8.jpg
var gray8 []byte

// tinyJPEG is a gray square with a comment.
func tinyJPEG(comment []byte) []byte {
	out := slices.Clone(gray8[:2])
	out = append(out, 0xff, 0xfe, 0, byte(2+len(comment)))
	out = append(out, comment...)
	return append(out, gray8[2:]...)
}

func bmp(w, h int, at func(x, y int) (r, g, b byte)) []byte {
	stride := (3*w + 3) / 4 * 4
	out := make([]byte, 54+stride*h)
	copy(out, "BM")
	le := binary.LittleEndian
	le.PutUint32(out[2:], uint32(len(out)))
	le.PutUint32(out[10:], 54)
	le.PutUint32(out[14:], 40)
	le.PutUint32(out[18:], uint32(w))
	le.PutUint32(out[22:], uint32(h))
	le.PutUint16(out[26:], 1)
	le.PutUint16(out[28:], 24)
	le.PutUint32(out[34:], uint32(stride*h))
	for y := range h {
		row := out[54+stride*(h-1-y):]
		for x := range w {
			r, g, b := at(x, y)
			row[3*x], row[3*x+1], row[3*x+2] = b, g, r
		}
	}
	return out
}
