package livepage

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// Limits of the answers that do not end.
const (
	// writeTimeout bounds how long sending a message may take.
	writeTimeout = 10 * time.Second
	// keepAlive is after how long without news a comment is sent, to find out that a viewer is
	// gone.
	keepAlive = 15 * time.Second
	// maxStream is how long one answer lasts. The browser then connects again by itself.
	maxStream = 10 * time.Minute
	// minInterval is the least time between two messages.
	minInterval = 500 * time.Millisecond
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

// serveLive sends what changes, as server-sent events. Each is an object with the parts that
// changed, by their ids. A slow viewer gets fewer events, with the latest state.
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
	tick := time.NewTicker(minInterval)
	defer tick.Stop()
	var sent uint64 // the version that the viewer has
	last := 0       // when something was sent, in ticks
	for now := 0; now < int(maxStream/minInterval); now++ {
		v, _ := p.now()
		switch news := v.since(sent); {
		case news != "":
			if !send(fmt.Sprintf("data: %s\n\n", news)) {
				return
			}
			last = now
		case now-last >= int(keepAlive/minInterval):
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
