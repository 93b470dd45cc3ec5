package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// remedy is what an operator can set.
const remedy = "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE, " +
	"give this machine or pod a managed identity, or set VISION_TRAINING_KEY (key_file in CONSUMER_RESOURCES)"

// maxAnswer bounds what is read of a refusal. In bytes.
const maxAnswer = 64 << 10

// explain is what the chain failed with, in one line and with what to do. An answer of Entra ID is
// not quoted, only its codes: what it repeats of the request is not known.
func explain(err error) error {
	var failed *azidentity.AuthenticationFailedError
	if errors.As(err, &failed) && failed.RawResponse != nil {
		return fmt.Errorf("entra: the identity was refused: %s; correct it: %s", refusal(failed.RawResponse), remedy)
	}
	tried := strings.Fields(err.Error()) // its lines, and no more
	return fmt.Errorf("entra: there is no token: %s; tried: %s", remedy, strings.Join(tried, " "))
}

var codeForm = regexp.MustCompile(`^[a-z_]{1,40}$`)

// refusal is the status and the codes of an answer of Entra ID, as RFC 6749, section 5.2, has them.
func refusal(resp *http.Response) string {
	said := fmt.Sprintf("status %d", resp.StatusCode)
	if resp.Body == nil {
		return said
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	var answer struct {
		Error string  `json:"error"`
		Codes []int64 `json:"error_codes"`
	}
	if err != nil || json.Unmarshal(body, &answer) != nil {
		return said
	}
	if codeForm.MatchString(answer.Error) {
		said += " " + answer.Error
	}
	for _, code := range answer.Codes[:min(len(answer.Codes), 5)] {
		said += fmt.Sprintf(" AADSTS%d", code)
	}
	return said
}
