// Package doctor looks for what is wrong in the data of a deployment that runs, and
// mends what is safe to mend meanwhile: counters that do not say what they count,
// stored media that nobody knows of, uploads that are stuck, messages that were
// given up.
package doctor

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"gorm.io/gorm"

	"backbeat/app/comment"
	"backbeat/app/favorite"
	"backbeat/app/media"
	"backbeat/app/recount"
	"backbeat/app/relation"
	"backbeat/app/user"
	"backbeat/app/video"
	"backbeat/mq"
)

const (
	// most bounds the findings of a kind: whoever has more mends these first.
	most = 1000
	// orphanAge is when media without a row have certainly lost their upload.
	orphanAge = 24 * time.Hour
	// stuckAge is when an upload in processing is worth a look.
	stuckAge = 30 * time.Minute
)

// Deps is what is looked at.
type Deps struct {
	DB    *gorm.DB
	Media media.Store
	// Broker holds the Queues.
	Broker interface {
		mq.Publisher
		mq.DeadLetters
	}
	Queues []mq.Queue
	Now    func() time.Time
}

// Finding is something that is wrong.
type Finding struct {
	// What is wrong, for an operator.
	What string
	// Mend is what follows `backbeat` to mend it.
	Mend string
	// fix mends it; nil is for what a person has to decide.
	fix func(ctx context.Context) error
}

// Safe reports whether Fix can mend it.
func (f Finding) Safe() bool { return f.fix != nil }

// Fix mends what is Safe. Doing so again, or after it mended itself, is harmless.
func (f Finding) Fix(ctx context.Context) error { return f.fix(ctx) }

// Check is one thing to look at.
type Check struct {
	// Name says what is looked at.
	Name string
	// Look returns what is wrong with it, at most a thousand of each kind.
	Look func(ctx context.Context) ([]Finding, error)
}

// byDoctor mends what needs no name.
const byDoctor = "doctor -fix"

// Checks returns all there is to look at.
func Checks(d Deps) []Check {
	return []Check{
		{"counters", d.counters},
		{"stored media", d.orphans},
		{"uploads", d.stuck},
		{"dead letters", d.dead},
	}
}

func (d Deps) counters(ctx context.Context) (findings []Finding, err error) {
	for _, table := range slices.Concat(favorite.Counters, comment.Counters, relation.Counters, video.Counters) {
		drifts, err := recount.Find(ctx, d.DB, table, most)
		if err != nil {
			return nil, err
		}
		for _, drift := range drifts {
			findings = append(findings, Finding{drift.String(), byDoctor, func(ctx context.Context) error {
				return recount.Mend(ctx, d.DB, table, drift.ID)
			}})
		}
	}
	return findings, nil
}

// orphans takes what is old and in no row: rows are read first, and a key of theirs is
// never taken anew, so that only an upload in work could be missing, which is young.
func (d Deps) orphans(ctx context.Context) (findings []Finding, err error) {
	known, seed := map[uint64]bool{}, maphash.MakeSeed() // hashes: there may be millions of keys
	keep := func(keys ...string) {
		for _, key := range keys {
			known[maphash.String(seed, key)] = true
		}
	}
	if err := video.Keys(ctx, d.DB, keep); err != nil {
		return nil, err
	}
	if err := user.Keys(ctx, d.DB, keep); err != nil {
		return nil, err
	}
	before := d.Now().Add(-orphanAge)
	for info, err := range d.Media.List(ctx) {
		if err != nil {
			return nil, err
		}
		if info.ModTime.After(before) || known[maphash.String(seed, info.Key)] {
			continue
		}
		findings = append(findings, Finding{
			fmt.Sprintf("%s, %d bytes of %s, belongs to no video", info.Key, info.Size, info.ModTime.Format(time.DateOnly)),
			byDoctor,
			func(ctx context.Context) error { return d.Media.Delete(ctx, info.Key) },
		})
		if len(findings) == most {
			break
		}
	}
	return findings, nil
}

func (d Deps) stuck(ctx context.Context) (findings []Finding, err error) {
	rows, err := video.Stuck(ctx, d.DB, d.Now().Add(-stuckAge), most)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		age := d.Now().Sub(time.UnixMilli(row.CreatedAt)).Round(time.Minute)
		findings = append(findings, Finding{
			fmt.Sprintf("video %d has been in processing for %v", row.ID, age),
			fmt.Sprintf("video reprocess %d", row.ID),
			func(ctx context.Context) error { return video.Reprocess(ctx, d.DB, d.Broker, row.ID, d.Now()) },
		})
	}
	return findings, nil
}

func (d Deps) dead(ctx context.Context) (findings []Finding, err error) {
	for _, queue := range d.Queues {
		messages, err := d.Broker.Dead(ctx, queue, most)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			findings = append(findings, Finding{
				What: fmt.Sprintf("a message of %s was given up: %.200s", m.Queue, m.Reason),
				Mend: "dead replay " + m.ID,
			})
		}
	}
	return findings, nil
}
