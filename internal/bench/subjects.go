package main

import (
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// listen counts all messages that pass NATS during some work, by kind. It takes the server some of
// its time, so nothing is measured meanwhile.
func (r *requester) listen(work func() error) (map[string]float64, error) {
	var mu sync.Mutex
	kinds := map[string]float64{}
	all, err := r.nc.Subscribe(">", func(m *nats.Msg) {
		if strings.HasPrefix(m.Subject, "$JS.EVENT.") { // the server's own, to whom it may concern
			return
		}
		mu.Lock()
		defer mu.Unlock()
		kinds[kindOf(m.Subject)]++
	})
	if err != nil {
		return nil, err
	}
	if err := r.nc.Flush(); err != nil {
		return nil, err
	}
	err = work()
	if err == nil {
		err = all.Unsubscribe()
	}
	mu.Lock()
	defer mu.Unlock()
	return kinds, err
}

// kindOf names what messages are for by their subject: which request to which stream, which stream
// they acknowledge, or the first two words of their subject.
func kindOf(subject string) string {
	words := strings.Split(subject, ".")
	switch {
	case strings.HasPrefix(subject, "_INBOX"):
		return "replies"
	case strings.HasPrefix(subject, "$JS.ACK.") && len(words) > 2:
		return "ACK " + words[2]
	case strings.HasPrefix(subject, "$JS.API."):
		request, rest := words[2:], ""
		for _, known := range []string{"STREAM.MSG.GET", "STREAM.INFO", "CONSUMER.MSG.NEXT", "CONSUMER.INFO", "DIRECT.GET"} {
			if n := strings.Count(known, ".") + 1; strings.HasPrefix(subject, "$JS.API."+known+".") {
				request, rest = words[2:2+n], " "+words[2+n]
			}
		}
		return strings.Join(request, ".") + rest
	}
	return strings.Join(words[:min(2, len(words))], ".")
}
