// Package webpage makes HTML pages of templates in the language of html/template, as far as this
// program uses it: fields, variables, if, range, with, template, and functions.
//
// It exists for what html/template does to the rest of the binary: a template may call any method
// by its name, so the linker keeps every exported method of every type, of which there are 9 MB in
// the clients of S3 and Entra ID. Here templates cannot call methods.
//
// Every value is escaped for text and quoted attributes, which is all that it is: what stands in
// another place has to come from a function that gives HTML. Package webpagetest has html/template
// judge in tests that this is enough for every place where a template shows something.
package webpage
