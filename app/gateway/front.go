package gateway

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// frontLife is how old the anonymous first page may be: its counts follow
	// within a second over all layers (DESIGN §8).
	frontLife = 500 * time.Millisecond
	// maxFronts bounds the pages held, one for each base of URLs. Clients choose
	// their Host, so beyond it pages are made anew.
	maxFronts = 16
	// recent is how far a cursor may lie in the past and still be worth comparing
	// with the first page: phones send their own time when they start.
	recent = 10 * time.Minute
)

// encoded is an answer as bytes, the same for everybody who gets it.
type encoded struct {
	envelope
	body []byte
	// missing are the parts that were degraded.
	missing []string
	// newest is the publish time of the first video, 0 without one.
	newest int64
	until  time.Time
}

// fronts holds the anonymous first page of the feed, the one page that most
// requests want and that nobody's flags are part of. Those who ask while it is
// made wait for the same one.
type fronts struct {
	now     func() time.Time
	flights singleflight.Group

	mu    sync.RWMutex
	pages map[links]*encoded
}

func newFronts(now func() time.Time) *fronts {
	return &fronts{now: now, pages: map[links]*encoded{}}
}

// get returns the page for these links, made by build if there is no fresh one. A
// degraded page is served once and never held.
func (f *fronts) get(ctx context.Context, l links, build func(context.Context) (*encoded, error)) (*encoded, error) {
	f.mu.RLock()
	held := f.pages[l]
	f.mu.RUnlock()
	if held != nil && f.now().Before(held.until) {
		return held, nil
	}
	// Whoever waits with the first caller must not end with it.
	ctx = context.WithoutCancel(ctx)
	made, err, _ := f.flights.Do(l.base+" "+l.media, func() (any, error) {
		page, err := build(ctx)
		if err == nil && len(page.missing) == 0 {
			f.hold(l, page)
		}
		return page, err
	})
	if err != nil {
		return nil, err
	}
	return made.(*encoded), nil
}

func (f *fronts) hold(l links, page *encoded) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if len(f.pages) >= maxFronts {
		for old, held := range f.pages {
			if !now.Before(held.until) {
				delete(f.pages, old)
			}
		}
	}
	if _, known := f.pages[l]; known || len(f.pages) < maxFronts {
		page.until = now.Add(frontLife)
		f.pages[l] = page
	}
}

// front answers an anonymous request for the newest videos: without a cursor, or
// with one later than the newest, which is the same page. It returns nil for one
// that is another page.
func (g *Gateway) front(ctx context.Context, q *request, before int64) (answer, error) {
	if q.viewer != 0 || before != 0 && before < q.now.Add(-recent).UnixMilli() {
		return nil, nil
	}
	page, err := g.fronts.get(ctx, q.links, func(ctx context.Context) (*encoded, error) {
		own := &request{now: q.now, links: q.links, missing: &parts{}}
		made, err := g.page(ctx, own, 0)
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(made)
		return &encoded{envelope: made.envelope, body: body, missing: own.missing.list(), newest: made.newest}, err
	})
	if err != nil || before != 0 && before <= page.newest {
		return nil, err
	}
	for _, part := range page.missing {
		q.missing.add(part)
	}
	return page, nil
}
