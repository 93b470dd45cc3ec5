package main

import (
	"io"
	stdlog "log"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// timeFormat is that of times in logs: RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

func init() { zerolog.TimeFieldFormat = timeFormat } // there is one for the process

// logSettings say what this process logs, and how.
type logSettings struct {
	Level  string `name:"log-level" var:"CONSUMER_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error; default ${default}."`
	Format string `name:"log-format" var:"CONSUMER_LOG_FORMAT" default:"json" placeholder:"FORMAT" help:"json or console; default ${default}."`
}

type logConfig struct {
	Level   zerolog.Level
	Console bool
}

func (s logSettings) config(p *problems) logConfig {
	levels := []string{"debug", "info", "warn", "error"}
	level := p.choice("CONSUMER_LOG_LEVEL", s.Level, levels...)
	c := logConfig{Console: p.choice("CONSUMER_LOG_FORMAT", s.Format, "json", "console") == "console"}
	c.Level, _ = zerolog.ParseLevel(level) // one of four that it knows
	return c
}

// newLogger writes to w as configured.
func newLogger(w io.Writer, c logConfig) zerolog.Logger {
	if c.Console {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !isTerminal(w), TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(zerolog.SyncWriter(w)).Level(c.Level).With().Timestamp().Logger()
}

// textLog takes what other packages log as text, an entry at a time.
type textLog struct {
	log  zerolog.Logger
	from string
}

func (l textLog) Write(p []byte) (int, error) {
	l.log.Warn().Str("from", l.from).Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}

// takeStandardLog has the log of Go's standard library, which packages may write to, go into a log.
// There is one for the process.
func takeStandardLog(log zerolog.Logger) {
	stdlog.SetFlags(0)
	stdlog.SetOutput(textLog{log, "go"})
}

// lastWords is standard error for what is in no log: why the program ends. Where the log is JSON,
// it is a line of that, too.
type lastWords struct {
	w    io.Writer
	json atomic.Bool
}

func (l *lastWords) Write(p []byte) (int, error) {
	if !l.json.Load() {
		return l.w.Write(p) //nolint:wrapcheck // a Writer's error is its writer's
	}
	log := zerolog.New(l.w).With().Timestamp().Logger()
	log.Error().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}
