package message

import (
	"backbeat/model"
	"backbeat/proto/entity"
)

func toEntity(row model.Message) *entity.Message {
	return &entity.Message{
		Id: row.ID, FromUserId: row.FromUserID, ToUserId: other(row.Low, row.High, row.FromUserID),
		Content: row.Content, CreateTime: row.CreateTime,
	}
}

func toEntities(rows []model.Message) []*entity.Message {
	messages := make([]*entity.Message, len(rows))
	for i, row := range rows {
		messages[i] = toEntity(row)
	}
	return messages
}

// toLatest returns the last message of each conversation by the viewer's peer.
func toLatest(viewerID int64, rows []model.Conversation) map[int64]*entity.Message {
	messages := make(map[int64]*entity.Message, len(rows))
	for _, row := range rows {
		messages[other(row.Low, row.High, viewerID)] = toEntity(model.Message{
			ID: row.LastMessageID, Low: row.Low, High: row.High, CreateTime: row.LastTime,
			FromUserID: row.LastFromUserID, Content: row.LastContent,
		})
	}
	return messages
}

// other returns the one of a pair that is not userID.
func other(low, high, userID int64) int64 {
	if userID == low {
		return high
	}
	return low
}
