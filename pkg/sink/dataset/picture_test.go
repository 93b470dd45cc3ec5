package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"testing"
	"testing/iotest"
)

// exif is EXIF data with an orientation, in an order of bytes.
func exif(order binary.AppendByteOrder, orientation uint16) []byte {
	mark := "II"
	if order == binary.BigEndian {
		mark = "MM"
	}
	b := order.AppendUint32(order.AppendUint16([]byte(mark), 42), 8)
	b = order.AppendUint16(order.AppendUint16(order.AppendUint16(b, 1), 0x112), 3) // one entry: the orientation, a short
	b = order.AppendUint16(order.AppendUint32(b, 1), orientation)
	return append(b, 0, 0, 0, 0, 0, 0)
}

// withEXIF is a JPEG picture of 40 x 20 with EXIF data, after a comment of a length.
func withEXIF(comment int, data []byte) []byte {
	var plain bytes.Buffer
	_ = jpeg.Encode(&plain, image.NewGray(image.Rect(0, 0, 40, 20)), nil)
	segment := func(marker byte, content []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(content)+2)), content...)
	}
	out := []byte{0xff, 0xd8}
	for ; comment > 0; comment -= 60_000 {
		out = append(out, segment(0xfe, make([]byte, min(comment, 60_000)))...)
	}
	out = append(out, segment(0xe1, append([]byte("Exif\x00\x00"), data...))...)
	return append(out, plain.Bytes()[2:]...)
}

// pngWithEXIF is a PNG picture of 40 x 20 with EXIF data.
func pngWithEXIF(data []byte) []byte {
	var plain bytes.Buffer
	_ = png.Encode(&plain, image.NewGray(image.Rect(0, 0, 40, 20)))
	const header = 8 + 25 // signature and IHDR
	chunk := append([]byte("eXIf"), data...)
	out := binary.BigEndian.AppendUint32(bytes.Clone(plain.Bytes()[:header]), uint32(len(data)))
	out = binary.BigEndian.AppendUint32(append(out, chunk...), crc32.ChecksumIEEE(chunk))
	return append(out, plain.Bytes()[header:]...)
}

// TestMeasure finds the size of pictures as they are shown.
func TestMeasure(t *testing.T) {
	for orientation := uint16(0); orientation <= 9; orientation++ {
		turned := orientation >= 5 && orientation <= 8
		for name, content := range map[string][]byte{
			"big-endian":             withEXIF(0, exif(binary.BigEndian, orientation)),
			"little-endian":          withEXIF(0, exif(binary.LittleEndian, orientation)),
			"after a long beginning": withEXIF(300_000, exif(binary.LittleEndian, orientation)),
			"PNG":                    pngWithEXIF(exif(binary.BigEndian, orientation)),
		} {
			p, _, err := measure(iotest.HalfReader(bytes.NewReader(content)), false)
			if err != nil || p.rotated != turned || turned && (p.width != 20 || p.height != 40) || !turned && (p.width != 40 || p.height != 20) {
				t.Errorf("%s, orientation %d: %+v, %v", name, orientation, p, err)
			}
		}
	}
	whole := withEXIF(300_000, exif(binary.BigEndian, 1))
	if _, content, err := measure(bytes.NewReader(whole), true); err != nil || !bytes.Equal(content, whole) {
		t.Errorf("it gives %d of %d bytes, %v", len(content), len(whole), err)
	}
	var unfit *pictureError
	for name, content := range map[string][]byte{
		"empty": nil, "text": []byte("<html>"), "cut": whole[:290_000], "no pixels": []byte("GIF89a\x00\x00\x00\x00\x00\x00\x00"),
	} {
		if _, _, err := measure(bytes.NewReader(content), false); !errors.As(err, &unfit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	endless := io.MultiReader(bytes.NewReader(withEXIF(0, nil)), zeros{})
	if _, _, err := measure(endless, true); !errors.As(err, &unfit) {
		t.Errorf("endless: %v", err)
	}
	broken := errors.New("broken")
	if _, _, err := measure(io.MultiReader(bytes.NewReader(whole[:1000]), iotest.ErrReader(broken)), false); !errors.Is(err, broken) {
		t.Errorf("an error of reading: %v", err)
	}
}

// zeros does not end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzMeasure survives whatever pictures are.
func FuzzMeasure(f *testing.F) {
	f.Add(withEXIF(0, exif(binary.BigEndian, 6)))
	f.Add(pngWithEXIF(exif(binary.LittleEndian, 6)))
	f.Add([]byte("RIFF\x1a\x00\x00\x00WEBPVP8L"))
	f.Add([]byte("II*\x00\x08\x00\x00\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		p, _, err := measure(bytes.NewReader(content), false)
		if err == nil && (p.width <= 0 || p.height <= 0) {
			t.Errorf("%+v", p)
		}
	})
}
