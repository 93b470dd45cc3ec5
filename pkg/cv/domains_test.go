package cv

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/uuid"
)

func TestDomainOperations(t *testing.T) {
	const general = `{"id":"ee85a74c-405e-4adc-bb47-ffa8ca0c9f31","name":"General","type":"Classification","exportable":false,"enabled":true,"exportablePlatforms":[],"modelInformation":null}`
	id := uuid.MustParse("ee85a74c-405e-4adc-bb47-ffa8ca0c9f31")
	want := Domain{ID: id, Name: "General", Type: "Classification", Enabled: true, Raw: json.RawMessage(general)}
	checkOperations(t, []operation{
		{
			name: "GetDomains", method: "GET", path: "domains", answer: "[\r\n" + general + "\r\n]", want: []Domain{want},
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetDomains(ctx) },
		},
		{
			name: "GetDomain", method: "GET", path: "domains/ee85a74c-405e-4adc-bb47-ffa8ca0c9f31", answer: general, want: want,
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetDomain(ctx, id) },
		},
	})
}
