package contract

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCanonical(t *testing.T) {
	for name, tt := range map[string]struct{ action, data, want string }{
		"defaults": {"export", `{"all_projects":true}`,
			`{"resource":"default","all_projects":true,"categories":["projects","iterations","performance","tags","images","exports","predictions"]}`},
		"sets": {"delete", `{"image_metadata":[{"b":"<2>","a":"1"},{"a":"0"},{"a":"0"}],"project_ids":["` + strings.ToUpper(p1) + `","` + p2 + `","` + p1 + `"],"expect":{"max_images":0}}`,
			`{"resource":"default","project_ids":["` + p2 + `","` + p1 + `"],"image_metadata":[{"a":"0"},{"a":"1","b":"<2>"}],"categories":["images"],"expect":{"max_images":0}}`},
		"times": {"export", `{"all_projects":true,"categories":["tags"],"not_after":"2031-02-03T05:05:06.50+01:00"}`,
			`{"resource":"default","all_projects":true,"categories":["tags"],"not_after":"2031-02-03T04:05:06.5Z"}`},
		"cancel": {"cancel", ` { "id" : "req-9" } `, `{"id":"req-9"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(decodePlain(t, tt.action, tt.data).Canonical()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestSameAs(t *testing.T) {
	first := decodePlain(t, "delete", `{"project_ids":["`+p1+`","`+p2+`"],"reference":"a"}`)
	job := Job{ID: first.ID, Action: first.Action, Command: first.Ref(NewSalt(), nil)}
	same := decodePlain(t, "delete", `{"reference":"a","categories":["predictions","exports","images","tags","performance","iterations","projects"],"dry_run":false,"resource":"default","project_ids":["`+p2+`","`+strings.ToUpper(p1)+`"]}`)
	if same.Seq = 99; !same.SameAs(job, nil) {
		t.Error("the same data in other words is not the same")
	}
	for name, data := range map[string]string{
		"another reference": `{"project_ids":["` + p1 + `","` + p2 + `"],"reference":"b"}`,
		"no reference":      `{"project_ids":["` + p1 + `","` + p2 + `"]}`,
		"fewer projects":    `{"project_ids":["` + p1 + `"],"reference":"a"}`,
		"a dry run":         `{"project_ids":["` + p1 + `","` + p2 + `"],"reference":"a","dry_run":true}`,
		"one category less": `{"project_ids":["` + p1 + `","` + p2 + `"],"reference":"a","categories":["projects","iterations","performance","tags","images","exports"]}`,
	} {
		if decodePlain(t, "delete", data).SameAs(job, nil) {
			t.Errorf("%s is the same", name)
		}
	}
	// A job that was made before accounts were written down has the alias in its digest.
	eu := decodePlain(t, "delete", `{"project_ids":["`+p1+`"],"resource":"eu"}`)
	before := Job{ID: eu.ID, Action: eu.Action, Command: CommandRef{Digest: saltedDigest("salt", eu.Canonical())}}
	if !eu.SameAs(before, nil) {
		t.Error("the command of an older job is not the same")
	}
	// Which account an alias means is compared apart.
	if alias := decodePlain(t, "delete", `{"project_ids":["`+p1+`","`+p2+`"],"reference":"a","resource":"eu"}`); !alias.SameAs(job, nil) {
		t.Error("the same data under another alias is not the same")
	}
	export := decodePlain(t, "export", `{"project_ids":["`+p1+`","`+p2+`"],"reference":"a"}`)
	if export.SameAs(job, nil) {
		t.Error("an export is the same as a delete")
	}
	other := same
	if other.ID = "req-2"; other.SameAs(job, nil) {
		t.Error("another id is the same")
	}
	if same.SameAs(Job{ID: job.ID, Action: job.Action}, nil) {
		t.Error("a job without a digest is the same")
	}
	if a, b := first.Ref(NewSalt(), nil), first.Ref(NewSalt(), nil); a.Digest == b.Digest || strings.Count(a.Digest, ".") != 1 {
		t.Errorf("digests %q and %q", a.Digest, b.Digest)
	}
	if got := first.Ref("salt", nil).Digest; !strings.HasPrefix(got, "salt.") || len(got) != 5+64 {
		t.Errorf("digest %q", got)
	}
}

// TestDigestOfMetadata says that a digest of metadata values is made under a key, and compared
// under those there are: a reader without the key cannot test a guess with it.
func TestDigestOfMetadata(t *testing.T) {
	c := decodePlain(t, "export", `{"all_projects":true,"image_metadata":{"subject":"Jane Doe"}}`)
	other := decodePlain(t, "export", `{"all_projects":true,"image_metadata":{"subject":"John Doe"}}`)
	plain := decodePlain(t, "export", `{"all_projects":true}`)
	none, operator := NewPseudonymizer(nil), NewPseudonymizer([]byte("operator's"))
	for name, tt := range map[string]struct {
		made, now   DigestKeys
		same, known bool
	}{
		"the deployment's key":           {none.DigestKeys("a"), none.DigestKeys("a"), true, true},
		"a pseudonym key was added":      {none.DigestKeys("a"), operator.DigestKeys("a"), true, true},
		"the deployment's key was lost":  {none.DigestKeys("a"), none.DigestKeys("b"), false, false},
		"that does not matter":           {operator.DigestKeys("a"), operator.DigestKeys("b"), true, true},
		"the pseudonym key was replaced": {operator.DigestKeys("a"), NewPseudonymizer([]byte("new")).DigestKeys("a"), false, false},
	} {
		job := Job{ID: c.ID, Action: c.Action, Command: c.Ref("salt", tt.made)}
		raw, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		// Older replicas, to which it would be the job of another command, hand its message back.
		if job, err = DecodeJob(raw); err != nil || job.V != 2 {
			t.Errorf("%s: the job has version %d: %v", name, job.V, err)
		}
		if same := c.SameAs(job, tt.now); same != tt.same {
			t.Errorf("%s: the same %t", name, same)
		}
		if c.Differs(job, tt.now) || other.SameAs(job, tt.now) || other.Differs(job, tt.now) != tt.known || !plain.Differs(job, tt.now) {
			t.Errorf("%s: the same data differs, or other data does not", name)
		}
		head, sum, _ := strings.Cut(job.Command.Digest, ".")
		for _, salt := range []string{"", "salt", "salt\n", head} {
			if saltedDigest(salt, c.withoutAlias()) == salt+"."+sum {
				t.Errorf("%s: a guess is confirmed by %s", name, job.Command.Digest)
			}
		}
		if shown := fmt.Sprintf("%v %+v %#v", tt.made, tt.made, tt.made); strings.Contains(shown, "key") {
			t.Errorf("%s: shows the key: %s", name, shown)
		}
	}
	if d := c.Ref("salt", nil).Digest; d != "" {
		t.Errorf("without keys there is a digest, %s", d)
	}
	// Jobs and bags of earlier versions have a salt only.
	before := Job{ID: c.ID, Action: c.Action, Command: CommandRef{Digest: saltedDigest("salt", c.withoutAlias())}}
	if keys := none.DigestKeys("a"); !c.SameAs(before, keys) || other.SameAs(before, keys) {
		t.Error("the digest of an earlier version is not compared")
	}
}

// TestDataShowsNoMetadata says that neither the JSON nor the text of a command shows a metadata
// value.
func TestDataShowsNoMetadata(t *testing.T) {
	c := decodePlain(t, "export", `{"all_projects":true,"image_metadata":{"subject":"Jane Doe"}}`)
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{string(raw), fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s", c, &c, c, c.Data), fmt.Sprintf("%+v", struct{ C *Command }{&c}), fmt.Sprintf("%+v %#v", c.Data, &c.Data)} {
		if strings.Contains(s, "Jane") {
			t.Errorf("shows the value: %s", s)
		}
	}
	if !strings.Contains(string(raw), `"image_metadata":[{"subject":"redacted"}]`) {
		t.Errorf("JSON %s", raw)
	}
}

func TestCategoriesOfNarrowings(t *testing.T) {
	for _, a := range []Action{ActionExport, ActionDelete} {
		for _, n := range []Narrowing{NarrowNone, NarrowIterations, NarrowTags, NarrowImages, NarrowMetadata} {
			allowed := AllowedCategories(a, n)
			for _, set := range [][]Category{allowed, DefaultCategories(a, n)} {
				if !slices.IsSortedFunc(set, func(x, y Category) int {
					return slices.Index(Categories(), x) - slices.Index(Categories(), y)
				}) || len(set) == 0 {
					t.Errorf("%s %s: %v is not in the order of Categories", a, n, set)
				}
				for _, c := range set {
					if !slices.Contains(allowed, c) {
						t.Errorf("%s %s: default %s is not allowed", a, n, c)
					}
				}
			}
			if a == ActionDelete && n != NarrowNone && slices.Contains(allowed, CategoryProjects) {
				t.Errorf("a delete narrowed by %s may delete the project", n)
			}
		}
	}
}

func TestHasAndNarrowing(t *testing.T) {
	d := decodePlain(t, "delete", `{"project_ids":["`+p1+`"],"tag_ids":["`+p2+`"]}`).Data
	if d.Narrowing() != NarrowTags || !d.Has(CategoryTags) || d.Has(CategoryProjects) {
		t.Errorf("narrowing %q, categories %v", d.Narrowing(), d.Categories)
	}
	if n := decodePlain(t, "export", `{"all_projects":true}`).Data.Narrowing(); n != NarrowNone {
		t.Errorf("narrowing %q of whole projects", n)
	}
}

// TestSetsHaveNoOrder says that order, repetition and letter case of sets make no difference.
func TestSetsHaveNoOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		action := rapid.SampledFrom([]string{"export", "delete"}).Draw(r, "action")
		projects := rapid.SliceOfNDistinct(rapid.StringMatching(`[1-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}`), 1, 6, rapid.ID).Draw(r, "projects")
		metadata := rapid.SliceOfN(rapid.MapOfN(rapid.StringN(1, 5, -1), rapid.StringN(1, 5, -1), 1, 3), 1, 4).Draw(r, "metadata")
		categories := []Category{CategoryImages}
		encode := func(upper bool, projects []string, metadata []map[string]string) Command {
			projects = slices.Clone(projects)
			if upper {
				for i := range projects {
					projects[i] = strings.ToUpper(projects[i])
				}
			}
			raw, err := json.Marshal(map[string]any{"project_ids": projects, "image_metadata": metadata, "categories": categories})
			if err != nil {
				r.Fatal(err)
			}
			c, err := DecodeCommand("cv", message(action, map[string][]string{"Nats-Msg-Id": {"a"}}, string(raw)))
			if err != nil {
				r.Fatalf("%s: %v", raw, err)
			}
			return c
		}
		one := encode(false, projects, metadata)
		two := encode(true, rapid.Permutation(append(projects, projects[0])).Draw(r, "other projects"), rapid.Permutation(append(metadata, metadata[0])).Draw(r, "other metadata"))
		if string(one.Canonical()) != string(two.Canonical()) {
			r.Fatalf("not the same:\n%s\n%s", one.Canonical(), two.Canonical())
		}
		checkStable(r, one)
	})
}
