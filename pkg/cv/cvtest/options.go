package cvtest

import (
	"time"
)

// Options say how a Server behaves. The zero value is a quick, well-behaved service with links that
// last a day.
type Options struct {
	// Seed decides every id, time, picture and number of the account.
	Seed int64
	// Key is the training key demanded; when empty a key is derived from Seed, which Server.Key
	// returns.
	Key string
	// Token, when set, is also accepted as "Authorization: Bearer <Token>".
	Token string
	// BasePath stands before /customvision/v3.3/training, for example "/base". Server.URL includes
	// it. Blobs are outside it.
	BasePath string
	// BlobListener serves blobs from a second port, so that rules about hosts can be tested.
	BlobListener bool
	// BlobBase is scheme and host of blob links, for a server that is mounted elsewhere (as a plain
	// http.Handler behind a name). Empty: the listener's own address, else the Host of the request.
	BlobBase string
	// LinkTTL is how long a blob link is valid (24h when 0), in whole seconds, rounded up.
	LinkTTL time.Duration
	// VNet gives relative paths in place of links, to be read through GetArtifact; direct downloads
	// are refused.
	VNet bool
	// DeleteDelay is when a deletion that was answered 202 has taken full effect: the workspace
	// loses its images at half of it, the iterations one after the other between then and the full
	// delay. With 0 the effect is immediate.
	DeleteDelay time.Duration
	// RPS is the rate limit of the Training API in calls a second (0: none); blobs are not limited.
	RPS float64
	// Latency and BlobLatency are waited before each answer.
	Latency, BlobLatency time.Duration
	// Now is the server's clock; nil is the real one.
	Now func() time.Time
	// Recorded gives nulls where the real service was recorded to give them although its
	// specification forbids it.
	Recorded bool
	// Compact gives JSON without white space, as answers were recorded; otherwise it is indented,
	// with CRLF line ends, which a client must bear as well.
	Compact bool
	// ZonedTimes ends the times of images, their tags and regions in Z, which the real service does
	// not.
	ZonedTimes bool
	// KeepBlobs keeps every blob that was asked for in memory, with its digests, instead of making
	// it again for each download: for benchmarks, which measure who downloads.
	KeepBlobs bool
	// NoMD5 leaves Content-MD5 out of blob answers.
	NoMD5 bool
	// MissingFailsBatch refuses a whole DeleteImages or DeletePrediction when one of its ids does
	// not exist (the real behavior is not known); otherwise ids that do not exist are passed over,
	// and only a batch of nothing but such ids is a 404.
	MissingFailsBatch bool
	// DefaultIterationPredictions makes QueryPredictions without iterationId answer for the
	// project's newest trained iteration only (the real behavior is not known); otherwise it
	// answers for all.
	DefaultIterationPredictions bool
	// TrailingPage makes QueryPredictions give a continuation after every full page, so that the
	// last page may be empty.
	TrailingPage bool
}
