package unit

import (
	"context"
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Model is the size and digest of a model that an attempt of a unit streamed to the store. The
// object of the model has no seal, since its metadata was sent before its digest was known: this
// working object is sealed in its place, and is stored before the upload is completed. An attempt
// that finds an object at the model's path takes it for the command's own only where its content is
// what a Model of its unit says.
type Model struct {
	V      int       `json:"v"`
	N      int       `json:"n"`
	Path   sink.Path `json:"path"` // in the bag
	Bytes  int64     `json:"bytes"`
	SHA256 string    `json:"sha256"`
}

// ModelPrefix is what the names of all Models of unit n begin with.
func ModelPrefix(n int) string { return fmt.Sprintf("units/%06d.model-", n) }

// Name is the working object of a Model. Attempts that got different content have one each.
func (m Model) Name() string { return ModelPrefix(m.N) + m.SHA256 }

// FindModel is the object at a model's path, where its content is what a Model of unit n says; nil
// where there is no such object. own is the store of the unit's working objects.
func FindModel(ctx context.Context, store, own *sink.Store, l sink.Layout, n int, at sink.Path) (*sink.Object, error) {
	for listed, err := range own.List(ctx, l.Work(ModelPrefix(n))) {
		if err != nil {
			return nil, fmt.Errorf("list the digests of models: %w", err)
		}
		b, err := own.ReadAll(ctx, listed.Key, MaxLine)
		if errors.Is(err, sink.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the digest of a model: %w", err)
		}
		var m Model
		if err := contract.DecodeUpTo(Version, b, string(listed.Key), &m); err != nil {
			return nil, err
		}
		if m.Path != at {
			continue
		}
		o := sink.Object{Key: l.Key(sink.ExportBag, at), Bytes: m.Bytes, SHA256: m.SHA256, Adopted: true}
		if holds, err := store.Holds(ctx, o); err != nil || holds {
			return &o, err //nolint:wrapcheck // the store says what it read
		}
	}
	return nil, nil
}
