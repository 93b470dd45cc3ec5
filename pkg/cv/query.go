package cv

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// query is the query of a call. Lists go comma-separated in one parameter.
type query struct {
	encoded string
	named   []string // ids in it
}

func newQuery() query { return query{} }

func (q query) add(name, escaped string) query {
	if q.encoded != "" {
		q.encoded += "&"
	}
	q.encoded += escape(name) + "=" + escaped
	return q
}

// escape is query escaping with %20 for a blank, which every server reads alike.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func (q query) scope(s Scope) query {
	if s == uuid.Nil {
		return q
	}
	return q.ids("iterationId", []uuid.UUID{s})
}

func (q query) ids(name string, ids []uuid.UUID) query {
	if len(ids) == 0 {
		return q
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	q.named = append(slices.Clip(q.named), texts...)
	return q.add(name, strings.Join(texts, ","))
}

func (q query) text(name, value string) query {
	if value == "" {
		return q
	}
	return q.add(name, escape(value))
}

func (q query) number(name string, v float64) query {
	return q.add(name, strconv.FormatFloat(v, 'f', -1, 64))
}

func (q query) flag(name string, v bool) query {
	if !v {
		return q
	}
	return q.add(name, "true")
}

func (q query) page(p PageQuery) query {
	if p.OrderBy == "" {
		p.OrderBy = Oldest
	}
	return q.text("orderBy", p.OrderBy).add("take", strconv.Itoa(p.take())).add("skip", strconv.Itoa(p.Skip))
}

// take is how many items are asked for.
func (p PageQuery) take() int {
	if p.Take == 0 {
		return MaxPage
	}
	return p.Take
}

func (p PageQuery) check() error {
	if p.Take < 0 || p.Take > MaxPage {
		return fmt.Errorf("take %d, at most %d", p.Take, MaxPage)
	}
	if p.Skip < 0 {
		return fmt.Errorf("skip %d", p.Skip)
	}
	return nil
}
