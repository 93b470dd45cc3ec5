package main

type runCmd struct {
	Settings serviceSettings `embed:""`
}

// Help implements kong.HelpProvider.
func (runCmd) Help() string {
	return "Waits for servers that are not reachable yet; /readyz names them. On the first SIGTERM it finishes or hands back the work that it holds, and exits 0. On the second it exits at once."
}

// Run runs the service until the first signal.
func (c runCmd) Run(p *program) error {
	p.words.json.Store(p.env.vars["CONSUMER_LOG_FORMAT"] == "json") // it may be the settings that are wrong
	conf, err := c.Settings.config(p.ctx, p.env)
	if err != nil {
		return err
	}
	p.words.json.Store(!conf.Log.Console)
	log := newLogger(p.stderr, conf.Log)
	takeStandardLog(log)
	raiseHeapFloor()
	s, err := newService(p.ctx, conf, log)
	if err != nil {
		return err
	}
	return s.run(p.ctx)
}
