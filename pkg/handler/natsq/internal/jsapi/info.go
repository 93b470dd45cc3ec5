package jsapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// StreamInfo is what a stream's leader reports about it.
type StreamInfo struct {
	Created time.Time `json:"created"`
	Config  struct {
		MaxBytes int64 `json:"max_bytes"` // none when not positive
	} `json:"config"`
	State struct {
		Messages  int64     `json:"messages"`
		Bytes     int64     `json:"bytes"`
		First     uint64    `json:"first_seq"`
		FirstTime time.Time `json:"first_ts"`
		Last      uint64    `json:"last_seq"`
		Deleted   []uint64  `json:"deleted"` // between them; only when asked for
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

// CheckLeader fails if a stream has no leader, or its leader does not answer one request.
func (c *Client) CheckLeader(ctx context.Context, stream string) error {
	var answer struct {
		Cluster *struct {
			Leader string `json:"leader"`
		} `json:"cluster"`
	}
	if err := c.APIRequestOnce(ctx, 0, "STREAM.INFO."+stream, nil, &answer); err != nil {
		return fmt.Errorf("read the info of stream %s: %w", stream, err)
	}
	if answer.Cluster != nil && answer.Cluster.Leader == "" {
		return fmt.Errorf("stream %s has no leader", stream)
	}
	return nil
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

// ErrLeaderBehind means that a leader does not know a message yet: it was just elected and has not
// caught up.
var ErrLeaderBehind = errors.New("the leader does not know this sequence yet")

// Holds reports whether the stream with this identity has the message with this sequence, without
// reading it. A leader that is behind is asked again.
func (c *Client) Holds(ctx context.Context, stream, identity string, seq uint64) (holds bool, err error) {
	retriesIfBehind := MaxStaleAnswers
	err = c.RetryUntilDone(ctx, stream, func(try int) error {
		info, err := c.StreamInfoOnce(ctx, try, stream)
		switch {
		case err != nil:
			return TransientUnlessPermanent(err)
		case info.Identity() != identity, seq < info.State.First:
			return nil
		case info.State.Last < seq && retriesIfBehind > 0:
			retriesIfBehind--
			return TransientError{Err: ErrLeaderBehind}
		case info.State.Last < seq:
			return nil
		}
		// A list of all that left the stream out of turn: it is asked for only where it decides.
		err = c.APIRequestOnce(ctx, try, "STREAM.INFO."+stream, map[string]bool{"deleted_details": true}, &info)
		holds = info.Identity() == identity && info.State.First <= seq && !slices.Contains(info.State.Deleted, seq)
		return TransientUnlessPermanent(err)
	})
	return holds && err == nil, err
}
