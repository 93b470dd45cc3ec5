//go:build lean

package main

import "fmt"

// devCmd is consumer dev in the binary for production, which has none of the servers that it needs:
// releases and the image are built with the tag lean.
type devCmd struct {
	Rest []string `arg:"" optional:"" passthrough:"all" hidden:""`
}

// getDev says where the whole program is.
const getDev = "build the whole program: go install github.com/cvconsumer/cvconsumer/cmd/consumer@latest, or make build"

// Help implements kong.HelpProvider.
func (devCmd) Help() string {
	return "This is the program for production, without the NATS server, the S3 server and the simulator that consumer dev runs. To have them, " + getDev + "."
}

// Run says that this program has no consumer dev.
func (devCmd) Run(*program) error {
	return fmt.Errorf("%w: this is the program for production, without consumer dev: %s", errUsage, getDev)
}
