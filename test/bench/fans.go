package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"backbeat/app/id"
	"backbeat/app/relation"
	"backbeat/app/text"
	"backbeat/model"
)

// fanCount is how many follow the star.
const fanCount = 200_000

// fans are accounts that all follow one, the star, who has one video, and others. No
// row knows of them but hot and shards.
type fans struct {
	ids []int64
	// givers are the others. They like nothing but what drain has them like, which
	// counts how many likes are new.
	givers      []int64
	star, video int64
	// authors are those of the world's videos.
	authors map[int64]int64
}

// gather adds them to the world's database, past the services.
func gather(ctx context.Context, w *world) (*fans, error) {
	f := &fans{authors: map[int64]int64{}}
	var rows []model.Video
	if err := w.store.read(ctx).Where("id IN ?", w.videos).Find(&rows).Error; err != nil {
		return nil, err
	}
	for _, row := range rows {
		f.authors[row.ID] = row.AuthorID
	}
	now := time.Now()
	ids := id.NewGenerator(func() time.Time { return now })
	f.star, f.video = ids.Next(), ids.Next()
	for range fanCount {
		f.ids = append(f.ids, ids.Next())
	}
	for range drains * givers {
		f.givers = append(f.givers, ids.Next())
	}
	err := w.store.read(ctx).Transaction(func(tx *gorm.DB) error {
		users := model.NewBulk[model.User](tx)
		for i, id := range slices.Concat([]int64{f.star}, f.ids, f.givers) {
			name := fmt.Sprintf("fan%06d", i)
			if err := users.Add(model.User{ID: id, Name: name, NameKey: text.Key(name), CreatedAt: now.UnixMilli()}); err != nil {
				return err
			}
		}
		if err := users.Flush(); err != nil {
			return err
		}
		// Its files are another's.
		video, published := rows[0], now.UnixMilli()
		video.ID, video.AuthorID, video.PublishedAt, video.CreatedAt = f.video, f.star, &published, published
		if err := tx.Create(&video).Error; err != nil {
			return err
		}
		return tx.Create(&model.VideoAuthor{AuthorID: f.star, Works: 1}).Error
	})
	if err != nil {
		return nil, err
	}
	follows := func(yield func(relation.Pair) bool) {
		for _, fan := range f.ids {
			if !yield(relation.Pair{FollowerID: fan, FolloweeID: f.star}) {
				return
			}
		}
	}
	if err := relation.Seed(ctx, relation.Deps{DB: w.store.db, IDs: ids}, follows); err != nil {
		return nil, err
	}
	// The tables have grown: what counts published videos starts from here.
	return f, w.published.begin(ctx)
}
