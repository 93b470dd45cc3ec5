package account

import (
	"fmt"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// Names says which account of the service each resource alias means.
type Names struct {
	Clients map[string]*cv.Client // by alias
	Names   map[string]string     // configured names, by alias
}

// Of names the account of a resource, for what must not be taken for another account's: its
// configured name, else the host, with the alias where several accounts share it. It is empty for
// an alias that is not configured.
func (a Names) Of(alias string) string {
	client, ok := a.Clients[alias]
	switch {
	case !ok:
		return ""
	case a.Names[alias] != "":
		return strings.ToLower(a.Names[alias])
	case client.OwnHost():
		return client.Host()
	default:
		return client.Host() + "/" + alias
	}
}

// Same reports whether the account of this name, which the alias means, is the one that an earlier
// command was about. Where either name is unknown, the aliases are compared. The case of letters
// does not matter in names: no two aliases differ in that alone.
func Same(name, alias string, earlier contract.CommandRef) bool {
	if name == "" || earlier.Account == "" {
		return alias == earlier.Resource
	}
	return strings.EqualFold(name, earlier.Account)
}

// Endpoint is an account at the host of the Training API where it answers.
type Endpoint struct{ Host, Name string }

// CheckUnmoved fails, as misconfigured, when a resource's alias no longer means the account that it
// meant when the command began: absence elsewhere proves nothing.
func CheckUnmoved(alias string, now, begun Endpoint) error {
	if begun.Name == "" && begun.Host == now.Host { // it began before accounts were written down
		return nil
	}
	if !strings.EqualFold(now.Name, begun.Name) {
		return fmt.Errorf("%w: resource %s is at another endpoint now: it means account %s at %s, and meant %s at %s when the command began: "+
			"point it back (CONSUMER_RESOURCES or VISION_TRAINING_ENDPOINT) or, if the account is the same, set account to %s in CONSUMER_RESOURCES",
			cv.ErrMisconfigured, alias, now.Name, now.Host, begun.Name, begun.Host, begun.Name)
	}
	return nil
}
