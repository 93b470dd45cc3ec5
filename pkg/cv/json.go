package cv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Identified is an object that has an id of its own, such as an image.
type Identified interface{ Identity() uuid.UUID }

// decodeModel decodes a JSON object into a typed view and keeps the JSON itself. A field of an
// unexpected type is left zero: what it was stands in raw, and one odd field must not keep a
// thousand images from being exported. That is an error only where the field decides what is done.
// null leaves everything as it is: an answer whose objects lack members they must have is retried.
func decodeModel(b []byte, view any, raw *json.RawMessage, decides ...string) error {
	b = bytes.TrimLeft(b, " \t\r\n")
	if bytes.HasPrefix(b, []byte("null")) {
		return nil
	}
	if len(b) == 0 || b[0] != '{' {
		return errors.New("not a JSON object")
	}
	if json.Unmarshal(b, view) != nil {
		// Decoding may have stopped at the odd field: each of the others is given its own chance.
		var members map[string]json.RawMessage
		if err := json.Unmarshal(b, &members); err != nil {
			return err
		}
		for name, value := range members {
			one, err := json.Marshal(map[string]json.RawMessage{name: value})
			if err != nil {
				return fmt.Errorf("%.40q: %w", name, err)
			}
			if err := json.Unmarshal(one, view); err != nil && slices.ContainsFunc(decides, func(d string) bool { return strings.EqualFold(d, name) }) {
				return fmt.Errorf("%s is of another type: %w", name, err)
			}
		}
	}
	*raw = bytes.Clone(b)
	return nil
}

// lacksText reports whether an object has no text under a name, of which this was decoded. An empty
// text is one.
func lacksText(decoded string, object json.RawMessage, name string) bool {
	return decoded == "" && !bytes.HasPrefix(member(object, name), []byte(`"`))
}

// member is the value of a JSON object's member, nil when it is not there. Letter case is ignored,
// as in decoding.
func member(object json.RawMessage, name string) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return nil
	}
	for n, value := range members {
		if strings.EqualFold(n, name) {
			return value
		}
	}
	return nil
}
