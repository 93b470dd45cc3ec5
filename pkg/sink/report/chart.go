package report

import "strings"

// How a chart is laid out, in its own units.
const (
	chartLeft, chartRight, chartTop, chartBottom = 48, 620, 16, 216
	chartWidth, chartHeight                      = 640, 260
	maxTicks                                     = 15 // that have room beside each other
)

// chart is a line for each kind of score over the iterations that have one.
type chart struct {
	Width, Height int
	Grid          []tick // horizontal lines
	Ticks         []tick // iterations
	Series        []series
}

// tick is a mark on an axis.
type tick struct{ At, Text string }

// series is one line with its marks.
type series struct {
	N      int // which style it has
	Name   string
	Points string
	Marks  []mark
}

// mark is one value. The marks of the lines have different shapes, so that they are told apart
// without colors.
type mark struct{ X, Y, Points, Text string }

// newChart draws the scores of iterations; nil where fewer than two have any.
func newChart(rows []iterationRow) *chart {
	var with []iterationRow
	for _, r := range rows {
		if r.Performance != nil {
			with = append(with, r)
		}
	}
	if len(with) < 2 {
		return nil
	}
	x := func(i int) float64 {
		return chartLeft + 20 + float64(i)*(chartRight-chartLeft-40)/float64(len(with)-1)
	}
	y := func(share float64) float64 { return chartBottom - min(max(share, 0), 1)*(chartBottom-chartTop) }
	c := &chart{Width: chartWidth, Height: chartHeight}
	for _, p := range []float64{0, .25, .5, .75, 1} {
		c.Grid = append(c.Grid, tick{coordinate(y(p)), strings.TrimSuffix(percent(p), ".0 %") + " %"})
	}
	every := (len(with) + maxTicks - 1) / maxTicks
	for i, r := range with {
		if i%every == 0 {
			c.Ticks = append(c.Ticks, tick{coordinate(x(i)), number(r.N)})
		}
	}
	for n, of := range []struct {
		name  string
		value func(*performance) *float64
	}{
		{"Precision", func(p *performance) *float64 { return p.Precision }},
		{"Recall", func(p *performance) *float64 { return p.Recall }},
		{"Average precision", func(p *performance) *float64 { return p.AveragePrecision }},
	} {
		s := series{N: n, Name: of.name}
		var points []string
		for i, r := range with {
			v := of.value(r.Performance)
			if v == nil {
				continue
			}
			at := [2]float64{x(i), y(*v)}
			points = append(points, coordinate(at[0])+","+coordinate(at[1]))
			s.Marks = append(s.Marks, mark{X: coordinate(at[0]), Y: coordinate(at[1]), Points: shapeAt(n, at), Text: of.name + " of iteration " + number(r.N) + ": " + percent(*v)})
		}
		s.Points = strings.Join(points, " ")
		c.Series = append(c.Series, s)
	}
	return c
}

// shapeAt is the corners of a line's mark: a diamond, a square, a triangle.
func shapeAt(n int, at [2]float64) string {
	corners := [][2]float64{{0, -6}, {6, 0}, {0, 6}, {-6, 0}}
	switch n {
	case 1:
		corners = [][2]float64{{-4.5, -4.5}, {4.5, -4.5}, {4.5, 4.5}, {-4.5, 4.5}}
	case 2:
		corners = [][2]float64{{0, -6}, {6, 5}, {-6, 5}}
	}
	var out []string
	for _, c := range corners {
		out = append(out, coordinate(at[0]+c[0])+","+coordinate(at[1]+c[1]))
	}
	return strings.Join(out, " ")
}
