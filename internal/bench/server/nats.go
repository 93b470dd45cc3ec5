package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// queue is the NATS server.
type queue struct {
	*natstest.Server
	monitor string
}

func startNATS(dir string) (*queue, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // bound and closed at once
	if err != nil {
		return nil, err
	}
	monitor := free.Addr().(*net.TCPAddr)
	if err := free.Close(); err != nil {
		return nil, err
	}
	s, err := natstest.Start(natstest.Options{Dir: dir, Addr: "127.0.0.1:0", Configure: func(o *natsserver.Options) {
		o.HTTPHost, o.HTTPPort = monitor.IP.String(), monitor.Port
	}})
	if err != nil {
		return nil, err
	}
	return &queue{Server: s, monitor: "http://" + monitor.String()}, nil
}

func (q *queue) settings() map[string]string { return map[string]string{"NATS_URL": q.URL()} }

// answer counts the messages between the server and its clients so far.
func (q *queue) answer(words []string) (any, error) {
	if len(words) != 1 || words[0] != "messages" {
		return nil, unknown(words)
	}
	resp, err := http.Get(q.monitor + "/varz") //nolint:noctx,gosec // of the server in this process
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var counts struct {
		In  int64 `json:"in_msgs"`
		Out int64 `json:"out_msgs"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&counts); err != nil {
		return nil, fmt.Errorf("read the counts of NATS: %w", err)
	}
	return map[string]int64{"in": counts.In, "out": counts.Out}, nil
}
