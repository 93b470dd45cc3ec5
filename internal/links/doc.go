// Package links decides which part of a text is a signed link, and removes it.
//
// The service signs the links to its files: a reader of the query can read the file for a while. No
// bag may hold such a query. All other text belongs to the customer and stays as it is, also where
// it looks like a part of a query. Exports remove queries with [Cut], and verification looks for
// them with [Find] and [Scanner]: all three judge by the same code, so a bag that was written
// passes.
//
// Removed are:
//   - the query and fragment of every member of the API whose name ends in Uri or Url, but not
//     below metadata, where the customer chooses the names;
//   - the query and fragment of every http or https link below settings;
//   - elsewhere the query of an http or https link, at any place of a text, that has both sv= and
//     sig=, as the signed links of the service and of its storage have.
package links
