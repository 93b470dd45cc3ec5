package workload

import "testing"

func TestParse(t *testing.T) {
	for name, want := range map[string]struct {
		Case
		title string
	}{
		"3000x100k":   {Case{Images: 3000, ImageBytes: 100 << 10}, "3,000 images of 100 KiB"},
		"20x5000":     {Case{Images: 20, ImageBytes: 5000}, "20 images of 5000 bytes"},
		"10x2mx50":    {Case{Images: 10, ImageBytes: 2 << 20, Regions: 50}, "10 images of 2 MiB, 50 regions in each"},
		"model1g":     {Case{ModelBytes: 1 << 30}, "one exported model of 1 GiB"},
		"model 1g":    {},
		"model0m":     {},
		"modelx":      {},
		"0x4k":        {},
		"10x0":        {},
		"10x4kx":      {},
		"-1x4k":       {},
		"99999999x4k": {},
		"":            {},
	} {
		c, err := Parse(name)
		if want.title == "" {
			if err == nil {
				t.Errorf("%q is %+v", name, c)
			}
			continue
		}
		want.Name = name
		if err != nil || c != want.Case || c.Title() != want.title {
			t.Errorf("%q is %+v (%s), %v; want %+v (%s)", name, c, c.Title(), err, want.Case, want.title)
		}
	}
}
