//go:build cosign

package main

import (
	"flag"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

var cosign = flag.String("cosign", "cosign", "the program; make cosign builds it")

// The commands of docs/verify.md that need cosign accept a good bag, and none that was changed.
// What cosign does not look at, the comparison of receipt and payload that comes first does.
func TestVerifyWithCosign(t *testing.T) {
	g := readGuide(t)
	for _, kind := range []string{signature.P256, signature.Ed25519} {
		t.Run(kind, func(t *testing.T) {
			b := newSignedBag(t, kind)
			check := func(after string) (ok bool, out string) {
				ok = true
				for _, step := range []struct{ after, prints string }{{"It prints `same`", "same"}, {after, "Verified OK"}} {
					commands := strings.ReplaceAll(g.block(t, step.after), "cosign ", *cosign+" ")
					printed, err := shell(t.Context(), b.dir, commands)
					out += printed
					ok = ok && err == nil && strings.Contains("\n"+printed, "\n"+step.prints)
				}
				return ok, out
			}
			changes := b.changes(t)
			for _, c := range []struct {
				after   string
				changes []struct{ name, how string }
			}{{"## With cosign", changes[:len(changes)-1]}, {"A time stamp\nis checked", changes}} {
				b.restore(t)
				if ok, out := check(c.after); !ok {
					t.Fatalf("a good bag is refused:\n%s", out)
				}
				for _, change := range c.changes {
					b.restore(t)
					mustShell(t, b.dir, change.how)
					ok, out := check(c.after)
					if ok {
						t.Errorf("%s, and it is accepted:", change.name)
					}
					t.Logf("%s:\n%s", change.name, out)
				}
			}
		})
	}
}
