package bagfile

// Counts is how many distinct things are in a bag, or were deleted.
type Counts struct {
	Projects    int64 `json:"projects"`
	Iterations  int64 `json:"iterations"`
	Performance int64 `json:"performance"`
	Tags        int64 `json:"tags"`
	Images      int64 `json:"images"`
	Exports     int64 `json:"exports"` // model files
	Predictions int64 `json:"predictions"`
	Bytes       int64 `json:"bytes"` // the payload's size without data/export.json or data/deletion.json
}

// Of is a category's counter, nil for a word that is no category.
func (c *Counts) Of(category string) *int64 {
	switch category {
	case Projects:
		return &c.Projects
	case Iterations:
		return &c.Iterations
	case Performance:
		return &c.Performance
	case Tags:
		return &c.Tags
	case Images:
		return &c.Images
	case Exports:
		return &c.Exports
	case Predictions:
		return &c.Predictions
	}
	return nil
}

// Add adds other counts.
func (c *Counts) Add(o Counts) {
	for _, k := range Categories() {
		*c.Of(k) += *o.Of(k)
	}
	c.Bytes += o.Bytes
}

// Empty reports whether nothing is counted.
func (c Counts) Empty() bool {
	c.Bytes = 0
	return c == Counts{}
}

// ByName is the counts as receipts carry them.
func (c Counts) ByName() map[string]int64 {
	m := map[string]int64{"bytes": c.Bytes}
	for _, k := range Categories() {
		m[k] = *c.Of(k)
	}
	return m
}

// CountsByName is the counts that a receipt carries.
func CountsByName(m map[string]int64) Counts {
	c := Counts{Bytes: m["bytes"]}
	for _, k := range Categories() {
		*c.Of(k) = m[k]
	}
	return c
}
