// Package report makes the pages of bundles for people: HTML that is read offline and can be
// printed, with no script, no font and no picture from elsewhere. The text of a delete's
// certificate is in certificate.html, what is filled in there in certificate.go.
//
// It knows nothing of bags or storage: it is given what to say, and gives bytes, the same for the
// same input.
package report
