package bagit

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
)

// infoFiles are where a bag's metadata are: before 0.96 under another name.
var infoFiles = [...]string{"bag-info.txt", "package-info.txt"}

// ownAgent begins the Bag-Software-Agent of the bags of this program.
const ownAgent = "cvconsumer "

// readInfo reads the bag's metadata, and compares Payload-Oxum with the payload.
func (c *checker) readInfo(ctx context.Context) error {
	for _, name := range infoFiles {
		if _, ok := c.tags[name]; !ok {
			continue
		}
		var field, value string
		end := func() { c.field(name, field, value) }
		first := true
		err := c.lines(ctx, name, func(_ int, line string) {
			switch {
			case line == "":
			case line[0] == ' ' || line[0] == '\t':
				if first {
					c.problem(name, "it begins with a continued line")
				}
				if len(value) < maxLine {
					value += " " + strings.TrimSpace(line)
				}
			default:
				end()
				label, text, ok := strings.Cut(line, ":")
				if !ok {
					c.problem(name, "a line has no colon: %s", quote(line))
				}
				field, value = strings.TrimSpace(label), strings.TrimSpace(text)
			}
			first = false
		})
		if err != nil {
			return err
		}
		end()
	}
	return nil
}

// field judges one field of the metadata.
func (c *checker) field(name, field, value string) {
	switch {
	case strings.EqualFold(field, "Bag-Software-Agent") && strings.HasPrefix(value, ownAgent):
		c.problem(name, "it says that cvconsumer made this bag, of which receipt and evidence are missing")
	case strings.EqualFold(field, "Payload-Oxum"):
		c.checkOxum(name, value)
	}
}

func (c *checker) checkOxum(name, value string) {
	octets, streams, ok := strings.Cut(value, ".")
	bytes, err := strconv.ParseInt(octets, 10, 64)
	files, err2 := strconv.Atoi(streams)
	if !ok || err != nil || err2 != nil || bytes < 0 || files < 0 {
		c.problem(name, "Payload-Oxum is %s, and not BYTES.FILES", quote(value))
		return
	}
	total := c.read
	for _, f := range c.payload {
		total += max(f.size, 0)
	}
	if c.report.Plain.Missing == 0 && (bytes != total || files != len(c.payload)) {
		c.problem(name, "Payload-Oxum is %d.%d, and there are %d bytes in %d files", bytes, files, total, len(c.payload))
	}
}

// small reads a tag file whole. It notes a problem and gives nil when that is missing or too large.
func (c *checker) small(ctx context.Context, name string) ([]byte, error) {
	body, err := c.open(ctx, name)
	if body == nil || err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxSmall+1))
	switch {
	case c.damage(name, err):
		return nil, nil
	case err != nil:
		return nil, errors.Join(errors.New("read "+name), err)
	case len(b) > maxSmall:
		c.problem(name, "it is larger than %d bytes, so it was not looked at", maxSmall)
		return nil, nil
	case b == nil:
		b = []byte{}
	}
	return b, nil
}
