// Package chart tests what is below deploy/ with the libraries of those who read it: the chart with
// Helm, what it makes and the manifests with the types of Kubernetes, the compose file with
// Docker's library. It is a module of its own, so that the product depends on none of them.
package chart

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint/rules"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	sigsyaml "sigs.k8s.io/yaml"
)

const chartDir = "../cvconsumer"

// minimal are the values that a release must have.
func minimal() map[string]any {
	return map[string]any{"settings": map[string]any{
		"CONSUMER_BUCKET":          "my-bundles",
		"VISION_TRAINING_ENDPOINT": "https://my-vision.cognitiveservices.azure.com/",
	}}
}

// everything turns all on.
func everything() map[string]any {
	v := minimal()
	maps.Copy(v["settings"].(map[string]any), map[string]any{"CONSUMER_SUBJECT_PREFIX": "team-a", "CONSUMER_PREFIX": "production/"})
	maps.Copy(v, map[string]any{
		"imagePullSecrets":      []any{map[string]any{"name": "registry"}},
		"secretFiles":           []any{map[string]any{"file": "vision-key", "setting": "VISION_TRAINING_KEY_FILE", "secret": "cv", "key": "vision"}, map[string]any{"file": "us", "secret": "cv", "key": "us"}},
		"visionResources":       map[string]any{"us": map[string]any{"endpoint": "https://us.cognitiveservices.azure.com/", "key_file": "/run/consumer/us"}},
		"azureWorkloadIdentity": map[string]any{"clientId": "00000000-0000-0000-0000-000000000001"},
		"serviceAccount":        map[string]any{"annotations": map[string]any{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/cv"}},
		"podLabels":             map[string]any{"team": "a"},
		"podAnnotations":        map[string]any{"a.b/c": "d"},
		"nodeSelector":          map[string]any{"kubernetes.io/arch": "arm64"},
		"tolerations":           []any{map[string]any{"key": "spot", "operator": "Exists"}},
		"topologySpreadConstraints": []any{map[string]any{
			"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/name": "cvconsumer"}},
		}},
		"affinity":          map[string]any{"nodeAffinity": map[string]any{}},
		"priorityClassName": "batch",
		"service":           map[string]any{"annotations": map[string]any{"a.b/c": "d"}},
		"serviceMonitor":    map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}},
		"networkPolicy":     map[string]any{"egress": []any{map[string]any{"to": []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/8"}}}}}},
		"keda":              map[string]any{"enabled": true},
		"drainSeconds":      300,
	})
	return v
}

// load reads the chart.
func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render gives the documents that the chart makes of values, by kind.
func render(t *testing.T, values map[string]any) (map[string]any, error) {
	t.Helper()
	c := load(t)
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "cvconsumer", Namespace: "cv", IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	objects := map[string]any{}
	for name, text := range files {
		if filepath.Ext(name) == ".yaml" {
			maps.Copy(objects, decode(t, name, []byte(text)))
		}
	}
	return objects, nil
}

// decode decodes documents strictly, by kind: an unknown or repeated field is an error.
func decode(t *testing.T, name string, text []byte) map[string]any {
	t.Helper()
	objects := map[string]any{}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for r := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var head struct{ APIVersion, Kind string }
		if err := sigsyaml.Unmarshal(doc, &head); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, doc)
		}
		var object any
		switch head.APIVersion + " " + head.Kind {
		case " ":
			continue // a template that makes nothing
		case "keda.sh/v1alpha1 ScaledObject":
			object = &scaledObject{}
		case "monitoring.coreos.com/v1 ServiceMonitor":
			object = &serviceMonitor{}
		}
		if object != nil {
			if err := sigsyaml.UnmarshalStrict(doc, object, sigsyaml.DisallowUnknownFields); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
		} else {
			var decoded runtime.Object
			if decoded, _, err = decoder.Decode(doc, nil, nil); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			object = decoded
		}
		objects[head.Kind] = object
	}
}

func TestLint(t *testing.T) {
	linter := support.Linter{ChartDir: chartDir}
	rules.Chartfile(&linter)
	rules.ValuesWithOverrides(&linter, minimal())
	rules.Templates(&linter, minimal(), "cv", true)
	rules.Dependencies(&linter)
	for _, m := range linter.Messages {
		if m.Severity >= support.WarningSev {
			t.Error(m)
		}
	}
}

func TestMinimal(t *testing.T) {
	objects, err := render(t, minimal())
	if err != nil {
		t.Fatal(err)
	}
	kinds := slices.Sorted(maps.Keys(objects))
	if want := []string{"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"}; !slices.Equal(kinds, want) {
		t.Errorf("it makes %v, want %v", kinds, want)
	}
	d := objects["Deployment"].(*appsv1.Deployment)
	if *d.Spec.Replicas != 2 {
		t.Errorf("%d replicas", *d.Spec.Replicas)
	}
	pod := d.Spec.Template
	hardened(t, pod)
	selects(t, d.Spec.Selector.MatchLabels, pod.Labels)
	selects(t, objects["Service"].(*corev1.Service).Spec.Selector, pod.Labels)
	selects(t, objects["PodDisruptionBudget"].(*policyv1.PodDisruptionBudget).Spec.Selector.MatchLabels, pod.Labels)
	selects(t, objects["NetworkPolicy"].(*networkingv1.NetworkPolicy).Spec.PodSelector.MatchLabels, pod.Labels)
	consumer := pod.Spec.Containers[0]
	if consumer.LivenessProbe.HTTPGet.Path != "/healthz" || consumer.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Errorf("probes: %v, %v", consumer.LivenessProbe, consumer.ReadinessProbe)
	}
	env := environment(consumer)
	memory := consumer.Resources.Limits.Memory().Value()
	if limit := resource.MustParse(strings.TrimSuffix(env["GOMEMLIMIT"], "B")); limit.Value()*10 > memory*9 || limit.Value()*10 < memory*8 {
		t.Errorf("GOMEMLIMIT is %s of %d", env["GOMEMLIMIT"], memory)
	}
}

func TestEverything(t *testing.T) {
	objects, err := render(t, everything())
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 8 {
		t.Errorf("it makes %v", slices.Sorted(maps.Keys(objects)))
	}
	d := objects["Deployment"].(*appsv1.Deployment)
	if d.Spec.Replicas != nil {
		t.Error("the Deployment sets replicas beside KEDA")
	}
	hardened(t, d.Spec.Template)
	pod := d.Spec.Template.Spec
	env := environment(pod.Containers[0])
	if env["CONSUMER_DRAIN"] != "300s" || *pod.TerminationGracePeriodSeconds <= 300 {
		t.Errorf("drains for %s, and is killed after %d s", env["CONSUMER_DRAIN"], *pod.TerminationGracePeriodSeconds)
	}
	if env["VISION_TRAINING_KEY_FILE"] != "/run/consumer/vision-key" || env["CONSUMER_RESOURCES"] != "/etc/consumer/resources.yaml" {
		t.Errorf("environment: %v", env)
	}
	files := map[string]bool{}
	for _, v := range pod.Volumes {
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				files["/run/consumer/"+s.Secret.Items[0].Path] = true
			}
		}
	}
	if !files["/run/consumer/vision-key"] || !files["/run/consumer/us"] {
		t.Errorf("files of secrets: %v", files)
	}
	if d.Spec.Template.Labels["azure.workload.identity/use"] != "true" || objects["ServiceAccount"].(*corev1.ServiceAccount).Annotations["azure.workload.identity/client-id"] == "" {
		t.Error("no workload identity")
	}
	selects(t, objects["ServiceMonitor"].(*serviceMonitor).Spec.Selector.MatchLabels, objects["Service"].(*corev1.Service).Labels)

	scaled := objects["ScaledObject"].(*scaledObject).Spec
	if scaled.ScaleTargetRef.Name != d.Name || scaled.MinReplicaCount < 1 || len(scaled.Triggers) != 3 {
		t.Errorf("scaled: %+v", scaled)
	}
	for _, trigger := range scaled.Triggers {
		m := trigger.Metadata
		if _, err := strconv.Atoi(m.LagThreshold); err != nil || trigger.Type != "nats-jetstream" || !strings.HasPrefix(m.Stream, "TEAM-A_") {
			t.Errorf("trigger: %+v", trigger)
		}
	}
	down := scaled.Advanced.HorizontalPodAutoscalerConfig.Behavior.ScaleDown
	if *down.StabilizationWindowSeconds < 300 || len(down.Policies) != 1 || down.Policies[0].Value != 1 || int64(down.Policies[0].PeriodSeconds) < *pod.TerminationGracePeriodSeconds-15 {
		t.Errorf("scales down by %+v", down)
	}
}

// TestRefused names the values that are missing or must not be there.
func TestRefused(t *testing.T) {
	for name, change := range map[string]func(settings map[string]any){
		"CONSUMER_BUCKET":          func(s map[string]any) { delete(s, "CONSUMER_BUCKET") },
		"VISION_TRAINING_ENDPOINT": func(s map[string]any) { delete(s, "VISION_TRAINING_ENDPOINT") },
		"VISION_TRAINING_KEY":      func(s map[string]any) { s["VISION_TRAINING_KEY"] = "a secret in a value" },
		"CONSUMER_WORKERS":         func(s map[string]any) { s["CONSUMER_WORKERS"] = 4 }, // numbers lose digits on their way
		"PATH":                     func(s map[string]any) { s["PATH"] = "/" },
	} {
		v := minimal()
		change(v["settings"].(map[string]any))
		if _, err := render(t, v); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNightlyExport(t *testing.T) {
	const file = "../../kubernetes/nightly-export.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	job := decode(t, file, text)["CronJob"].(*batchv1.CronJob)
	hardened(t, job.Spec.JobTemplate.Spec.Template)
	if job.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent {
		t.Error("two exports may run at once")
	}
}

// hardened demands of a pod what the restricted standard of Kubernetes does, and a root file system
// that cannot be written.
func hardened(t *testing.T, pod corev1.PodTemplateSpec) {
	t.Helper()
	s, c := pod.Spec.SecurityContext, pod.Spec.Containers[0].SecurityContext
	if !*s.RunAsNonRoot || *s.RunAsUser == 0 || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("pod: %+v", s)
	}
	if *c.AllowPrivilegeEscalation || !*c.ReadOnlyRootFilesystem || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("container: %+v", c)
	}
	if *pod.Spec.AutomountServiceAccountToken || *pod.Spec.EnableServiceLinks {
		t.Error("the pod has a token of the Kubernetes API, or links to services")
	}
}

// selects demands that a selector selects something with labels.
func selects(t *testing.T, selector, labels map[string]string) {
	t.Helper()
	for k, v := range selector {
		if labels[k] != v {
			t.Errorf("%s=%s is not in %v", k, v, labels)
		}
	}
	if len(selector) == 0 {
		t.Error("a selector selects everything")
	}
}

func environment(c corev1.Container) map[string]string {
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	return env
}
