package account_test

import (
	"errors"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
)

// TestSameAccount compares the account that an alias means with the one that it meant when a
// command began: by name, wherever the endpoint is; the alias counts only where no name is known.
func TestSameAccount(t *testing.T) {
	const regional, own = "region.api.cognitive.microsoft.com", "faces.cognitiveservices.azure.com"
	for _, c := range []struct {
		name           string
		now, begun     account.Endpoint
		alias, earlier string
		same, unmoved  bool
	}{
		{name: "nothing changed", now: account.Endpoint{Host: own, Name: own}, begun: account.Endpoint{Host: own, Name: own}, same: true, unmoved: true},
		{name: "the endpoint was renamed", now: account.Endpoint{Host: own, Name: "faces"}, begun: account.Endpoint{Host: regional, Name: "faces"}, same: true, unmoved: true},
		{name: "named as it was without a name", now: account.Endpoint{Host: own, Name: regional + "/us"}, begun: account.Endpoint{Host: regional, Name: regional + "/US"}, same: true, unmoved: true},
		{name: "renamed, and nothing says that it is the same", now: account.Endpoint{Host: own, Name: own}, begun: account.Endpoint{Host: regional, Name: regional + "/us"}},
		{name: "another alias at the same endpoint", now: account.Endpoint{Host: regional, Name: regional + "/eu"}, begun: account.Endpoint{Host: regional, Name: regional + "/us"}},
		{name: "begun before accounts had names", now: account.Endpoint{Host: own, Name: own}, begun: account.Endpoint{Host: own}, alias: "us", earlier: "us", same: true, unmoved: true},
		{name: "begun before, under another alias", now: account.Endpoint{Host: own, Name: own}, begun: account.Endpoint{Host: own}, alias: "us", earlier: "eu", unmoved: true},
	} {
		if got := account.Same(c.now.Name, c.alias, contract.CommandRef{Account: c.begun.Name, Resource: c.earlier}); got != c.same {
			t.Errorf("%s: the same account: %t", c.name, got)
		}
		if err := account.CheckUnmoved("us", c.now, c.begun); (err == nil) != c.unmoved || err != nil && !errors.Is(err, cv.ErrMisconfigured) {
			t.Errorf("%s: unmoved: %v", c.name, err)
		}
	}
}
