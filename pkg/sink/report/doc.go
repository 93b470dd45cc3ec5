// Package report makes the pages of bundles for people: HTML that is read offline and can be
// printed, with no script, no font and no picture from elsewhere. What all pages have in common is
// in page.go, base.html and style.css.
//
// [Certificate] is the page of a delete. [Site] makes those of an export: index.html (bundle.go),
// of each project a page and one for each of its iterations (project.go, chart.go), and galleries
// of its images and stored predictions (gallery.go, tile.go), which are stored page by page while
// the records go by. A page is of bounded size whatever the customer's texts are.
//
// It knows nothing of bags or storage: it is given what to say, and gives bytes, the same for the
// same input.
package report
