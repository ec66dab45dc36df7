package video

import (
	"backbeat/model"
	"backbeat/proto/entity"
)

var states = map[model.VideoState]entity.Video_State{
	model.VideoProcessing: entity.Video_PROCESSING,
	model.VideoPublished:  entity.Video_PUBLISHED,
	model.VideoFailed:     entity.Video_FAILED,
}

func toEntity(row *model.Video) *entity.Video {
	out := &entity.Video{
		Id:         row.ID,
		AuthorId:   row.AuthorID,
		Title:      row.Title,
		PlayKey:    row.PlayKey,
		CoverKey:   row.CoverKey,
		State:      states[row.State],
		CreatedAt:  row.CreatedAt,
		DurationMs: row.DurationMS,
		Size:       row.Size,
		Width:      row.Width,
		Height:     row.Height,
	}
	if row.PublishedAt != nil {
		out.PublishedAt = *row.PublishedAt
	}
	return out
}

func toEntities(rows []model.Video) []*entity.Video {
	out := make([]*entity.Video, len(rows))
	for i := range rows {
		out[i] = toEntity(&rows[i])
	}
	return out
}
