package cvtest

import (
	"fmt"
	"sync"
)

// scenes are the drawn scenes of all servers of the process: accounts with one seed hold the same
// ones, and drawing takes longer than anything else that a server does.
var scenes sceneCache

// maxKept is how many bytes of drawn scenes are kept.
const maxKept = 32 << 20

// sceneCache keeps the files of drawn scenes by all that they are drawn from.
type sceneCache struct {
	mu    sync.Mutex
	files map[string][]byte
	bytes int
}

// draw returns the file of a picture's scene in a size. The caller must not change it.
func (c *sceneCache) draw(p picture, w, h int) []byte {
	key := fmt.Sprint(p.seed, p.format, w, h)
	for _, it := range p.items {
		key += fmt.Sprintf(" %q", it.name)
		if it.box != nil {
			key += fmt.Sprint(*it.box)
		}
	}
	c.mu.Lock()
	b := c.files[key]
	c.mu.Unlock()
	if b != nil {
		return b
	}
	b = encode(p.format, p.scene(w, h))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil || c.bytes+len(b) > maxKept {
		c.files, c.bytes = map[string][]byte{}, 0
	}
	c.files[key] = b
	c.bytes += len(b)
	return b
}
