package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// actionsOf are the rights that the operations of S3 need.
var actionsOf = map[string][]string{
	"AbortMultipartUpload":       {"s3:AbortMultipartUpload"},
	"CompleteMultipartUpload":    {"s3:PutObject"},
	"CreateMultipartUpload":      {"s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectRetention", "kms:GenerateDataKey"},
	"DeleteObject":               {"s3:DeleteObject", "s3:DeleteObjectVersion"},
	"DeleteObjects":              {"s3:DeleteObject", "s3:DeleteObjectVersion"},
	"GetBucketVersioning":        nil, // without the right to ask, the right to list versions tells
	"GetObject":                  {"s3:GetObject", "kms:Decrypt"},
	"GetObjectLockConfiguration": {"s3:GetBucketObjectLockConfiguration"},
	"GetObjectRetention":         {"s3:GetObjectRetention"},
	"GetObjectTagging":           {"s3:GetObjectTagging"},
	"HeadBucket":                 {"s3:ListBucket"},
	"HeadObject":                 {"s3:GetObject"},
	"ListMultipartUploads":       {"s3:ListBucketMultipartUploads"},
	"ListObjectVersions":         {"s3:ListBucketVersions"},
	"ListObjectsV2":              {"s3:ListBucket"},
	"PutObject":                  {"s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectRetention", "kms:GenerateDataKey"},
	"PutObjectRetention":         {"s3:PutObjectRetention"},
	"UploadPart":                 {"s3:PutObject", "kms:Decrypt"},
}

// TestDocumentedPolicy demands that the policy in docs/operators.md has the rights for all requests
// that the program makes, and no others.
func TestDocumentedPolicy(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operators.md"))
	if err != nil {
		t.Fatal(err)
	}
	var granted []string
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1) {
		var policy struct {
			Version   string
			Statement []struct {
				Effect, Resource string
				Action           []string
			}
		}
		if err := json.Unmarshal(block[1], &policy); err != nil {
			t.Fatalf("%v:\n%s", err, block[1])
		}
		for _, s := range policy.Statement {
			granted = append(granted, s.Action...)
		}
	}
	sources, err := filepath.Glob(filepath.Join("..", "..", "pkg", "sink", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var needed []string
	operation := regexp.MustCompile(`\bs3\.(\w+)Input\{`)
	for _, source := range sources {
		if matched, _ := filepath.Match("*_test.go", filepath.Base(source)); matched {
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range operation.FindAllSubmatch(text, -1) {
			actions, known := actionsOf[string(found[1])]
			if !known {
				t.Errorf("%s: the rights for %s are not known here", source, found[1])
			}
			needed = append(needed, actions...)
		}
	}
	for _, list := range []*[]string{&granted, &needed} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if !slices.Equal(granted, needed) {
		t.Errorf("the policy grants\n%q, needed are\n%q", granted, needed)
	}
}
