package contract

import (
	"fmt"
	"strings"
	"testing"
)

// TestRefusalsAreShort holds that what is said about a message does not grow with it: jobs, events
// and dead letters carry it, and a publisher makes any number of them.
func TestRefusalsAreShort(t *testing.T) {
	long := strings.Repeat("x", 400_000)
	for _, c := range []struct {
		body   string
		header map[string][]string
	}{
		{body: `{"` + long + `":1}`},
		{body: `{"project_ids":["` + long + `"]}`},
		{body: `{"resource":"` + long + `","all_projects":true}`},
		{body: `{"all_projects":true,"categories":["` + long + `"]}`},
		{body: `{"all_projects":true,"image_metadata":{"` + long + `":1}}`},
		{body: `{"all_projects":true,"image_metadata":{"` + long + `":"a","` + long + `":"b"}}`},
		{body: `{"all_projects":true,"not_after":"` + long + `"}`},
		{body: `{"` + strings.Repeat(`a":{"`, 10_000)},
		{body: `{"specversion":"1.0","id":"` + long + `","source":"/x","type":"` + long + `","data":{}}`},
		{body: `{"specversion":"1.0","id":"a","source":"` + long + `","type":"cv.export.requested","data":{}}`},
		{body: `{"specversion":"` + long + `","` + long + `":1}`},
		{body: long},
		{body: `{"all_projects":true}`, header: map[string][]string{HeaderMsgID: {long}}},
		{body: `{"all_projects":true}`, header: map[string][]string{HeaderMsgID: {"a"}, HeaderReplayOf: {long}}},
		{body: `{"all_projects":true}`, header: map[string][]string{HeaderMsgID: {"a"}, "content-type": {long}, "ce-type": {long}}},
		{body: `{"all_projects":true}`, header: map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"a"}, "ce-source": {"/x"}, "ce-type": {long}}},
	} {
		if c.header == nil {
			c.header = map[string][]string{HeaderMsgID: {"a"}}
		}
		_, err := DecodeCommand("cv", Message{Subject: "cv.commands.export", Header: c.header, Body: []byte(c.body), Seq: 1})
		if err == nil {
			t.Errorf("%.60s is a command", c.body)
			continue
		}
		if said := fmt.Sprint(err); len(said) > 600 {
			t.Errorf("%.60s: %d bytes are said about it: %.100s", c.body, len(said), said)
		}
	}
}
