package livepage

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// Limits of the answers that do not end.
const (
	// writeTimeout is how long a viewer may take to take a message.
	writeTimeout = 10 * time.Second
	// quiet is after how long without news a viewer is sent something, to find out that it is gone.
	quiet = 15 * time.Second
	// longest is when a viewer has to come again: it does so by itself.
	longest = 10 * time.Minute
	// between is the least time between two messages.
	between = 500 * time.Millisecond
)

// admit counts a viewer, if there are not too many.
func (p *Page) admit() (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.viewers >= MaxViewers {
		return nil, false
	}
	p.viewers++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.viewers--
	}, true
}

// serveLive sends what changes, as server-sent events. Each is an object of the parts that changed,
// by their ids. A viewer that is slow gets fewer of them, and the latest.
func (p *Page) serveLive(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		return
	}
	leave, ok := p.admit()
	if !ok {
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many viewers", http.StatusServiceUnavailable)
		return
	}
	defer leave()
	defer p.use()()
	control := http.NewResponseController(w)
	// The server's limits are for answers that end.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		http.Error(w, "events cannot be sent over this connection", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	send := func(text string) bool {
		err := control.SetWriteDeadline(time.Now().Add(writeTimeout)) //nolint:forbidigo // a deadline of the connection
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		return err == nil && control.Flush() == nil
	}
	if !send("retry: 3000\n\n") {
		return
	}
	tick := time.NewTicker(between)
	defer tick.Stop()
	var sent uint64 // the version that the viewer has
	last := 0       // when something was sent, in ticks
	for now := 0; now < int(longest/between); now++ {
		v, _ := p.now()
		switch news := v.since(sent); {
		case news != "":
			if !send(fmt.Sprintf("data: %s\n\n", news)) {
				return
			}
			last = now
		case now-last >= int(quiet/between):
			if !send(": nothing new\n\n") {
				return
			}
			last = now
		}
		sent = v.version
		select {
		case <-tick.C:
		case <-p.ended.Done():
			return
		case <-r.Context().Done():
			return
		}
	}
}
