package listeners

import "sync"

// Listeners are the coordinators in this process that listen for results, by the ids of their
// commands. The zero value is ready.
type Listeners struct {
	mu sync.Mutex
	by map[string]map[chan<- int]struct{}
}

// Add has a coordinator hear of results until remove is called, which closes its channel.
func (l *Listeners) Add(id string, numbers chan<- int) (remove func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string]map[chan<- int]struct{}{}
	}
	if l.by[id] == nil {
		l.by[id] = map[chan<- int]struct{}{}
	}
	l.by[id][numbers] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, there := l.by[id][numbers]; !there {
			return
		}
		close(numbers)
		if delete(l.by[id], numbers); len(l.by[id]) == 0 {
			delete(l.by, id)
		}
	}
}

// Tell tells the coordinators of a command, and reports whether there are any. One that lags behind
// is not told.
func (l *Listeners) Tell(id string, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for numbers := range l.by[id] {
		offer(numbers, n)
	}
	return len(l.by[id]) > 0
}

// TellOne tells one coordinator, if it still listens.
func (l *Listeners) TellOne(id string, numbers chan<- int, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.by[id][numbers]; there {
		offer(numbers, n)
	}
}

func offer(numbers chan<- int, n int) {
	select {
	case numbers <- n:
	default:
	}
}
