package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/alecthomas/kong"
)

// refuseSecrets fails where the command line holds a secret: every user of the machine may read it
// there (ps), and shells keep it in their history. A flag with the tag secret is there for its
// variable only.
func refuseSecrets(parsed *kong.Context) error {
	given := map[string]*kong.Flag{}
	for _, path := range parsed.Path {
		if path.Flag != nil && !path.Resolved {
			given[path.Flag.Name] = path.Flag
		}
	}
	refuse := func(what, variable string) error {
		return fmt.Errorf("%w: a command line holds no secrets, since every user of this machine can read it: give %s by $%s or a file", errUsage, what, variable)
	}
	for _, f := range given {
		if f.Tag.Has("secret") {
			return refuse("the value of --"+f.Name, variables(f.Tag)[0])
		}
	}
	if f := given["nats-url"]; f != nil && hasUserInfo(f.Target.String()) {
		return refuse("servers with a password or token", "NATS_URL")
	}
	if given["nats-user"] != nil && !isSet(parsed, "nats-password") && !isSet(parsed, "nats-password-file") {
		return refuse("a token, which --nats-user without a password is,", "NATS_USER")
	}
	return nil
}

// hasUserInfo reports whether a list of servers names a user or a token.
func hasUserInfo(servers string) bool {
	for server := range strings.SplitSeq(servers, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		if u, err := url.Parse(server); err != nil && strings.Contains(server, "@") || err == nil && u.User != nil {
			return true
		}
	}
	return false
}

// isSet reports whether a flag has a value, from whatever source.
func isSet(parsed *kong.Context, name string) bool {
	for _, f := range parsed.Flags() {
		if f.Name == name {
			return !f.Target.IsZero()
		}
	}
	return false
}
