package main

import (
	"io"

	"github.com/rs/zerolog"
)

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
