package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// deployDir is relative. Its tests do not run beside others: an S3 server changes the directory of
// the process.
const deployDir = "../../deploy"

// ofSDKs are variables in deploy/ that the SDKs of AWS and Azure read.
var ofSDKs = []string{"AWS_CA_BUNDLE", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"}

// TestDeployNamesSettings holds that every variable below deploy/ is a setting.
func TestDeployNamesSettings(t *testing.T) {
	var all serviceSettings
	parser, err := kong.New(&all)
	if err != nil {
		t.Fatal(err)
	}
	known := settingNames(parser.Model.Node)
	variable := regexp.MustCompile(`\b(CONSUMER|NATS|VISION|AWS|AZURE|OTEL)_[A-Z0-9_]*[A-Z0-9]\b`)
	seen := 0
	err = filepath.WalkDir(deployDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".sum") {
			return err
		}
		for _, name := range variable.FindAllString(readText(t, path), -1) {
			seen++
			if !slices.Contains(known, name) && !slices.Contains(ofSDKs, name) {
				t.Errorf("%s: %s is no setting", path, name)
			}
		}
		return nil
	})
	if err != nil || seen < 40 {
		t.Errorf("%d variables seen, %v", seen, err)
	}
}

// TestDeployIsEnough holds that what is set in each place below deploy/ starts the service.
func TestDeployIsEnough(t *testing.T) {
	secrets := t.TempDir()
	secretFile := func(name string) string {
		path := filepath.Join(secrets, name)
		if err := os.WriteFile(path, []byte("SOMETHINGTHATISSECRET"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}

	var compose struct {
		Services map[string]struct {
			Environment map[string]string
		}
	}
	if err := yaml.Unmarshal([]byte(readText(t, filepath.Join(deployDir, "compose/compose.yaml"))), &compose); err != nil {
		t.Fatal(err)
	}
	var composed []string
	interpolated := regexp.MustCompile(`\$\{(\w+):[-?]([^}]*)\}`)
	for name, value := range compose.Services["consumer"].Environment {
		if name == "VISION_TRAINING_ENDPOINT" {
			value = "https://my-vision.cognitiveservices.azure.com/"
		}
		composed = append(composed, name+"="+interpolated.ReplaceAllString(value, "$2"))
	}

	var unit []string
	for line := range strings.Lines(readText(t, filepath.Join(deployDir, "systemd/cvconsumer.env"))) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			unit = append(unit, line)
		}
	}
	for line := range strings.Lines(readText(t, filepath.Join(deployDir, "systemd/cvconsumer.service"))) {
		if setting, ok := strings.CutPrefix(strings.TrimSpace(line), "Environment="); ok {
			name, file, _ := strings.Cut(setting, "=%d/")
			unit = append(unit, name+"="+secretFile(file))
		}
	}

	values := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(readText(t, filepath.Join(deployDir, "helm/cvconsumer/README.md")))
	var chart struct {
		Settings    map[string]string
		SecretFiles []struct{ File, Setting string } `yaml:"secretFiles"`
	}
	if err := yaml.Unmarshal([]byte(values[1]), &chart); err != nil {
		t.Fatal(err)
	}
	var helm []string
	for name, value := range chart.Settings {
		helm = append(helm, name+"="+value)
	}
	for _, f := range chart.SecretFiles {
		helm = append(helm, f.Setting+"="+secretFile(f.File))
	}

	for where, vars := range map[string][]string{"compose": composed, "systemd": unit, "helm": helm} {
		for _, name := range []string{"NATS_URL", "VISION_TRAINING_ENDPOINT", "AWS_REGION", "CONSUMER_BUCKET", "GOMEMLIMIT"} {
			if !slices.ContainsFunc(vars, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
				t.Errorf("%s: %s is not set", where, name)
			}
		}
		if _, err := configFrom(t.Context(), vars); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// TestNightlyExportIsACommand holds that the arguments of the CronJob are those of a command.
func TestNightlyExportIsACommand(t *testing.T) {
	var job struct {
		Spec struct {
			JobTemplate struct {
				Spec struct {
					Template struct {
						Spec struct {
							Containers []struct{ Args []string }
						}
					}
				}
			} `yaml:"jobTemplate"`
		}
	}
	if err := yaml.Unmarshal([]byte(readText(t, filepath.Join(deployDir, "kubernetes/nightly-export.yaml"))), &job); err != nil {
		t.Fatal(err)
	}
	args := job.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Args
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$(JOB)", "nightly-export-29000000")
	}
	var commands cli
	parser, err := kong.New(&commands)
	if err != nil {
		t.Fatal(err)
	}
	addLongNames(parser.Model.Node)
	if _, err := parser.Parse(args); err != nil {
		t.Errorf("%v: %v", args, err)
	}
}
