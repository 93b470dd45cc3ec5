package natsconn

import "testing"

func TestOlder(t *testing.T) {
	for version, want := range map[string]bool{
		"2.11.0": false, "2.15.2": false, "3.0.0": false, "v2.11.0": false, "2.11.0-RC.1": false, "": false, "devel": false, "2": false,
		"2.10.29": true, "2.9.25": true, "2.2.0": true, "1.4.1": true,
	} {
		if older(version) != want {
			t.Errorf("%q: %v", version, !want)
		}
	}
}
