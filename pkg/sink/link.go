package sink

import (
	"context"
	"fmt"
	"mime"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// MaxLink is how long a link can work at most: the signature's version 4 allows no more.
const MaxLink = 7 * 24 * time.Hour

// Link is a signed address by which one object can be read without credentials.
type Link struct {
	URL     string
	Expires time.Time // it does not work afterwards

	// The credentials that signed it are temporary: it ends with them, which may be earlier. Where
	// their end is known, Expires is not after it.
	Temporary bool
}

// Link signs a link to an object, which works from now on for as long as it lasts, at most MaxLink.
// Browsers show the object, or save it under a name if one is given. Nothing is sent to the store,
// and the object need not be there. Errors: those of finding credentials.
func (s *Store) Link(ctx context.Context, key Key, saveAs string, lasts time.Duration, now time.Time) (Link, error) {
	if lasts < time.Second || lasts > MaxLink {
		return Link{}, fmt.Errorf("sign link: it can last from 1s to %s, not %s", MaxLink, lasts)
	}
	from, err := s.api.Options().Credentials.Retrieve(ctx)
	if err != nil {
		return Link{}, wrapError(ctx, "find the credentials to sign a link with", key, err)
	}
	in := &s3.GetObjectInput{Bucket: &s.o.Bucket, Key: aws.String(string(key))}
	if saveAs != "" {
		in.ResponseContentDisposition = aws.String(mime.FormatMediaType("attachment", map[string]string{"filename": saveAs}))
	}
	signed, err := s3.NewPresignClient(s.api).PresignGetObject(ctx, in, s3.WithPresignExpires(lasts))
	if err != nil {
		return Link{}, wrapError(ctx, "sign link", key, err)
	}
	link := Link{URL: signed.URL, Expires: now.Add(lasts).UTC().Truncate(time.Second), Temporary: from.SessionToken != ""}
	if link.Temporary && from.CanExpire && from.Expires.Before(link.Expires) {
		link.Expires = from.Expires.UTC().Truncate(time.Second)
	}
	return link, nil
}
