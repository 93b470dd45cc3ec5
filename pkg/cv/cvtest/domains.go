package cvtest

func domains() []jsonDomain {
	const classification, detection = "Classification", "ObjectDetection"
	return []jsonDomain{
		{"ee85a74c-405e-4adc-bb47-ffa8ca0c9f31", "General", classification, false, true},
		{"a8e3c40f-fb4a-466f-832a-5e457ae4a344", "General [A1]", classification, false, true},
		{"2e37d7fb-3a54-486a-b4d6-cfc369af0018", "General [A2]", classification, false, true},
		{"c151d5b5-dd07-472a-acc8-15d29dea8518", "Food", classification, false, true},
		{"ca455789-012d-4b50-9fec-5bb63841c793", "Landmarks", classification, false, true},
		{"b30a91ae-e3c1-4f73-a81e-c270bff27c39", "Retail", classification, false, true},
		{"45badf75-3591-4f26-a705-45678d3e9f5f", "Adult", classification, false, true},
		{"0732100f-1a38-4e49-a514-c9b44c697ab5", "General (compact)", classification, true, true},
		{"a1db07ca-a19a-4830-bae8-e004a42dc863", "General (compact) [S1]", classification, true, true},
		{"8882951b-82cd-4c32-970b-d5f8cb8bf6d7", "Food (compact)", classification, true, true},
		{"b5cfd229-2ac7-4b2b-8d0a-2b0661344894", "Landmarks (compact)", classification, true, true},
		{"6b4faeda-8396-481b-9f8b-177b9fa3097f", "Retail (compact)", classification, true, true},
		{"da2e3a8a-40a5-4171-82f4-58522f70fbc1", "General", detection, false, true},
		{"9c616dff-2e7d-ea11-af59-1866da359ce6", "General [A1]", detection, false, true},
		{"1d8ffafe-ec40-4fb2-8f90-72b3b6cecea4", "Logo", detection, false, true},
		{"3780a898-81c3-4516-81ae-3a139614e1f3", "Products on shelves", detection, false, true},
		{"a27d5ca5-bb19-49d8-a70a-fec086c47f5b", "General (compact)", detection, true, true},
		{"7ec2ac80-887b-48a6-8df9-8b1357765430", "General (compact) [S1]", detection, true, true},
	}
}

func (s *Server) getDomains(*request) answer { return ok(domains()) }

func (s *Server) getDomain(q *request) answer {
	for _, d := range domains() {
		if d.ID == q.ids["domainId"].String() {
			return ok(d)
		}
	}
	return notFound("NotFoundDomain", "Domain not found: %s", q.ids["domainId"])
}
