package cvtest

import "fmt"

// Sample makes the demonstration account: projects of all kinds with drawn pictures, iterations
// with snapshots (published, untrained, with images that are no longer in the workspace), regions,
// metadata, exports and stored predictions. It returns them in order.
func (s *Server) Sample() []*Project {
	var made []*Project
	for _, spec := range SampleSpecs() {
		made = append(made, s.AddProject(spec))
	}
	return made
}

// SampleSpecs are the projects of Sample. All of it can be exported: no model is still being made.
func SampleSpecs() []ProjectSpec {
	return []ProjectSpec{
		{
			Name: "Weather signs", Description: "What the sky says, for the harbor display", Kind: Multiclass, Compact: true,
			Tags: []string{"sun", "cloud", "rain"}, NegativeTag: "nothing", Images: 24, Untagged: 4,
			Iterations: []IterationSpec{
				{Images: 18, Exports: []ExportSpec{{Platform: "TensorFlow", Flavor: "TensorFlowLite"}, {Platform: "CoreML", Status: StatusFailed}}, DropFromWorkspace: 3},
				{Published: true, Exports: []ExportSpec{
					{Platform: "ONNX", Flavor: "ONNX12", Newer: true}, {Platform: "DockerFile", Flavor: "Linux", Status: StatusFailed},
				}},
			},
			Predictions: 7,
		},
		{
			Name: "Street scenes", Description: "Houses, trees & cars <by the road>", Kind: Multilabel,
			Tags: []string{"house", "tree", "car"}, NegativeTag: "Negative", Images: 18, Untagged: 2,
			Iterations:  []IterationSpec{{}, {Name: "Broken attempt", Untrained: true}},
			Predictions: 3,
		},
		{
			Name: "Shelf audit", Kind: Detection, Compact: true,
			Tags: []string{"bottle", "can", "box"}, Images: 16, Untagged: 3,
			Iterations:  []IterationSpec{{DropFromWorkspace: 2, Exports: []ExportSpec{{Platform: "TensorFlow", Flavor: "TensorFlowNormal"}}}},
			Predictions: 4,
		},
		{
			Name: "Visitor badges", Description: "Badge pictures; subject is the person shown", Kind: Multiclass,
			Tags: []string{"visitor", "staff", "contractor"}, Images: 15, Untagged: 3,
			Iterations: []IterationSpec{{DropFromWorkspace: 2}},
			Metadata: func(i int) map[string]string {
				return map[string]string{"subject": fmt.Sprintf("person-%03d", i%6+1), "gate": [...]string{"north", "south"}[i%2]}
			},
			Predictions: 2,
		},
		{Name: "Not begun", Description: "An empty project"},
	}
}
