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
	conf, err := c.Settings.config(p.ctx, p.env)
	if err != nil {
		return err
	}
	s, err := newService(p.ctx, conf, newLogger(p.stderr, conf.Log))
	if err != nil {
		return err
	}
	return s.run(p.ctx)
}
