package bagfile

import (
	"encoding/json"
	"slices"
)

// Version is the only version of the files' format that is known.
const Version = 1

// How large a file of a bag may be that came from the service, in bytes.
const (
	MaxPicture = 1 << 30
	MaxModel   = 64 << 30
)

// Actions of the commands that have a bag.
const (
	ActionExport = "export"
	ActionDelete = "delete"
)

// Outcomes of the commands that have a bag.
const (
	OutcomeComplete     = "complete"
	OutcomeExceptions   = "complete_with_exceptions"
	OutcomeNothingFound = "nothing_found"
	OutcomePlanned      = "planned"
)

// Outcomes is all outcomes.
func Outcomes() []string {
	return []string{OutcomeComplete, OutcomeExceptions, OutcomeNothingFound, OutcomePlanned}
}

// Categories of user data.
const (
	Projects    = "projects"
	Iterations  = "iterations"
	Performance = "performance"
	Tags        = "tags"
	Images      = "images"
	Exports     = "exports"
	Predictions = "predictions"
)

// Categories is all categories, in the order in which files name them.
func Categories() []string {
	return []string{Projects, Iterations, Performance, Tags, Images, Exports, Predictions}
}

// Operations that change something in an account, as the ledger names them.
const (
	DeleteImages       = "DeleteImages"
	DeletePrediction   = "DeletePrediction"
	DeleteIteration    = "DeleteIteration"
	DeleteTag          = "DeleteTag"
	DeleteProject      = "DeleteProject"
	UnpublishIteration = "UnpublishIteration"
)

// AlreadyGone is how a thing went that no call of the command removed.
const AlreadyGone = "already_gone"

// Destructive is the operations that only intents and results may have.
func Destructive() []string {
	return []string{DeleteImages, DeletePrediction, DeleteIteration, DeleteTag, DeleteProject, UnpublishIteration}
}

// Ways is how a thing of a category can have gone.
func Ways(category string) []string {
	switch category {
	case Projects:
		return []string{DeleteProject, AlreadyGone}
	case Iterations, Performance:
		return []string{DeleteIteration, AlreadyGone}
	case Tags:
		return []string{DeleteTag, DeleteProject, AlreadyGone}
	case Images:
		return []string{DeleteImages, AlreadyGone}
	case Predictions:
		return []string{DeletePrediction, AlreadyGone}
	}
	return nil
}

// Operations by which the absence of things was seen.
const (
	ByProject     = "GetProject, GetProjects"
	ByIteration   = "GetIteration"
	ByTag         = "GetTag"
	ByCounts      = "GetTaggedImageCount, GetUntaggedImageCount"
	ByIDs         = "GetImagesByIds"
	ByListings    = "GetImagesByIds, GetTaggedImages, GetUntaggedImages, GetImages" // see survey.Present
	ByPredictions = "QueryPredictions"
)

// Proofs is the operations by which the absence of a thing of a category can have been seen.
func Proofs(category string) []string {
	switch category {
	case Projects:
		return []string{ByProject}
	case Iterations, Performance:
		return []string{ByIteration}
	case Tags:
		return []string{ByTag, ByProject}
	case Images:
		return []string{ByCounts, ByIDs, ByListings, ByProject}
	case Predictions:
		return []string{ByPredictions}
	}
	return nil
}

// Method is what a deletion amounts to, in the words of its receipt.
const Method = "logical deletion through the service's API"

// Tool is the product's name in bags and receipts.
const Tool = "cvconsumer"

// Sources of a picture: the links it can come by.
func Sources() []string { return []string{"original", "resized"} }

// Text is a text that is null where it is empty.
type Text string

// MarshalJSON prints null for the empty text.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// known reports whether a word is in a closed set.
func known(set []string, word string) bool { return slices.Contains(set, word) }

// KnownOutcome reports whether a word is an outcome.
func KnownOutcome(word string) bool { return known(Outcomes(), word) }

// KnownCategory reports whether a word is a category.
func KnownCategory(word string) bool { return known(Categories(), word) }

// IsDestructive reports whether an operation changes something in an account.
func IsDestructive(operation string) bool { return known(Destructive(), operation) }

// Refused reports whether an answer with this HTTP status says that the call was not carried out: a
// 4xx, but for 408, which tells nothing.
func Refused(status int) bool { return status/100 == 4 && status != 408 }
