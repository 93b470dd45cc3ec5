package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// programs are the executables of a benchmark.
type programs struct {
	server, relay, script, consumer string

	node, nodeScript string // Node, and the script that it runs; empty where that takes no part
}

// profiled makes a program of package main profile itself where the benchmark asks for it.
const profiled = "package main\n\nimport _ \"" + module + "/internal/bench/profile\"\n"

const (
	module = "github.com/cvconsumer/cvconsumer"
	sdk    = "pkg/cv/cvtest/sdk" // the module that has Microsoft's SDK, in the folder of ours
)

// build builds what is needed into dir. The consumer is the program for production; with profiles
// it has one file more, which it is given for this build only. Scripts are built where they take
// part.
func build(ctx context.Context, dir string, profiles bool, contenders []string) (programs, error) {
	root, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return programs{}, err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	all := programs{server: at("server"), relay: at("relay"), script: at("script"), consumer: at("consumer")}
	if _, err := output(ctx, root, "go", "build", "-o", dir+"/", "./internal/bench/server", "./internal/bench/relay"); err != nil {
		return programs{}, err
	}
	if slices.Contains(contenders, habit) {
		if _, err := output(ctx, filepath.Join(root, sdk), "go", "build", "-o", all.script, "./script"); err != nil {
			return programs{}, err
		}
	}
	if slices.Contains(contenders, nodeHabit) {
		if all.node, all.nodeScript, err = installNode(ctx, filepath.Join(root, "internal", "bench", "npm"), at("npm")); err != nil {
			return programs{}, err
		}
	}
	args := []string{"build", "-tags", "lean", "-o", all.consumer}
	if profiles {
		source, overlay := at("profile.go"), at("overlay.json")
		replaced, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, "cmd", "consumer", "bench_profile.go"): source}})
		if err != nil {
			return programs{}, err
		}
		for path, content := range map[string][]byte{source: []byte(profiled), overlay: replaced} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				return programs{}, err
			}
		}
		args = append(args, "-overlay", overlay)
	}
	_, err = output(ctx, root, "go", append(args, "./cmd/consumer")...)
	return all, err
}

// installNode copies the script for Node from one folder into another, and has npm install there
// what the script needs, from the registry that npm is set up for. It gives the paths of Node and
// of the copied script.
func installNode(ctx context.Context, from, to string) (node, script string, err error) {
	if node, err = exec.LookPath("node"); err != nil {
		return "", "", fmt.Errorf("contender %q needs Node 20 or later: %w", nodeHabit, err)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", "", fmt.Errorf("contender %q needs npm: %w", nodeHabit, err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return "", "", err
	}
	_, err = output(ctx, to, npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")
	return node, filepath.Join(to, "script.mjs"), err
}

// output runs a command in a folder and gives what it prints.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the go command, npm and git
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
