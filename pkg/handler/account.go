package handler

import (
	"fmt"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// accountNames says which account of the service each resource alias means.
type accountNames struct {
	clients map[string]*cv.Client // by alias
	names   map[string]string     // configured names, by alias
}

// of names the account of a resource, for what must not be taken for another account's: its
// configured name, else the host, with the alias where several accounts share it. It is empty for
// an alias that is not configured.
func (a accountNames) of(alias string) string {
	client, ok := a.clients[alias]
	switch {
	case !ok:
		return ""
	case a.names[alias] != "":
		return strings.ToLower(a.names[alias])
	case client.OwnHost():
		return client.Host()
	default:
		return client.Host() + "/" + alias
	}
}

// sameAccount reports whether a command about the account of this name, which its alias means, is
// about the account that an earlier one was about. The alias alone tells only where an account is
// not known.
func sameAccount(name, alias string, earlier contract.CommandRef) bool {
	if name == "" || earlier.Account == "" {
		return alias == earlier.Resource
	}
	return name == earlier.Account
}

// endpoint is an account at the host of the Training API where it answers.
type endpoint struct{ host, name string }

// checkUnmoved fails, as misconfigured, when a resource's alias no longer means the account that it
// meant when the command began: absence elsewhere proves nothing.
func checkUnmoved(alias string, now, begun endpoint) error {
	if begun.name == "" && begun.host == now.host { // it began before accounts were written down
		return nil
	}
	if now.name != begun.name {
		return fmt.Errorf("%w: resource %s is at another endpoint now: it means account %s at %s, and meant %s at %s when the command began: "+
			"point it back (CONSUMER_RESOURCES or VISION_TRAINING_ENDPOINT)", cv.ErrMisconfigured, alias, now.name, now.host, begun.name, begun.host)
	}
	return nil
}
