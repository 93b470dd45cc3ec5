package cvtest

import (
	"errors"
	"strings"
)

// filter is a parsed $filter expression on an image's metadata.
type filter func(meta map[string]string) bool

// parseFilter reads what the service's specification shows: key eq 'value', key ne 'value', joined
// by and and or, of which and binds closer. A leading "metadata=" is accepted, since it is not
// clear whether it belongs there. A quote in a value is doubled. A key that is missing is not equal
// to anything.
func parseFilter(text string) (filter, error) {
	p := filterParser{rest: strings.TrimPrefix(strings.TrimSpace(text), "metadata=")}
	f, err := p.disjunction()
	if err != nil {
		return nil, err
	}
	if p.rest = strings.TrimSpace(p.rest); p.rest != "" {
		return nil, errors.New("unexpected text after the expression")
	}
	return f, nil
}

type filterParser struct{ rest string }

// word takes the next word if it is one of the given, letter case ignored.
func (p *filterParser) word(words ...string) string {
	trimmed := strings.TrimLeft(p.rest, " \t")
	end := strings.IndexAny(trimmed, " \t'")
	if end < 0 {
		end = len(trimmed)
	}
	for _, w := range words {
		if strings.EqualFold(trimmed[:end], w) {
			p.rest = trimmed[end:]
			return w
		}
	}
	return ""
}

func (p *filterParser) disjunction() (filter, error) {
	left, err := p.conjunction()
	for err == nil && p.word("or") != "" {
		var right filter
		a := left
		right, err = p.conjunction()
		left = func(m map[string]string) bool { return a(m) || right(m) }
	}
	return left, err
}

func (p *filterParser) conjunction() (filter, error) {
	left, err := p.comparison()
	for err == nil && p.word("and") != "" {
		var right filter
		a := left
		right, err = p.comparison()
		left = func(m map[string]string) bool { return a(m) && right(m) }
	}
	return left, err
}

func (p *filterParser) comparison() (filter, error) {
	key, err := p.key()
	if err != nil {
		return nil, err
	}
	operator := p.word("eq", "ne")
	if operator == "" {
		return nil, errors.New("eq or ne expected")
	}
	value, err := p.quoted()
	if err != nil {
		return nil, err
	}
	return func(m map[string]string) bool {
		v, found := m[key]
		return (found && v == value) == (operator == "eq")
	}, nil
}

func (p *filterParser) key() (string, error) {
	p.rest = strings.TrimLeft(p.rest, " \t")
	if strings.HasPrefix(p.rest, "'") {
		return p.quoted()
	}
	key, rest, found := strings.Cut(p.rest, " ")
	if !found || key == "" {
		return "", errors.New("key expected")
	}
	p.rest = rest
	return key, nil
}

func (p *filterParser) quoted() (string, error) {
	p.rest = strings.TrimLeft(p.rest, " \t")
	if !strings.HasPrefix(p.rest, "'") {
		return "", errors.New("quoted value expected")
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		if p.rest[i] != '\'' {
			b.WriteByte(p.rest[i])
			continue
		}
		if i+1 < len(p.rest) && p.rest[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		p.rest = p.rest[i+1:]
		return b.String(), nil
	}
	return "", errors.New("closing quote expected")
}
