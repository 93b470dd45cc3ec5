package main

import "io"

// outputFlag is the flag of commands that print for people or for programs.
type outputFlag struct {
	Output string `name:"output" short:"o" enum:"text,json" default:"text" placeholder:"FORMAT" help:"text or json; default ${default}."`
}

// json reports whether the result is printed as JSON.
func (f outputFlag) json() bool { return f.Output == "json" }

// printResult prints a result as JSON, or as its method prints it.
func (f outputFlag) printResult(p *program, v interface{ print(w io.Writer) error }) error {
	if f.json() {
		return printJSON(p.stdout, v)
	}
	return v.print(p.stdout)
}

// keyFlag gives the public keys that receipts must be signed with; see readPublicKeys.
type keyFlag struct {
	Key []string `name:"key" sep:"none" placeholder:"FILE" help:"PEM file with a public key: the receipt must be signed with it. May be given several times, and one of them must have signed."`
}

// kindFlag chooses among a command's bundles.
type kindFlag struct {
	Kind string `name:"kind" enum:"export,delete,all" default:"all" placeholder:"KIND" help:"Which of the command's bundles: export, delete or all; default ${default}."`
}
