//go:build !lean

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

type devCmd struct {
	Demo     bool     `name:"demo" help:"Export the sample account, delete one of its projects, check the bundles, report what happened, and exit."`
	Dir      string   `name:"dir" placeholder:"DIR" help:"Folder for all data, kept at exit; default: a temporary folder, removed at exit."`
	NATS     string   `name:"nats" placeholder:"URL" help:"A NATS server with JetStream to use, instead of starting one: for trying the versions and the configuration that you have."`
	NATSPort int      `name:"nats-port" placeholder:"PORT" help:"Port of NATS; default 4222, or a free one when that is taken."`
	S3Port   int      `name:"s3-port" placeholder:"PORT" help:"Port of the S3 server; default 9000, or a free one."`
	APIPort  int      `name:"api-port" placeholder:"PORT" help:"Port of the Training API simulator; default 9080, or a free one."`
	HTTPPort int      `name:"http-port" placeholder:"PORT" help:"Port of the consumer's own pages; default 8080, or a free one."`
	Verbose  bool     `name:"verbose" short:"v" help:"Show the consumer's whole log, not only warnings."`
	Command  []string `arg:"" optional:"" passthrough:"partial" help:"After --: a command to run against all that, with the settings in its environment; consumer dev exits with its exit code."`
}

// Help implements kong.HelpProvider.
func (devCmd) Help() string {
	return "Starts NATS with JetStream, an S3 server, a simulated Custom Vision account with sample data, and the consumer, on real sockets on loopback. Prints how to use them with " +
		"stock tools. Ignores the settings in its environment. consumer dev -- COMMAND runs a command against all that, and stops when the command ends."
}

// devBucket is the bucket that consumer dev keeps bundles in.
const devBucket = "bundles"

// Run starts everything and waits for the first signal, or for the demo or command to end.
func (c devCmd) Run(p *program) (err error) {
	command := c.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if c.Demo && len(command) > 0 {
		return fmt.Errorf("%w: --demo and a command: use one", errUsage)
	}
	if !c.Demo && len(command) == 0 {
		return c.with(p, func(w *world) error {
			w.print(p.stdout)
			<-p.ctx.Done()
			fmt.Fprintln(p.stdout, "stopping")
			return nil
		})
	}
	return c.with(p, func(w *world) error {
		if c.Demo {
			return w.demo(p)
		}
		return w.runCommand(p, command)
	})
}

// with starts everything, calls use, and ends everything. When the consumer fails meanwhile, its
// error counts.
func (c devCmd) with(p *program, use func(*world) error) (err error) {
	w, err := c.start(p)
	defer func() { err = errors.Join(err, w.close()) }()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	service, err := newService(ctx, w.config, w.log)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- service.run(ctx) }()
	select {
	case w.http = <-service.listening:
	case err := <-ended:
		return err
	}
	select {
	case <-service.serving:
	case err := <-ended:
		return err
	}
	if err := service.health.Ready(ctx); err != nil { // interrupted
		return <-ended
	}
	result := use(w)
	cancel(delivery.ErrStopping)
	return errors.Join(result, <-ended)
}

// world is everything consumer dev runs.
type world struct {
	dir, workDir string
	temporary    bool
	notes        []string // what is not as usual
	log          zerolog.Logger

	nats   *natstest.Server // nil with a server of the user's
	server string           // the URL of either
	store  *sinktest.Server
	vision *cvtest.Server
	sample []*cvtest.Project
	config config // the consumer's
	http   string // where its pages are
}

// start starts the servers. The world it gives is to be closed, also with an error.
func (c devCmd) start(p *program) (*world, error) {
	level := zerolog.WarnLevel
	if c.Verbose {
		level = zerolog.InfoLevel
	}
	w := &world{log: newLogger(p.stderr, logConfig{Level: level, Console: true})}
	var err error
	if w.workDir, err = os.Getwd(); err != nil {
		return w, fmt.Errorf("find the working directory: %w", err)
	}
	if err := w.makeDir(c.Dir); err != nil {
		return w, err
	}
	if err := c.checkPorts(); err != nil {
		return w, err
	}
	usual := !c.Demo && len(c.Command) == 0 // ports that people know; otherwise free ones, so that several can run at once
	addr := func(name string, chosen, preferred int) string {
		if chosen != 0 {
			return loopback(chosen)
		}
		if !usual {
			return loopback(0)
		}
		if l, err := net.Listen("tcp", loopback(preferred)); err == nil { //nolint:noctx // bound and closed at once
			l.Close()
			return loopback(preferred)
		}
		w.notes = append(w.notes, fmt.Sprintf("port %d is taken: %s listens on a free one (--%s-port chooses)", preferred, name, strings.ToLower(name)))
		return loopback(0)
	}
	if w.server = c.NATS; w.server == "" {
		if w.nats, err = natstest.Start(natstest.Options{Dir: filepath.Join(w.dir, "nats"), Addr: addr("NATS", c.NATSPort, 4222)}); err != nil {
			return w, err
		}
		w.server = w.nats.URL()
	}
	w.vision = cvtest.New(cvtest.Options{Seed: 1})
	if err := w.vision.Listen(addr("API", c.APIPort, 9080)); err != nil {
		return w, err
	}
	w.sample = w.vision.Sample()
	storeAddr := addr("S3", c.S3Port, 9000)
	if storeAddr == loopback(0) {
		storeAddr = "" // it wants to choose itself
	}
	if w.store, err = sinktest.StartWith(sinktest.Options{Dir: filepath.Join(w.dir, "s3"), Addr: storeAddr, Quiet: true}); err != nil {
		return w, err
	}
	if err := w.store.CreateBucket(p.ctx, devBucket, sinktest.BucketOptions{}); err != nil {
		return w, err
	}
	if w.config, err = configFrom(p.ctx, w.environment()); err != nil {
		return w, err
	}
	w.config.Resources[0].MaxRPS = 1000 // a simulator needs no sparing
	w.config.HTTPAddr = addr("HTTP", c.HTTPPort, 8080)
	w.config.Drain = 5 * time.Second
	// The S3 server's own transport: a server that drains waits for connections that clients keep
	// for later, and it knows how to close these.
	w.config.S3.Transport = w.store.Transport()
	return w, nil
}

// checkPorts fails for a port that was asked for and cannot be listened on.
func (c devCmd) checkPorts() error {
	for _, port := range []struct {
		flag   string
		number int
	}{{"nats", c.NATSPort}, {"s3", c.S3Port}, {"api", c.APIPort}, {"http", c.HTTPPort}} {
		if port.number == 0 {
			continue
		}
		l, err := net.Listen("tcp", loopback(port.number)) //nolint:noctx // bound and closed at once
		if err != nil {
			return fmt.Errorf("%w: --%s-port %d: %w: choose another one, or leave the flag out", errUsage, port.flag, port.number, err)
		}
		l.Close()
	}
	return nil
}

// makeDir finds the place of all data.
func (w *world) makeDir(dir string) error {
	var err error
	if dir == "" {
		w.temporary = true
		if w.dir, err = os.MkdirTemp("", "consumer-dev-*"); err != nil {
			return fmt.Errorf("make a folder for the data: %w", err)
		}
		return nil
	}
	if w.dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return fmt.Errorf("make a folder for the data: %w", err)
	}
	return nil
}

func (w *world) close() error {
	var errs []error
	if w.vision != nil {
		w.vision.Close()
	}
	if w.store != nil {
		errs = append(errs, w.store.Close())
	}
	if w.nats != nil {
		errs = append(errs, w.nats.Close())
	}
	if w.temporary && w.dir != "" {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// environment is what programs need to work with this world; `consumer run` takes it, too.
func (w *world) environment() []string {
	return []string{
		"NATS_URL=" + w.server,
		"AWS_ENDPOINT_URL_S3=" + w.store.Endpoint,
		"AWS_REGION=" + w.store.Region,
		"AWS_ACCESS_KEY_ID=" + w.store.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + w.store.SecretKey,
		"CONSUMER_BUCKET=" + devBucket,
		"CONSUMER_BLOB_HOSTS=" + strings.TrimPrefix(w.vision.BlobURL(), "http://"),
		"VISION_TRAINING_ENDPOINT=" + w.vision.URL(),
		"VISION_TRAINING_KEY=" + w.vision.Key(),
	}
}

// print says what runs where, and what to do with it.
func (w *world) print(out io.Writer) {
	var export strings.Builder
	for _, v := range w.environment() {
		export.WriteString("export " + v + "\n")
	}
	file := filepath.Join(w.dir, "env")
	if err := os.WriteFile(file, []byte(export.String()), 0o600); err != nil {
		w.notes = append(w.notes, fmt.Sprintf("the settings could not be written to a file: %v", err))
	}
	kept := "removed at exit"
	if !w.temporary {
		kept = "kept"
	}
	images := 0
	for _, one := range w.sample {
		images += len(one.Images)
	}
	fmt.Fprintf(out, `NATS          %s
S3            %s  bucket %s, region %s, key %s, secret %s
Training API  %s  simulated: %d projects, %d images; key %s
consumer      http://%s  / (live page) /healthz /readyz /metrics
data          %s  %s
`, w.config.NATS.URL, w.store.Endpoint, devBucket, w.store.Region, w.store.AccessKey, w.store.SecretKey,
		w.vision.URL(), len(w.sample), images, w.vision.Key(), w.http, w.dir, kept)
	for _, note := range w.notes {
		fmt.Fprintf(out, "note: %s\n", note)
	}
	self := callable()
	fmt.Fprintf(out, `
In a second shell, see what happens:

  . %[1]s
  nats sub 'cv.events.>'

In a third, with stock tools and with this program:

  . %[1]s
  nats pub -J cv.commands.export '{"all_projects":true}' -H Nats-Msg-Id:req-1
  aws s3 cp --recursive --endpoint-url %[2]s s3://%[3]s/req-1/export/ req-1/
  (cd req-1 && sha256sum -c manifest-sha256.txt && sha256sum -c tagmanifest-sha256.txt) > /dev/null && echo ok

  %[4]s export --all-projects --id req-2
  %[4]s verify s3://%[3]s/req-2/export/

Ctrl-C here ends it.
`, file, w.store.Endpoint, devBucket, self)
}

// callable is how another shell, in another folder, calls this program: by its name where PATH has
// it, else by its path.
func callable() string {
	const name = "consumer"
	self, err := os.Executable()
	if err != nil {
		return name
	}
	ours, err := os.Stat(self)
	if err != nil {
		return name
	}
	if found, err := exec.LookPath(name); err == nil {
		if theirs, err := os.Stat(found); err == nil && os.SameFile(ours, theirs) {
			return name
		}
	}
	return self
}

// runCommand runs a program with this world's settings in its environment, in the folder the user
// was in.
func (w *world) runCommand(p *program, command []string) error {
	cmd := exec.CommandContext(p.ctx, command[0], command[1:]...) //nolint:gosec // running what the user asks for is the feature
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.stdin, p.raw, p.stderr
	cmd.Dir = w.workDir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	ours := w.environment()
	for name, value := range p.env.vars {
		if name != "PWD" && !foreign(name) {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	slices.Sort(cmd.Env)
	cmd.Env = append(cmd.Env, ours...)
	cmd.Env = append(cmd.Env, "PWD="+w.workDir)
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return childExit(exit.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	return nil
}

// foreign reports whether a variable is a setting that would point a program at other servers.
func foreign(name string) bool {
	return slices.ContainsFunc([]string{"NATS_", "AWS_", "VISION_", "CONSUMER_"}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
