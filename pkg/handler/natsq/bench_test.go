package natsq

import (
	"fmt"
	"testing"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// Reading what is pending is what finding earlier commands costs.
func BenchmarkCommandsBetween(b *testing.B) {
	ctx := b.Context()
	q, err := Open(ctx, natstest.New(b).Dial(b), Options{Provision: true, Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	const all = 10_000
	for n := range all {
		if _, err := q.PublishCommand(ctx, contract.Message{Subject: "cv.commands.export", Header: map[string][]string{"Nats-Msg-Id": {fmt.Sprint(n)}}, Body: []byte("{}")}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		for _, err := range q.CommandsBetween(ctx, 0, jsapi.MaxSequence) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != all {
			b.Fatalf("%d commands", n)
		}
	}
}
