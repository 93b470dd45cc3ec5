package verify

import (
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// shape is what a file of a bag is by its name.
type shape uint8

// The files of a bag. There are no others.
const (
	noFile shape = iota
	// Outside data/.
	bagIt
	bagInfo
	manifest
	tagManifest
	page
	pageBelow // of an export: below pages/
	receiptFile
	signatureFile
	requestFile
	inventoryFile
	ledgerFile
	planFile
	verificationFile
	failureFile
	// Below data/.
	exportFile
	deletionFile
	// Of a project.
	projectFile
	tagsFile
	iterationsFile
	imagesFile
	predictionsFile
	imageBlob
	predictionBlob
	deletedFile
	// Of an iteration.
	iterationFile
	iterationTags
	performanceFile
	performancesFile
	exportsFile
	iterationImages
	modelFile
)

// fixed is the files that a bag has once at most.
var fixed = map[sink.Path]shape{
	sink.BagItFile: bagIt, sink.BagInfoFile: bagInfo, sink.ManifestFile: manifest, sink.TagManifestFile: tagManifest, sink.IndexFile: page,
	sink.ReceiptFile: receiptFile, sink.SignatureFile: signatureFile, sink.RequestFile: requestFile, sink.InventoryFile: inventoryFile,
	sink.LedgerFile: ledgerFile, sink.PlanFile: planFile, sink.VerificationFile: verificationFile, sink.FailureFile: failureFile,
	sink.ExportFile: exportFile, sink.DeletionFile: deletionFile,
}

// ofProject and ofIteration are the files with fixed names in the folders of these.
var (
	ofProject = map[string]shape{
		"project.json": projectFile, "tags.json": tagsFile, "iterations.json": iterationsFile, "images.jsonl": imagesFile,
		"predictions.jsonl": predictionsFile, "deleted.jsonl": deletedFile,
	}
	ofIteration = map[string]shape{
		"iteration.json": iterationFile, "tags.json": iterationTags, "performance.json": performanceFile, "image-performance.jsonl": performancesFile,
		"exports.json": exportsFile, "images.jsonl": iterationImages,
	}
)

// place is what a file is, and of what.
type place struct {
	shape
	project, iteration uuid.UUID
	id                 uuid.UUID // of a blob: of its image or prediction
	model              string    // of a model: its name without the extension
}

// placeOf tells what a file is by its name; noFile when a bag has no such file.
func placeOf(name sink.Path) place {
	if s, ok := fixed[name]; ok {
		return place{shape: s}
	}
	if rest, ok := strings.CutPrefix(string(name), string(sink.PagesFolder)); ok {
		return place{shape: belowPages(rest)}
	}
	rest, ok := strings.CutPrefix(string(name), "data/projects/")
	if !ok || name.Check() != nil {
		return place{}
	}
	parts := strings.Split(rest, "/")
	p := place{project: plainID(parts[0])}
	if p.project == uuid.Nil {
		return place{}
	}
	switch n := len(parts); {
	case n == 2:
		p.shape = ofProject[parts[1]]
	case n == 3 && (parts[1] == "images" || parts[1] == "predictions"):
		stem, extension, _ := strings.Cut(parts[2], ".")
		if p.id = plainID(stem); p.id == uuid.Nil || !sink.ValidExtension(extension) {
			return place{}
		}
		p.shape = imageBlob
		if parts[1] == "predictions" {
			p.shape = predictionBlob
		}
	case n >= 4 && parts[1] == "iterations":
		if p.iteration = plainID(parts[2]); p.iteration == uuid.Nil {
			return place{}
		}
		switch {
		case n == 4:
			p.shape = ofIteration[parts[3]]
		case n == 5 && parts[3] == "exports":
			model, extension, _ := strings.Cut(parts[4], ".")
			if !sink.ValidExtension(extension) {
				return place{}
			}
			p.shape, p.model = modelFile, model
		}
	}
	return p
}

// belowPages is pageBelow for a page for people that exports have: pages/exceptions-<n>.html,
// and of a project pages/<project>/index.html, iteration-<id>.html, images-<n>.html and
// predictions-<n>.html.
func belowPages(rest string) shape {
	stem, isPage := strings.CutSuffix(rest, ".html")
	project, stem, ofProject := strings.Cut(stem, "/")
	if !ofProject {
		project, stem = "", project
	}
	kind, of, _ := strings.Cut(stem, "-")
	switch {
	case !isPage || ofProject && plainID(project) == uuid.Nil:
		return noFile
	case ofProject && stem == "index", ofProject && kind == "iteration" && plainID(of) != uuid.Nil:
		return pageBelow
	case ofProject == (kind == "images" || kind == "predictions") && (ofProject || kind == "exceptions") && pageNumber(of):
		return pageBelow
	}
	return noFile
}

// pageNumber reports whether a text is a number from 1 on.
func pageNumber(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n > 0 && strconv.Itoa(n) == text
}

// plainID is the id that a text is, in lower case with hyphens; the zero id when it is none.
func plainID(text string) uuid.UUID {
	if len(text) != 36 || strings.ToLower(text) != text {
		return uuid.Nil
	}
	id, err := uuid.Parse(text) // of this length it knows one form
	if err != nil {
		return uuid.Nil
	}
	return id
}

// records reports whether a file's lines are records, which are checked against all other files.
func (s shape) records() bool {
	return s == imagesFile || s == iterationImages || s == predictionsFile || s == performancesFile || s == deletedFile
}

// opaque reports whether a file is a picture or a model, which is only hashed.
func (s shape) opaque() bool { return s == imageBlob || s == predictionBlob || s == modelFile }

// limit is how large a file of this kind may be, in bytes. A larger one is not read.
func (s shape) limit() int64 {
	switch s {
	case bagIt, bagInfo:
		return maxLine
	case inventoryFile, planFile:
		return maxStream
	case receiptFile, tagManifest, requestFile, verificationFile, failureFile, exportFile, deletionFile, page, signatureFile:
		return maxStatement
	case imageBlob, predictionBlob:
		return bagfile.MaxPicture
	case modelFile:
		return bagfile.MaxModel
	case pageBelow:
		return maxPage
	case manifest, ledgerFile, imagesFile, predictionsFile, deletedFile, iterationImages, performancesFile:
		return maxLines
	}
	return maxDocument // also for names that no bag has
}

// allowed reports whether the bags of a kind have such a file.
func (s shape) allowed(kind sink.BagKind) bool {
	switch s {
	case noFile, failureFile:
		return false
	case planFile, verificationFile, deletionFile, deletedFile:
		return kind == sink.DeleteBag
	case bagIt, bagInfo, manifest, tagManifest, page, receiptFile, signatureFile, requestFile, ledgerFile:
		return true
	}
	return kind == sink.ExportBag
}

// required is the files that every bag of a kind has.
func required(kind sink.BagKind) []sink.Path {
	if kind == sink.DeleteBag {
		return []sink.Path{sink.BagItFile, sink.BagInfoFile, sink.RequestFile, sink.LedgerFile, sink.DeletionFile, sink.PlanFile, sink.VerificationFile, sink.IndexFile}
	}
	return []sink.Path{sink.BagItFile, sink.BagInfoFile, sink.RequestFile, sink.LedgerFile, sink.ExportFile, sink.InventoryFile}
}
