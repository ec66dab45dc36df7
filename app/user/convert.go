package user

import (
	"backbeat/model"
	"backbeat/proto/entity"
)

func toEntities(rows []model.User) []*entity.User {
	users := make([]*entity.User, len(rows))
	for i, row := range rows {
		users[i] = &entity.User{
			Id: row.ID, Name: row.Name, Avatar: row.Avatar,
			BackgroundImage: row.BackgroundImage, Signature: row.Signature,
		}
	}
	return users
}
