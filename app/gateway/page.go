package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
)

// page is an answer as bytes, as somebody sees it who likes and follows nothing,
// and where in it flags are: another viewer's page is a copy with theirs.
type page struct {
	envelope
	body  []byte
	flags []flag
	// videos and users are whom the flags are about, each once.
	videos, users []int64
	// missing are the parts that were degraded.
	missing []string
	// newest is the publish time of a feed's first video, 0 without one.
	newest int64
}

// flag is a place of a body that says false.
type flag struct {
	subject
	at int
}

// What stands before a flag. No text of people can hold it: there its quotes are
// escaped.
var (
	followFlag   = []byte(`"is_follow":false`)
	favoriteFlag = []byte(`"is_favorite":false`)
)

// isTrue is as long as false, and JSON all the same.
const isTrue = "true "

// newPage renders an answer all of whose flags are false. Flagged are whom they
// are about, in the order of the answer.
func newPage(a answer, flagged []subject) (*page, error) {
	body, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	p := &page{envelope: *a.status(), body: body, flags: make([]flag, 0, len(flagged))}
	at := 0
	for _, s := range flagged {
		name := followFlag
		if s.video {
			name = favoriteFlag
		}
		at += bytes.Index(body[at:], name) + len(name)
		p.flags = append(p.flags, flag{s, at - len("false")})
		if s.video {
			p.videos = append(p.videos, s.id)
		} else {
			p.users = append(p.users, s.id)
		}
	}
	p.videos, p.users = distinct(p.videos), distinct(p.users)
	return p, nil
}

// as is the page as a viewer sees it.
func (p *page) as(liked, followed map[int64]bool) answer {
	body := p.body
	if len(liked)+len(followed) > 0 {
		body = slices.Clone(p.body)
		for _, f := range p.flags {
			if f.video && liked[f.id] || !f.video && followed[f.id] {
				copy(body[f.at:], isTrue)
			}
		}
	}
	return &encoded{p.envelope, body}
}

// weight is about what a page takes, in bytes.
func (p *page) weight() int { return len(p.body) + 32*len(p.flags) + 8*(len(p.videos)+len(p.users)) }

// show answers a viewer with a page.
func (g *Gateway) show(ctx context.Context, q *request, p *page) answer {
	for _, part := range p.missing {
		q.missing.add(part)
	}
	liked, followed := g.flags(ctx, q, p.videos, p.users)
	return p.as(liked, followed)
}
