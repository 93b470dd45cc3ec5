package dataset

import (
	"bytes"
	"errors"
	"image"
	_ "image/gif"  // formats that pictures can have
	_ "image/jpeg" //
	_ "image/png"  //
	"io"

	"github.com/bep/imagemeta"
	_ "golang.org/x/image/bmp"  // formats that pictures can have
	_ "golang.org/x/image/tiff" //
	_ "golang.org/x/image/webp" //
)

const (
	// headBytes is how much of a picture is read for its size; more only where that does not
	// suffice.
	headBytes = 256 << 10
	// maxPicture is the most bytes of a picture that is read whole.
	maxPicture = 64 << 20
)

// picture is what is known of a picture's file.
type picture struct {
	format        string // jpeg, png, gif, bmp, tiff or webp
	width, height int    // as it is shown
	rotated       bool   // by a quarter turn, as its EXIF data say
}

// errLarge is why a picture is not measured.
var errLarge = errors.New("it has more than 64 MiB")

// measure finds the size of a picture by its beginning, and gives what it read: all of it if whole
// is set.
func measure(r io.Reader, whole bool) (p picture, content []byte, err error) {
	read := func(most int64) error {
		more, err := io.ReadAll(io.LimitReader(r, most-int64(len(content))))
		content = append(content, more...)
		return err
	}
	if err := read(headBytes); err != nil {
		return p, nil, err
	}
	p, broken := parse(content)
	if len(content) == headBytes && (whole || broken != nil) {
		if err := read(maxPicture + 1); err != nil {
			return p, nil, err
		}
		if len(content) > maxPicture {
			return p, nil, &pictureError{errLarge}
		}
		if broken != nil {
			p, broken = parse(content)
		}
	}
	if broken != nil {
		return p, content, &pictureError{broken}
	}
	return p, content, nil
}

// pictureError means that a file is no picture that this program can measure.
type pictureError struct{ err error }

func (e *pictureError) Error() string { return e.err.Error() }

// parse reads the size of a picture, and which way is up.
func parse(content []byte) (picture, error) {
	config, format, err := image.DecodeConfig(bytes.NewReader(content))
	if err != nil {
		return picture{}, err
	}
	if config.Width <= 0 || config.Height <= 0 {
		return picture{}, errors.New("it has no pixels")
	}
	p := picture{format: format, width: config.Width, height: config.Height}
	if orientation(content, format) >= 5 { // 5 to 8 turn the picture by 90 degrees
		p.width, p.height, p.rotated = p.height, p.width, true
	}
	return p, nil
}

// orientation is the EXIF orientation of a picture, 1 to 8; 1 where it has none.
func orientation(content []byte, format string) int {
	kinds := map[string]imagemeta.ImageFormat{"jpeg": imagemeta.JPEG, "png": imagemeta.PNG, "webp": imagemeta.WebP, "tiff": imagemeta.TIFF}
	kind, ok := kinds[format]
	if !ok {
		return 1
	}
	found := 1
	_, _ = imagemeta.Decode(imagemeta.Options{ // what cannot be read says nothing
		R: bytes.NewReader(content), ImageFormat: kind, Sources: imagemeta.EXIF,
		ShouldHandleTag: func(tag imagemeta.TagInfo) bool { return tag.Namespace == "IFD0" && tag.Tag == "Orientation" },
		HandleTag: func(tag imagemeta.TagInfo) error {
			if value, ok := tag.Value.(uint16); ok && value >= 1 && value <= 8 {
				found = int(value)
			}
			return imagemeta.ErrStopWalking
		},
	})
	return found
}
