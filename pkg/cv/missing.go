package cv

import (
	"errors"
	"strings"
)

// Thing is a kind of thing that the service keeps.
type Thing string

// The things about which the service says that they are not there.
const (
	ThingProject    Thing = "project"
	ThingIteration  Thing = "iteration"
	ThingTag        Thing = "tag"
	ThingImage      Thing = "image"
	ThingPrediction Thing = "prediction"
)

// Missing is what an answer that is ErrGone says is not there. The answer speaks of nothing else:
// of a batch with one unknown image it says NotFoundImage. It is empty for an answer that names
// nothing, and for an error that is not ErrGone.
func Missing(err error) Thing {
	var e *Error
	if !errors.Is(err, ErrGone) || !errors.As(err, &e) {
		return ""
	}
	for _, thing := range [...]Thing{ThingProject, ThingIteration, ThingTag, ThingImage, ThingPrediction} {
		if e.Code == "NotFound"+strings.ToUpper(string(thing[:1]))+string(thing[1:]) {
			return thing
		}
	}
	if e.Code != codeNotFound { // of something in the project, or of a domain
		return ""
	}
	return subjectOf[e.Op]
}

// codeNotFound says that something is not there, and leaves open what.
const codeNotFound = "NotFound"

// subjectOf is what an operation is about, where one thing only can be missing but for those that
// contain it.
var subjectOf = map[string]Thing{
	"GetProject": ThingProject, "DeleteProject": ThingProject,
	"GetIteration": ThingIteration, "DeleteIteration": ThingIteration, "UnpublishIteration": ThingIteration,
	"GetTag": ThingTag, "DeleteTag": ThingTag,
	"GetImagesByIds": ThingImage, "DeleteImages": ThingImage,
	"DeletePrediction": ThingPrediction,
}
