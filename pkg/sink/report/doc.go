// Package report makes the pages of bundles for people: HTML that is read offline and can be
// printed, with no script, no font and no picture from elsewhere.
//
//   - page.go: what all pages have in common, with base.html and style.css
//   - certificate.go: [Certificate], the page of a delete
//   - site.go: [Site], the pages of an export; bundle.go: its index.html
//   - project.go, chart.go: of each project a page, and one for each of its iterations
//   - gallery.go, tile.go, picture.go: galleries of images and stored predictions, which are stored
//     page by page while the records go by
//
// A page is of bounded size whatever the customer's texts are.
//
// It knows nothing of bags or storage: it is given what to say, and gives bytes, the same for the
// same input.
package report
