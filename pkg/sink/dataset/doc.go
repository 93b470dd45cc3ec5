// Package dataset makes training sets of an export's bag, for tools other than Custom Vision: COCO,
// the JSON Lines of Azure Machine Learning, and the layouts of Ultralytics YOLO.
//
// project.go reads a project and its images from a bag; plan.go chooses images, and splits them;
// picture.go finds the size of a picture, and which way is up; convert.go goes through the images,
// several at once and in order; coco.go, azureml.go and yolo.go write one format each; output.go is
// where they write to.
//
// The bag is one that was verified. Its texts are the customer's: none becomes a file's name as it
// is. Memory: about 100 bytes for each image of one project, and eight pictures at a time, of at
// most 64 MiB. Annotations of COCO go through a temporary file.
package dataset
