package natstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// clusterSize is how many servers a cluster has.
const clusterSize = 3

// Cluster is three NATS servers in this process that form a real JetStream cluster: streams with
// three replicas have a leader, elections and quorums. The servers listen on loopback ports for
// each other; connections made by Connect need no port.
type Cluster struct {
	Servers [clusterSize]*Server
	dialed  atomic.Uint64 // how often InProcessConn tried a server
}

// NewCluster starts a cluster for a test. It stops when the test ends.
func NewCluster(t TB) *Cluster {
	t.Helper()
	c, err := StartCluster(context.Background())
	if err != nil {
		t.Fatalf("start a NATS cluster: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Fatalf("close the NATS cluster: %v", err)
		}
	})
	return c
}

// StartCluster starts a cluster and returns when it has a leader that sees all servers. The caller
// closes it.
func StartCluster(ctx context.Context) (*Cluster, error) {
	c := &Cluster{}
	ports, err := freePorts(clusterSize)
	if err != nil {
		return nil, err
	}
	// JetStream forms a cluster only with configured routes, so all ports must be known before the
	// first server starts.
	var routes []*url.URL
	for _, port := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	}
	for i := range c.Servers {
		// The server opens its routes only once it listens for clients.
		s, err := newStopped(Options{Addr: "127.0.0.1:0"})
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.Servers[i] = s
		s.opts.ServerName = fmt.Sprintf("n%d", i+1)
		s.opts.Cluster = server.ClusterOpts{Name: "natstest", Host: "127.0.0.1", Port: ports[i], PoolSize: -1}
		s.opts.Routes = routes
	}
	if err := c.Start(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Start starts all stopped servers at once: a single server waits for a second one before it
// becomes ready.
func (c *Cluster) Start() error {
	var errs [clusterSize]error
	var wg sync.WaitGroup
	for i, s := range c.Servers {
		wg.Go(func() { errs[i] = s.Start() })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// Cluster servers listen for each other on ports from firstPort up to, not including, endPort:
// below those that a system gives to processes that ask for any port. Otherwise another process
// could get a port before its server uses it, or while its server is stopped.
const firstPort, endPort = 10000, 30000

// maxPortTries is after how many tries a port that is taken is an error.
const maxPortTries = 100

// freePorts finds n loopback ports that no process listens on, in about maxPortTries tries.
func freePorts(n int) ([]int, error) {
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		port := firstPort + rand.IntN(endPort-firstPort) //nolint:gosec // a port is no secret
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		switch {
		case err == nil:
			defer l.Close() // only when all are found, so that none is found twice
			ports = append(ports, port)
		case tries > maxPortTries:
			return nil, fmt.Errorf("find a free port: %w", err)
		}
	}
	return ports, nil
}

// readyPollInterval is how often WaitReady looks.
const readyPollInterval = 10 * time.Millisecond

// WaitReady waits until the cluster has a leader that sees all running servers.
func (c *Cluster) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPollInterval)
	defer tick.Stop()
	for {
		running, ready := 0, false
		for _, s := range c.Servers {
			if s.Running() {
				running++
			}
		}
		if leader := c.findServer((*server.Server).JetStreamIsLeader); leader != nil {
			leader.mu.Lock()
			ready = leader.srv != nil && len(leader.srv.JetStreamClusterPeers()) >= running
			leader.mu.Unlock()
		}
		if ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the NATS cluster: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Close stops all servers and removes their stores.
func (c *Cluster) Close() error {
	var errs []error
	for _, s := range c.Servers {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// InProcessConn implements nats.InProcessConnProvider. It connects to the servers in turn and skips
// stopped ones, like a client that knows them all.
func (c *Cluster) InProcessConn() (net.Conn, error) {
	var err error
	for range c.Servers {
		var conn net.Conn
		if conn, err = c.Servers[int(c.dialed.Add(1))%clusterSize].InProcessConn(); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// StreamLeader is the server that leads a stream, nil while it has none.
func (c *Cluster) StreamLeader(stream string) *Server {
	return c.findServer(func(s *server.Server) bool { return s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) })
}

// ConsumerLeader is the server that leads a stream's consumer, nil while it has none.
func (c *Cluster) ConsumerLeader(stream, consumer string) *Server {
	return c.findServer(func(s *server.Server) bool {
		return s.JetStreamIsConsumerLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream, consumer)
	})
}

// findServer returns the first running server for which leads is true, nil when there is none.
func (c *Cluster) findServer(leads func(*server.Server) bool) *Server {
	for _, s := range c.Servers {
		s.mu.Lock()
		hit := s.srv != nil && leads(s.srv)
		s.mu.Unlock()
		if hit {
			return s
		}
	}
	return nil
}

// StepDownStream makes a stream's leader step down; another is elected.
func StepDownStream(ctx context.Context, nc *nats.Conn, stream string) error {
	return stepDown(ctx, nc, "$JS.API.STREAM.LEADER.STEPDOWN."+stream)
}

// StepDownConsumer makes a consumer's leader step down; another is elected.
func StepDownConsumer(ctx context.Context, nc *nats.Conn, stream, consumer string) error {
	return stepDown(ctx, nc, "$JS.API.CONSUMER.LEADER.STEPDOWN."+stream+"."+consumer)
}

// stepDown sends a request of JetStream's API that makes a leader step down.
func stepDown(ctx context.Context, nc *nats.Conn, subject string) error {
	request := strings.TrimPrefix(subject, "$JS.API.")
	m, err := nc.RequestWithContext(ctx, subject, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", request, err)
	}
	var answer struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("%s: %w", request, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s", request, answer.Error.Description)
	}
	return nil
}
