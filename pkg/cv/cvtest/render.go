package cvtest

import (
	"maps"
	"math"
	"time"

	"github.com/google/uuid"
)

// zoned is a time as projects, iterations and predictions give it: UTC with up to three digits.
func zoned(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999Z") }

// unzoned is a time as images, their tags and regions give it: UTC that does not say so, with up to
// seven digits.
func (s *Server) unzoned(nanos int64) string {
	text := time.Unix(0, nanos).UTC().Format("2006-01-02T15:04:05.9999999")
	if s.o.ZonedTimes {
		text += "Z"
	}
	return text
}

// missing is a field without a value: null as recorded, else left out.
func (s *Server) missing() nullable {
	if s.o.Recorded {
		return some(nil)
	}
	return nullable{}
}

func (s *Server) orMissing(text string) nullable {
	if text == "" {
		return s.missing()
	}
	return some(text)
}

// orNull is a field the specification allows to be null.
func orNull(text string) nullable {
	if text == "" {
		return some(nil)
	}
	return some(text)
}

func (p *project) domain() string {
	switch {
	case p.kind == Detection && p.compact:
		return "a27d5ca5-bb19-49d8-a70a-fec086c47f5b"
	case p.kind == Detection:
		return "da2e3a8a-40a5-4171-82f4-58522f70fbc1"
	case p.compact:
		return "0732100f-1a38-4e49-a514-c9b44c697ab5"
	default:
		return "ee85a74c-405e-4adc-bb47-ffa8ca0c9f31"
	}
}

func (p *project) classificationType() string {
	return [...]string{"Multiclass", "Multilabel", ""}[p.kind]
}

func (l linker) project(p *project) jsonProject {
	j := jsonProject{
		ID: p.id, Name: p.name, Description: orNull(p.description), Created: zoned(p.created), LastModified: zoned(p.modified),
		DRMode: p.drMode, Status: "Succeeded", ThumbnailURI: l.s.missing(),
	}
	j.Settings.DomainID = p.domain()
	j.Settings.ClassificationType = l.s.orMissing(p.classificationType())
	j.Settings.TargetExportPlatforms = []string{}
	j.Settings.UseNegativeSet = p.kind != Detection
	j.Settings.DetectionParameters = l.s.missing()
	a := &j.Settings.ImageProcessing.Augmentation
	a.Rotation, a.Scaling, a.Translation, a.HorizontalFlip, a.Equalize, a.Solarize, a.PadToSquare = true, true, true, true, true, true, true
	if p.workspace.image(p.thumbnail) != nil {
		j.ThumbnailURI = some(l.uri(imageBlob(p.id, 't', p.thumbnail)))
	}
	return j
}

func (sc *scope) jsonTag(t *tag) jsonTag {
	sc.list()
	return jsonTag{ID: t.id, Name: t.name, Description: orNull(t.description), Type: t.kind, ImageCount: sc.counts[t.id]}
}

// platforms are what an iteration on a compact domain can be exported to.
func platforms() []string { return []string{"VAIDK", "CoreML", "DockerFile", "ONNX", "TensorFlow"} }

func (l linker) iteration(p *project, it *iteration) jsonIteration {
	j := jsonIteration{
		ID: it.id, Name: it.name, Status: it.status, Created: zoned(it.created), LastModified: zoned(it.modified), ProjectID: p.id,
		DomainID: p.domain(), ClassificationType: l.s.orMissing(p.classificationType()), TrainingType: "Regular",
		TrainingTimeInMinutes: it.minutes, PublishName: l.s.missing(), OriginalPublishResourceID: l.s.missing(),
		ExportableTo: some([]string{}),
	}
	if it.isTrained() {
		j.TrainedAt = zoned(it.trained)
		j.Exportable = p.compact
		if p.compact {
			j.ExportableTo = some(platforms())
		}
	}
	if l.s.o.Recorded {
		j.ExportableTo = some(nil)
	}
	if it.publishName != "" {
		j.PublishName = some(it.publishName)
		j.OriginalPublishResourceID = some("/subscriptions/" + l.s.newID("subscription").String() + "/resourceGroups/vision/providers/Microsoft.CognitiveServices/accounts/prediction")
	}
	return j
}

func (l linker) image(p *project, sc *scope, img *image) jsonImage {
	j := jsonImage{
		ID: img.id, Created: l.s.unzoned(img.created), Tags: l.imageTags(sc, img), Regions: l.regions(sc, img), Metadata: maps.Clone(img.meta),
		ResizedImageURI: l.uri(imageBlob(p.id, 'i', img.id)), ThumbnailURI: l.uri(imageBlob(p.id, 't', img.id)),
	}
	j.Width, j.Height = img.picture.size(versionResized)
	j.OriginalImageURI = j.ResizedImageURI
	if img.picture.resized {
		j.OriginalImageURI = l.uri(imageBlob(p.id, 'o', img.id))
	}
	return j
}

// tagName is a tag's name in a scope.
func (sc *scope) tagName(id uuid.UUID) string {
	if t := sc.tag(id); t != nil {
		return t.name
	}
	return ""
}

func (l linker) imageTags(sc *scope, img *image) []jsonImageTag {
	var all []jsonImageTag
	for _, t := range img.tags {
		all = append(all, jsonImageTag{TagID: t.tag, TagName: sc.tagName(t.tag), Created: l.s.unzoned(t.created)})
	}
	return all
}

func (l linker) regions(sc *scope, img *image) []jsonRegion {
	var all []jsonRegion
	for _, r := range img.regions {
		all = append(all, jsonRegion{RegionID: r.id, TagID: r.tag, TagName: sc.tagName(r.tag), Created: l.s.unzoned(r.created), jsonBox: r.box.json()})
	}
	return all
}

func (b box) json() jsonBox {
	return jsonBox{number(b[0]), number(b[1]), number(b[2]), number(b[3])}
}

// scores are made up: precision grows with the threshold and recall falls with it.
func (s *Server) scores(threshold, overlap float64, labels ...any) jsonScores {
	u := func(label string) float64 {
		return float64(s.number(append([]any{label}, labels...)...)%10_000) / 10_000
	}
	n := func(v float64) number { return number(math.Round(max(0, min(1, v))*1e6) / 1e6) }
	return jsonScores{
		Precision: n(0.7 + 0.2*u("p") + 0.2*(threshold-0.5)), Recall: n(0.75 + 0.2*u("r") - 0.3*(threshold-0.5) - 0.1*(overlap-0.3)),
		PrecisionStdDeviation: n(0.05 * u("ps")), RecallStdDeviation: n(0.05 * u("rs")), AveragePrecision: n(0.72 + 0.25*u("a")),
	}
}

func (s *Server) performance(p *project, it *iteration, threshold, overlap float64) jsonPerformance {
	j := jsonPerformance{PerTag: []jsonTagPerformance{}, jsonScores: s.scores(threshold, overlap, p.serial, it.serial)}
	for i, t := range it.scope.tags {
		if t.kind == "Regular" {
			j.PerTag = append(j.PerTag, jsonTagPerformance{ID: t.id, Name: t.name, jsonScores: s.scores(threshold, overlap, p.serial, it.serial, i)})
		}
	}
	return j
}

// evaluated are the images an iteration was evaluated on: a quarter of the tagged ones.
func (it *iteration) evaluated() []*image {
	it.scope.list()
	var all []*image
	for _, img := range it.scope.tagged {
		if img.serial%4 == 0 {
			all = append(all, img)
		}
	}
	return all
}

func (l linker) imagePerformance(p *project, it *iteration, img *image) jsonImagePerformance {
	j := jsonImagePerformance{
		ID: img.id, Created: l.s.unzoned(img.created), Tags: l.imageTags(it.scope, img), Regions: l.regions(it.scope, img),
		ImageURI: l.uri(imageBlob(p.id, 'i', img.id)), ThumbnailURI: l.uri(imageBlob(p.id, 't', img.id)), Predictions: []jsonPrediction{},
	}
	j.Width, j.Height = img.picture.size(versionResized)
	for i, t := range it.scope.tags {
		g := guess{tag: t.id, name: t.name, kind: t.kind, probability: float32(l.s.number("image guess", p.serial, it.serial, img.serial, i)%1_000_000) / 1_000_000}
		if p.kind == Detection && len(img.regions) > 0 {
			b := img.regions[i%len(img.regions)].box
			g.box = &b
		}
		j.Predictions = append(j.Predictions, g.json())
	}
	return j
}

func (g guess) json() jsonPrediction {
	j := jsonPrediction{Probability: number(g.probability), TagID: g.tag, TagName: g.name, TagType: g.kind}
	if g.box != nil {
		b := g.box.json()
		j.BoundingBox = &b
	}
	return j
}

func (l linker) prediction(p *project, x *prediction) jsonStoredPrediction {
	original := l.uri(predictionBlob(p.id, 'o', x.id))
	j := jsonStoredPrediction{
		ResizedImageURI: original, ThumbnailURI: l.uri(predictionBlob(p.id, 't', x.id)), OriginalImageURI: original, Domain: p.domain(),
		ID: x.id, Project: p.id, Iteration: x.iteration, Created: zoned(x.created), Predictions: []jsonPrediction{},
	}
	for _, g := range x.guesses {
		j.Predictions = append(j.Predictions, g.json())
	}
	return j
}

func (l linker) export(p *project, it *iteration, e export) jsonExport {
	j := jsonExport{Platform: e.platform, Status: e.status, DownloadURI: l.s.missing(), Flavor: l.s.orMissing(e.flavor), Newer: e.newer}
	if e.status == StatusDone {
		j.DownloadURI = some(l.uri(modelBlob(p.id, it.id, e)))
	}
	return j
}
