package comment

import (
	"backbeat/model"
	"backbeat/proto/entity"
)

func toEntity(row model.Comment) *entity.Comment {
	return &entity.Comment{
		Id: row.ID, VideoId: row.VideoID, UserId: row.UserID,
		Content: row.Content, CreatedAt: row.CreatedAt,
	}
}

func toEntities(rows []model.Comment) []*entity.Comment {
	comments := make([]*entity.Comment, len(rows))
	for i, row := range rows {
		comments[i] = toEntity(row)
	}
	return comments
}
