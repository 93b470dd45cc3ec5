package deletion

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleterecord"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// id is a made-up id that ends in n.
func id(n byte) uuid.UUID { return uuid.UUID{0: 0xaa, 15: n} }

// TestCertificateOfAPerson makes the certificate of a delete by metadata: it says what was
// selected, by a pseudonym, and who asked for it.
func TestCertificateOfAPerson(t *testing.T) {
	value := contract.NewPseudonymizer([]byte("a key")).Value("person-1")
	d := &Deleter{begun: beginning{
		Facts: []deleteplan.Facts{{ID: id(1), Name: "Faces \u202e<b>"}},
		Request: bag.Request{Source: "urn:example:privacy-desk", Data: contract.Scope{
			AllProjects: true, ImageMetadata: []map[string]string{{"subject": value, "branch": value}}, Categories: []contract.Category{contract.CategoryImages},
		}},
	}}
	page, err := d.certificate(bagfile.Deletion{ID: "del-1", Projects: []bagfile.DeletionProject{{ID: id(1), Name: "Faces \u202e<b>"}}}, bagfile.Verification{}, deleterecord.Cut{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"all projects of the account", "images whose metadata has &#34;branch&#34; = " + value + " and &#34;subject&#34; = " + value, "urn:example:privacy-desk",
		`<th scope="row">Categories</th><td>images</td>`, id(1).String(), `Faces \u202e&lt;b&gt;`,
	} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("it does not say %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", page)
	}
}

// TestEachProofIsNamed has a sentence of its own for each operation that can show that something is
// gone.
func TestEachProofIsNamed(t *testing.T) {
	for _, category := range bagfile.Categories() {
		said := map[string]string{deleterecord.VerifiedBy(bagfile.Deleted{Category: bagfile.Tags}): "no operation"}
		for _, by := range bagfile.Proofs(category) {
			how := deleterecord.VerifiedBy(bagfile.Deleted{Category: category, VerifiedBy: by})
			if other, twice := said[how]; twice || strings.Contains(how, ", or ") {
				t.Errorf("%s seen to be gone by %s are told like those by %s: %q", category, by, other, how)
			}
			said[how] = by
		}
	}
}
