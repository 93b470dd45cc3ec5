// Package dataset makes training sets of an export's bag, for tools other than Custom Vision: COCO,
// the JSON Lines of Azure Machine Learning, and the layouts of Ultralytics YOLO.
//
//   - options.go: what is asked for; output.go: where it is written to
//   - project.go: a project and its images, as a bag has them; plan.go: which images are taken, and
//     in which set
//   - picture.go: the size of a picture, and which way is up
//   - convert.go: all images, several at once and in order
//   - coco.go, azureml.go, yolo.go: one format each
//
// The bag is one that was verified. Its texts are the customer's: none becomes a file's name as it
// is. Memory: about 100 bytes for each image of one project, and eight pictures at a time, of at
// most 64 MiB. Annotations of COCO go through a temporary file.
package dataset
