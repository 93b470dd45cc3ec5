package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// selection is the flags that select what a command is about. The field names of a command's data
// are the flags' names.
type selection struct {
	Data string `name:"data" placeholder:"JSON" help:"The command's data as JSON, as @FILE, or - for standard input; replaces the flags that make the data." xor:"data"`

	AllProjects  bool        `name:"all-projects" help:"Every project of the resource." group:"Selection:"`
	Project      []uuid.UUID `name:"project" placeholder:"ID" help:"These projects." group:"Selection:"`
	Iteration    []uuid.UUID `name:"iteration" placeholder:"ID" help:"Only these iterations of the one project." group:"Selection:"`
	Tag          []uuid.UUID `name:"tag" placeholder:"ID" help:"Only these tags of the one project." group:"Selection:"`
	Image        []uuid.UUID `name:"image" placeholder:"ID" help:"Only these images of the one project." group:"Selection:"`
	Metadata     []string    `name:"metadata" sep:"none" placeholder:"KEY=VALUE" help:"Only images with this metadata; repeat the flag for images that have all of these pairs." group:"Selection:"`
	MetadataJSON string      `name:"metadata-json" placeholder:"JSON" help:"Only images with any of these metadata objects: [{\"key\":\"value\"},…]." group:"Selection:"`
	Category     []string    `name:"category" placeholder:"NAME" help:"Only these categories: projects, iterations, performance, tags, images, exports, predictions." group:"Selection:"`
	Resource     string      `name:"resource" placeholder:"ALIAS" help:"Alias of a configured Custom Vision resource; default: default." group:"Selection:"`
	Reference    string      `name:"reference" placeholder:"TEXT" help:"Your own case number, which is copied into the bundle; no personal data." group:"Selection:"`
	RetainUntil  string      `name:"retain-until" placeholder:"TIME" help:"Lock the bundle: none of its objects can be deleted before this time (RFC 3339)." group:"Selection:"`
	NotAfter     string      `name:"not-after" placeholder:"TIME" help:"Refuse the command if work would start later than this (RFC 3339)." group:"Selection:"`
}

// commandData is the wire form of a command's data, in the contract's order.
type commandData struct {
	Resource      string           `json:"resource,omitempty"`
	AllProjects   bool             `json:"all_projects,omitempty"`
	ProjectIDs    []uuid.UUID      `json:"project_ids,omitempty"`
	IterationIDs  []uuid.UUID      `json:"iteration_ids,omitempty"`
	TagIDs        []uuid.UUID      `json:"tag_ids,omitempty"`
	ImageIDs      []uuid.UUID      `json:"image_ids,omitempty"`
	ImageMetadata json.RawMessage  `json:"image_metadata,omitempty"`
	Categories    []string         `json:"categories,omitempty"`
	Reference     string           `json:"reference,omitempty"`
	NotAfter      *time.Time       `json:"not_after,omitempty"`
	RetainUntil   *time.Time       `json:"retain_until,omitempty"`
	DryRun        bool             `json:"dry_run,omitempty"`
	ApprovedPlan  string           `json:"approved_plan,omitempty"`
	ExportFirst   bool             `json:"export_first,omitempty"`
	ExportRetain  *time.Time       `json:"export_retain_until,omitempty"`
	Unpublish     bool             `json:"unpublish,omitempty"`
	Expect        *contract.Expect `json:"expect,omitempty"`
}

// data gives the command's data: the selection, added to what d has already. Flags and id are
// validated here, by the rules of the service; the service itself validates data given as JSON.
func (s selection) data(p *program, prefix string, o order, d commandData) ([]byte, error) {
	if s.Data != "" {
		if !s.noFlags() || !reflect.ValueOf(d).IsZero() {
			return nil, fmt.Errorf("%w: --data is the whole command: leave the other flags out", errUsage)
		}
		o.data = []byte(`{"all_projects":true}`)
		if err := validate(prefix, o); err != nil {
			return nil, err
		}
		return readData(p, s.Data)
	}
	d.Resource, d.AllProjects, d.ProjectIDs = s.Resource, s.AllProjects, s.Project
	d.IterationIDs, d.TagIDs, d.ImageIDs = s.Iteration, s.Tag, s.Image
	d.Categories, d.Reference = s.Category, s.Reference
	var err error
	if d.NotAfter, err = timeFlag("--not-after", s.NotAfter); err != nil {
		return nil, err
	}
	if d.RetainUntil, err = timeFlag("--retain-until", s.RetainUntil); err != nil {
		return nil, err
	}
	if d.ImageMetadata, err = s.metadata(); err != nil {
		return nil, err
	}
	if o.data, err = json.Marshal(d); err != nil {
		return nil, fmt.Errorf("encode the command: %w", err)
	}
	return o.data, validate(prefix, o)
}

// timeFlag is the time that a flag gives; nil when it is not set.
func timeFlag(flag, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not an RFC 3339 time such as 2026-01-02T15:04:05Z", errUsage, flag)
	}
	return &t, nil
}

// flagOf is the flag that sets a field of a command's data.
var flagOf = map[string]string{
	"all_projects": "--all-projects", "project_ids": "--project", "iteration_ids": "--iteration", "tag_ids": "--tag", "image_ids": "--image",
	"image_metadata": "--metadata", "categories": "--category", "resource": "--resource", "reference": "--reference", "not_after": "--not-after",
	"retain_until": "--retain-until", "export_retain_until": "--export-retain-until",
	"approved_plan": "--approved-plan", "export_first": "--export-first", "unpublish": "--unpublish",
	"expect": "--expect-project-name or --expect-max-images", "id": "<id>", contract.HeaderMsgID: "--id", "ce-id": "--id",
}

// Words of the service for a command's fields, as its errors use them.
var (
	firstField = regexp.MustCompile(`^([a-z_]+: )([a-z_]+|` + contract.HeaderMsgID + `): `) // <code>: <field>:
	aSwitch    = regexp.MustCompile(`"(unpublish|export_first)": true`)
	aField     = regexp.MustCompile(`\b[a-z]+_[a-z_]+\b`)
)

// inFlags is an error of the service in the words of the command line: it names flags in place of
// the fields that they set.
func inFlags(text string) string {
	words := map[string]string{"id": "--id", "dry_run": "consumer plan", "project_name": "--expect-project-name", "max_images": "--expect-max-images"}
	if strings.HasPrefix(text, contract.CodeTooLate+": ") {
		words["id"] = flagOf["id"] // of consumer jobs cancel
	}
	flag := func(field string) string {
		if own := cmp.Or(words[field], flagOf[field]); own != "" {
			return own
		}
		return field
	}
	if m := firstField.FindStringSubmatch(text); m != nil {
		text = m[1] + flag(m[2]) + strings.TrimPrefix(text, m[1]+m[2])
	}
	text = strings.ReplaceAll(text, "expect.", "")
	text = aSwitch.ReplaceAllStringFunc(text, func(s string) string { return flag(aSwitch.FindStringSubmatch(s)[1]) })
	code, rest, _ := strings.Cut(text, ": ")
	return code + ": " + aField.ReplaceAllStringFunc(strings.ReplaceAll(rest, "the "+contract.HeaderMsgID+" header", "--id"), flag)
}

// validate returns an error for an order that the service would refuse as malformed. It names the
// flag that set the field which is wrong.
func validate(prefix string, o order) error {
	m, err := o.message(prefix)
	if err != nil {
		return err
	}
	_, err = contract.DecodeCommand(prefix, m)
	var refusal *contract.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	text := refusal.Message
	if flag := flagOf[strings.SplitN(refusal.Field, ".", 2)[0]]; flag == "--id" || flag == "<id>" {
		text = flag + strings.TrimPrefix(text, refusal.Field)
	} else if flag != "" {
		text = fmt.Sprintf("%s (%s)%s", flag, refusal.Field, strings.TrimPrefix(text, refusal.Field))
	}
	return fmt.Errorf("%w: %s", errUsage, text)
}

func (s selection) noFlags() bool {
	return !s.AllProjects && len(s.Project)+len(s.Iteration)+len(s.Tag)+len(s.Image)+len(s.Metadata)+len(s.Category) == 0 &&
		s.MetadataJSON+s.Resource+s.Reference+s.NotAfter+s.RetainUntil == ""
}

// metadata gives the pairs of --metadata as one object, or --metadata-json as it is.
func (s selection) metadata() (json.RawMessage, error) {
	if s.MetadataJSON != "" {
		if len(s.Metadata) > 0 {
			return nil, fmt.Errorf("%w: --metadata and --metadata-json are two ways to say one thing: use one", errUsage)
		}
		if !json.Valid([]byte(s.MetadataJSON)) {
			return nil, fmt.Errorf("%w: --metadata-json is not JSON", errUsage) // not quoted: values are personal data
		}
		return json.RawMessage(s.MetadataJSON), nil
	}
	if len(s.Metadata) == 0 {
		return nil, nil
	}
	pairs := make(map[string]string, len(s.Metadata))
	for _, pair := range s.Metadata {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%w: --metadata wants KEY=VALUE", errUsage)
		}
		if _, twice := pairs[key]; twice {
			return nil, fmt.Errorf("%w: --metadata names %s twice; --metadata-json takes several objects", errUsage, key)
		}
		pairs[key] = value
	}
	b, err := json.Marshal(pairs)
	if err != nil {
		return nil, fmt.Errorf("encode the metadata: %w", err)
	}
	return b, nil
}

// readData reads data given as JSON, as @FILE or as - for standard input.
func readData(p *program, text string) ([]byte, error) {
	if text == "-" {
		b, err := readLimited(p.stdin)
		if err != nil {
			return nil, fmt.Errorf("read the command from standard input: %w", err)
		}
		return b, nil
	}
	path, ok := strings.CutPrefix(text, "@")
	if !ok {
		return []byte(text), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: --data: %w", errUsage, err)
	}
	defer f.Close()
	b, err := readLimited(f)
	if err != nil {
		return nil, fmt.Errorf("read the command from %s: %w", path, err)
	}
	return b, nil
}

// readLimited reads at most somewhat more than a command may have: what is too long is refused by
// the service, in its own words.
func readLimited(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, contract.MaxCommandBytes+1))
}
