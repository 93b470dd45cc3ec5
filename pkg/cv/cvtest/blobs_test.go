package cvtest

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	goimage "image"
	_ "image/gif" // decoders of the pictures
	_ "image/jpeg"
	_ "image/png"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	_ "golang.org/x/image/bmp"
)

// TestPictures decodes every kind of picture and compares its size with what the API says.
func TestPictures(t *testing.T) {
	s := start(t, Options{})
	seen := map[string]int{}
	for name, spec := range map[string]ProjectSpec{
		"scenes": {Kind: Multilabel, Tags: []string{"house", "tree", "sun", "cloud", "rain", "car", "x", "other", "staff", "z1"}, Images: 46},
		"boxes":  {Kind: Detection, Tags: []string{"bottle", "can", "box"}, Images: 12},
		"tiny":   {Images: 46, ImageBytes: Tiny, Predictions: 3, Iterations: []IterationSpec{{}}},
		"filled": {Images: 12, ImageBytes: 5000},
	} {
		made := s.AddProject(spec)
		for _, x := range get[[]listed](t, s, "projects/"+made.ID.String()+"/images?take=256") {
			for kind, b := range map[string][]byte{
				"original": s.Blob(made.ID, BlobOriginal, x.ID), "resized": s.Blob(made.ID, BlobResized, x.ID), "thumbnail": s.Blob(made.ID, BlobThumbnail, x.ID),
			} {
				cfg, format, err := goimage.DecodeConfig(bytes.NewReader(b))
				if err != nil {
					t.Fatalf("%s %s: %v", name, kind, err)
				}
				if _, _, err := goimage.Decode(bytes.NewReader(b)); err != nil {
					t.Fatalf("%s %s %s: %v", name, kind, format, err)
				}
				seen[name+" "+format]++
				if kind == "resized" && (cfg.Width != x.Width || cfg.Height != x.Height) {
					t.Errorf("%s: %dx%d, said %dx%d", name, cfg.Width, cfg.Height, x.Width, x.Height)
				}
				if kind == "original" && cfg.Width != x.Width && x.OriginalImageURI == x.ResizedImageURI {
					t.Errorf("%s: original is %d wide", name, cfg.Width)
				}
				if name == "filled" && kind != "thumbnail" && len(b) != 5000 {
					t.Errorf("filled picture of %d bytes", len(b))
				}
			}
			if (x.OriginalImageURI != x.ResizedImageURI) == bytes.Equal(s.Blob(made.ID, BlobOriginal, x.ID), s.Blob(made.ID, BlobResized, x.ID)) {
				t.Errorf("%s: original and resized do not fit their links", name)
			}
		}
	}
	for _, want := range []string{"scenes jpeg", "scenes png", "scenes gif", "scenes bmp", "tiny jpeg", "tiny png", "tiny gif", "tiny bmp"} {
		if seen[want] == 0 {
			t.Errorf("no %s among %v", want, seen)
		}
	}
}

// TestLinks follows links, lets them expire and tampers with them.
func TestLinks(t *testing.T) {
	for name, o := range map[string]Options{"same port": {}, "second port": {BlobListener: true}} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			o.Now, o.LinkTTL = c.Now, 2*time.Second
			s := start(t, o)
			made := s.AddProject(ProjectSpec{Images: 6})
			img := get[[]listed](t, s, "projects/"+made.ID.String()+"/images")[0]
			link := img.OriginalImageURI
			u, err := url.Parse(link)
			if err != nil || (u.Host == strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/base")) == o.BlobListener || !strings.HasPrefix(link, s.BlobURL()) {
				t.Fatalf("link %s of a server at %s, %v", link, s.URL(), err)
			}
			if se := u.Query().Get("se"); se != "2026-11-24T09:30:02Z" || u.Query().Get("sv") == "" || u.Query().Get("sp") != "r" {
				t.Errorf("link %s", link)
			}
			bare := func(r *http.Request) { r.Header.Del("Training-Key") }
			r := send(t, s, "GET", link, "", bare)
			want := s.Blob(made.ID, BlobOriginal, img.ID)
			sum := md5.Sum(want)
			if r.status != 200 || !bytes.Equal(r.body, want) || r.header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]) || r.header.Get("Content-Length") != fmt.Sprint(len(want)) {
				t.Errorf("download: %d, %d bytes of %d, %v", r.status, len(r.body), len(want), r.header)
			}
			if h := send(t, s, "HEAD", link, "", bare); h.status != 200 || len(h.body) != 0 || h.header.Get("Content-Length") != fmt.Sprint(len(want)) {
				t.Errorf("HEAD: %d %v", h.status, h.header)
			}
			if r := send(t, s, "GET", link, "", func(r *http.Request) { r.Header.Set("Training-Key", s.Key()) }); r.status != 400 {
				t.Errorf("download with the key: %d", r.status)
			}
			if n := len(s.Leaks()); n != 1 {
				t.Errorf("%d leaks", n)
			}
			for what, bad := range map[string]string{
				"no signature": s.BlobURL() + u.Path, "other blob": strings.Replace(link, plain(img.ID), plain(made.Images[1]), 1),
				"longer life": strings.Replace(link, "09%3A30%3A02", "19%3A30%3A02", 1),
			} {
				if r := send(t, s, "GET", bad, "", bare); r.status != 403 || r.header.Get("x-ms-error-code") != "AuthenticationFailed" {
					t.Errorf("%s: %d", what, r.status)
				}
			}
			c.Advance(2 * time.Second)
			if r := send(t, s, "GET", link, "", bare); r.status != 200 {
				t.Errorf("at its end: %d", r.status)
			}
			c.Advance(time.Millisecond)
			r = send(t, s, "GET", link, "", bare)
			if r.status != 403 || !strings.Contains(string(r.body), "<Code>AuthenticationFailed</Code>") || r.header.Get("Content-Type") != "application/xml" {
				t.Errorf("expired: %d %s", r.status, r.body)
			}
			fresh := get[[]listed](t, s, "projects/"+made.ID.String()+"/images/id?imageIds="+img.ID.String())[0].OriginalImageURI
			if r := send(t, s, "GET", fresh, "", bare); r.status != 200 {
				t.Errorf("fresh link: %d", r.status)
			}
			artifact := "projects/" + made.ID.String() + "/artifacts?path="
			if r := send(t, s, "GET", artifact+url.QueryEscape(fresh), ""); r.status != 200 || !bytes.Equal(r.body, want) {
				t.Errorf("artifact by link: %d", r.status)
			}
			if r := send(t, s, "GET", artifact+url.QueryEscape(link), ""); r.code() != "BadRequestInvalidArtifactUri" {
				t.Errorf("artifact by expired link: %d %s", r.status, r.code())
			}
			s.EraseImage(made.ID, img.ID)
			if r := send(t, s, "GET", fresh, "", bare); r.status != 404 || r.header.Get("x-ms-error-code") != "BlobNotFound" {
				t.Errorf("deleted: %d", r.status)
			}
			if s.BlobCount() == 0 || s.Count("Nothing") != 0 {
				t.Error("counts")
			}
			if o.BlobListener {
				if r := send(t, s, "GET", strings.Replace(fresh, s.BlobURL(), strings.TrimSuffix(s.URL(), "/base"), 1), "", bare); r.status != 404 {
					t.Errorf("blob on the API's port: %d", r.status)
				}
			}
		})
	}
}

func TestVNet(t *testing.T) {
	s := start(t, Options{VNet: true})
	made := s.AddProject(ProjectSpec{Compact: true, Images: 4, ImageBytes: Tiny, Iterations: []IterationSpec{{Exports: []ExportSpec{{Platform: "ONNX", Bytes: 300_000}}}}, Predictions: 1})
	p := "projects/" + made.ID.String()
	img := get[[]listed](t, s, p+"/images")[0]
	if img.OriginalImageURI != "i-"+plain(made.ID)+"/i-"+plain(img.ID) && img.OriginalImageURI != "i-"+plain(made.ID)+"/o-"+plain(img.ID) {
		t.Fatalf("path %s", img.OriginalImageURI)
	}
	r := send(t, s, "GET", p+"/artifacts?path="+url.QueryEscape(img.OriginalImageURI), "")
	if !bytes.Equal(r.body, s.Blob(made.ID, BlobOriginal, img.ID)) || r.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("artifact: %d", r.status)
	}
	model := get[[]struct{ DownloadURI string }](t, s, p+"/iterations/"+made.Iterations[0].String()+"/export")[0].DownloadURI
	want := s.Model(made.ID, made.Iterations[0], "ONNX", "")
	if r := send(t, s, "GET", p+"/artifacts?path="+url.QueryEscape(model), ""); len(want) < 300_000 || !bytes.Equal(r.body, want) {
		t.Errorf("model: %d, %d bytes of %d", r.status, len(r.body), len(want))
	}
	if r := send(t, s, "GET", s.BlobURL()+blobPath+img.OriginalImageURI, "", func(r *http.Request) { r.Header.Del("Training-Key") }); r.status != 403 {
		t.Errorf("direct download: %d", r.status)
	}
}

// Kept blobs are the same as those that are made again for each download, with the same headers.
func TestKeepBlobs(t *testing.T) {
	made, kept := start(t, Options{}), start(t, Options{KeepBlobs: true})
	for _, s := range []*Server{made, kept} {
		s.AddProject(ProjectSpec{Compact: true, Images: 3, ImageBytes: 5000, Iterations: []IterationSpec{{Exports: []ExportSpec{{Platform: "ONNX", Bytes: 9000}}}}})
	}
	p := made.Snapshot().Projects[0]
	names := []string{modelBlob(p.ID, p.Iterations[0].ID, export{platform: "ONNX"})}
	for _, image := range p.Workspace.Images {
		names = append(names, imageBlob(p.ID, 'i', image.ID))
	}
	for _, name := range names {
		want, got, again := made.openBlob(name, p.ID), kept.openBlob(name, p.ID), kept.openBlob(name, p.ID)
		if got != again {
			t.Errorf("%s was made twice", name)
		}
		if got.size != want.size || got.md5 != want.md5 || got.sha256 != want.sha256 || !bytes.Equal(kept.read(name), made.read(name)) || int64(len(kept.read(name))) != want.size {
			t.Errorf("%s has %d bytes and differs from the one of %d bytes", name, got.size, want.size)
		}
	}
}
