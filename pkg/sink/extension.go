package sink

import (
	"bytes"
	"mime"
	"net/http"
	"strings"
)

// magic is one kind of content and the bytes it begins with.
type magic struct {
	offset    int
	bytes     string
	ext, kind string
}

// magics are the kinds that Custom Vision takes and gives, each by what no other begins with.
var magics = []magic{
	{0, "\xff\xd8\xff", "jpg", "image/jpeg"},
	{0, "\x89PNG\r\n\x1a\n", "png", "image/png"},
	{0, "GIF87a", "gif", "image/gif"},
	{0, "GIF89a", "gif", "image/gif"},
	{8, "WEBP", "webp", "image/webp"}, // after RIFF and a length
	{0, "II*\x00", "tiff", "image/tiff"},
	{0, "MM\x00*", "tiff", "image/tiff"},
	{0, "PK\x03\x04", "zip", "application/zip"},
	{0, "PK\x05\x06", "zip", "application/zip"}, // an empty one
	{0, "%PDF-", "pdf", "application/pdf"},
	{0, "\x1f\x8b", "gz", "application/gzip"},
	{4, "TFL3", "tflite", "application/octet-stream"},
}

// Extension recognizes a blob's file extension (without a dot) and media type by its first bytes;
// 512 of them are enough. Model formats without magic bytes (ONNX, Core ML and TensorFlow files are
// bare protocol buffers) are recognized by their first field and what is near it. Everything else
// is "bin"; the content type that the server gave becomes such a blob's media type only when it is
// a well-formed type of an image.
func Extension(head []byte, contentType string) (ext, mediaType string) {
	if m := recognize(head); m != nil {
		return m.ext, m.kind
	}
	if TextType(head) != "" {
		return "bin", "application/octet-stream"
	}
	if ext := protobufModel(head); ext != "" {
		return ext, "application/octet-stream"
	}
	if parsed, _, err := mime.ParseMediaType(contentType); err == nil && strings.HasPrefix(parsed, "image/") && parsed != "image/svg+xml" {
		return "bin", parsed
	}
	return "bin", "application/octet-stream"
}

// recognize is the kind of content that begins so, nil when it has no magic bytes.
func recognize(head []byte) *magic {
	for i, m := range magics {
		if len(head) >= m.offset && bytes.HasPrefix(head[m.offset:], []byte(m.bytes)) {
			if m.ext == "webp" && !bytes.HasPrefix(head, []byte("RIFF")) {
				continue
			}
			return &magics[i]
		}
	}
	switch {
	case isBMP(head):
		return &magic{ext: "bmp", kind: "image/bmp"}
	case isHEIF(head):
		return &magic{ext: "heic", kind: "image/heic"}
	}
	return nil
}

// TextType is the media type of content that is text by its first bytes, of which 512 are enough: a
// page, XML, JSON, a plain message, or no content at all. It is empty for binary content. Text
// begins like a page or with a byte order mark, or has no control characters but those that text
// has; see https://mimesniff.spec.whatwg.org.
func TextType(head []byte) string {
	if recognize(head) != nil {
		return ""
	}
	if kind := http.DetectContentType(head); strings.HasPrefix(kind, "text/") {
		return kind
	}
	if bytes.ContainsFunc(head, isControl) {
		return ""
	}
	return "text/plain" // it only begins like something else: two letters make a bitmap there
}

// isControl reports whether r is a control character that text does not have.
func isControl(r rune) bool {
	return r < ' ' && !strings.ContainsRune("\t\n\f\r\x1b", r)
}

// isBMP reports whether head begins a Windows bitmap. Two letters are too few to go by, so the size
// of its header is checked too.
func isBMP(head []byte) bool {
	if len(head) < 18 || !bytes.HasPrefix(head, []byte("BM")) {
		return false
	}
	switch head[14] { // size of the DIB header, little-endian
	case 12, 40, 52, 56, 64, 108, 124:
		return head[15] == 0 && head[16] == 0 && head[17] == 0
	}
	return false
}

// isHEIF reports whether head begins a HEIF picture, as phones take them.
func isHEIF(head []byte) bool {
	if len(head) < 12 || string(head[4:8]) != "ftyp" {
		return false
	}
	switch string(head[8:12]) {
	case "heic", "heix", "mif1", "msf1", "heim", "heis", "hevc":
		return true
	}
	return false
}

// protobufModel is the extension of a model that is a bare protocol buffer, "" for anything else.
func protobufModel(head []byte) string {
	head = head[:min(len(head), 512)]
	switch {
	case len(head) < 4:
		return ""
	case head[0] == 0x08 && head[1] > 0 && head[1] < 0x20 && head[2] == 0x12: // ModelProto: ir_version, then producer_name
		return "onnx"
	case head[0] == 0x08 && head[1] > 0 && head[1] < 0x20 && bytes.Contains(head, []byte("onnx")):
		return "onnx"
	case head[0] == 0x08 && head[1] > 0 && head[1] < 0x20 && head[2]&7 == 2: // Model: specificationVersion, then a message
		return "mlmodel"
	case head[0] == 0x0a && (bytes.Contains(head, []byte("Placeholder")) || bytes.Contains(head, []byte("Const"))): // GraphDef: a node first
		return "pb"
	}
	return ""
}
