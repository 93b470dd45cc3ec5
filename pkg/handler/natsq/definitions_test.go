package natsq

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

var updateDefinitions = flag.Bool("update-definitions", false, "write deploy/nats")

// TestDefinitions holds the definitions below deploy/nats, for administrators who make the streams
// themselves, to those that this package makes; and makes them all of these files: nothing is
// missing then.
func TestDefinitions(t *testing.T) {
	w := newWorld(t, usualAckWait)
	dir := filepath.Join("..", "..", "..", "deploy", "nats")
	files, nack := map[string][]byte{}, &bytes.Buffer{}
	fmt.Fprint(nack, "# Streams and consumers for nack, the JetStream controller of Kubernetes. Those whose names begin\n"+
		"# with KV_ are key-value buckets. With the service, set CONSUMER_PROVISION=false.\n")
	for _, o := range w.q.objects() {
		text, err := json.MarshalIndent(o.config, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join("streams", o.name+".json")
		switch c := o.config.(type) {
		case jetstream.StreamConfig:
			nackStream(nack, c)
		case jetstream.ConsumerConfig:
			name = filepath.Join("consumers", o.stream+"."+c.Durable+".json")
			nackConsumer(nack, o.stream, c)
		}
		files[name] = append(text, '\n')
	}
	files["nack.yaml"] = nack.Bytes()
	for name, want := range files {
		path := filepath.Join(dir, name)
		if *updateDefinitions {
			if err := os.WriteFile(path, want, 0o644); err != nil { //nolint:gosec // a file of the repository
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("deploy/nats/%s is not what the service makes (%v): run this test with -args -update-definitions", name, err)
		}
	}

	nc := natstest.New(t).Dial(t)
	js, made := jetStream(t, nc), 1
	read := func(folder string, to func(name string) any) {
		t.Helper()
		paths, err := filepath.Glob(filepath.Join(dir, folder, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			made++
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, to(filepath.Base(path))); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
	}
	var streams []*jetstream.StreamConfig
	read("streams", func(string) any {
		streams = append(streams, &jetstream.StreamConfig{})
		return streams[len(streams)-1]
	})
	for _, c := range streams {
		must[jetstream.Stream](t)(js.CreateStream(w.ctx, *c))
	}
	consumers := map[*jetstream.ConsumerConfig]string{}
	read("consumers", func(name string) any {
		c := &jetstream.ConsumerConfig{}
		consumers[c], _, _ = strings.Cut(name, ".")
		return c
	})
	for c, stream := range consumers {
		must[jetstream.Consumer](t)(js.CreateConsumer(w.ctx, stream, *c))
	}
	if made != len(files) {
		t.Errorf("deploy/nats has %d files, and the service makes %d", made, len(files))
	}
	if _, err := Open(w.ctx, nc, options(t, func(o *Options) { o.Provision = false })); err != nil {
		t.Error(err)
	}
}

// nackStream writes a stream as a manifest of nack.
func nackStream(w *bytes.Buffer, c jetstream.StreamConfig) {
	fmt.Fprintf(w, "---\napiVersion: jetstream.nats.io/v1beta2\nkind: Stream\nmetadata:\n  name: %s\nspec:\n  name: %s\n  description: %q\n  subjects:\n", resourceName(c.Name), c.Name, c.Description)
	for _, s := range c.Subjects {
		fmt.Fprintf(w, "    - %q\n", s)
	}
	retention := map[jetstream.RetentionPolicy]string{jetstream.LimitsPolicy: "limits", jetstream.WorkQueuePolicy: "workqueue"}[c.Retention]
	fmt.Fprintf(w, "  retention: %s\n  storage: file\n  discard: new\n  replicas: %d\n", retention, c.Replicas)
	fmt.Fprintf(w, "  maxConsumers: %d\n  maxMsgs: %d\n  maxMsgsPerSubject: %d\n  maxBytes: %d\n  maxMsgSize: %d\n", c.MaxConsumers, c.MaxMsgs, c.MaxMsgsPerSubject, c.MaxBytes, c.MaxMsgSize)
	if c.MaxAge > 0 {
		fmt.Fprintf(w, "  maxAge: %s\n", c.MaxAge)
	}
	if c.Duplicates > 0 {
		fmt.Fprintf(w, "  duplicateWindow: %s\n", c.Duplicates)
	}
	fmt.Fprintf(w, "  allowDirect: %t\n  allowRollup: %t\n  denyDelete: %t\n", c.AllowDirect, c.AllowRollup, c.DenyDelete)
}

// nackConsumer writes a consumer as a manifest of nack.
func nackConsumer(w *bytes.Buffer, stream string, c jetstream.ConsumerConfig) {
	fmt.Fprintf(w, "---\napiVersion: jetstream.nats.io/v1beta2\nkind: Consumer\nmetadata:\n  name: %s-%s\nspec:\n  streamName: %s\n  durableName: %s\n", resourceName(stream), c.Durable, stream, c.Durable)
	if c.FilterSubject != "" {
		fmt.Fprintf(w, "  filterSubject: %s\n", c.FilterSubject)
	}
	fmt.Fprintf(w, "  deliverPolicy: all\n  ackPolicy: explicit\n  ackWait: %s\n  maxDeliver: %d\n  maxAckPending: %d\n  replayPolicy: instant\n", c.AckWait.Round(time.Second), c.MaxDeliver, c.MaxAckPending)
}

// resourceName is a stream's name as Kubernetes permits names.
func resourceName(stream string) string {
	return strings.ToLower(strings.ReplaceAll(stream, "_", "-"))
}
