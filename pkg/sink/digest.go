package sink

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// HexSHA256 is the SHA-256 of b in lower-case hex.
func HexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// base64SHA256 turns a valid hex digest into the form of checksum headers.
func base64SHA256(digest string) string {
	sum, _ := hex.DecodeString(digest)
	return base64.StdEncoding.EncodeToString(sum)
}

// ValidDigest reports whether s is a SHA-256 in lower-case hex.
func ValidDigest(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
