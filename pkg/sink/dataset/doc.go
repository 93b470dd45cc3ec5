// Package dataset reads the projects of an export's bag as a tool that trains would: kind of
// project, tags, images with their tags and boxes.
//
// project.go reads a project and its images from a bag.
//
// The bag is one that was verified. Its texts are the customer's: none becomes a file's name as it
// is.
package dataset
