package jsapi

import (
	"context"
	"fmt"
	"time"
)

// StreamInfo is what a stream's leader reports about it.
type StreamInfo struct {
	Created time.Time `json:"created"`
	Config  struct {
		MaxBytes int64 `json:"max_bytes"` // none when not positive
	} `json:"config"`
	State struct {
		Bytes   int64    `json:"bytes"`
		First   uint64   `json:"first_seq"`
		Last    uint64   `json:"last_seq"`
		Deleted []uint64 `json:"deleted"` // between them; only when asked for
	} `json:"state"`
}

// Identity is the time of the stream's creation as text: RFC 3339 with nanoseconds, in UTC.
func (i StreamInfo) Identity() string { return i.Created.UTC().Format(time.RFC3339Nano) }

// StreamInfoOnce reads a stream's info from its leader, in one try.
func (c *Client) StreamInfoOnce(ctx context.Context, try int, stream string) (StreamInfo, error) {
	var info StreamInfo
	err := c.APIRequestOnce(ctx, try, "STREAM.INFO."+stream, nil, &info)
	return info, err
}

// StreamIdentity asks the leader for a stream's identity until it answers.
func (c *Client) StreamIdentity(ctx context.Context, stream string) (string, error) {
	var info StreamInfo
	err := c.RetryUntilDone(ctx, stream, func(try int) error {
		var err error
		info, err = c.StreamInfoOnce(ctx, try, stream)
		return TransientUnlessPermanent(err)
	})
	if err != nil {
		return "", fmt.Errorf("read the info of stream %s: %w", stream, err)
	}
	return info.Identity(), nil
}
