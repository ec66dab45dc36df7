package message

import (
	"context"
	"iter"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/model"
)

// Line is a message to write.
type Line struct {
	FromUserID, ToUserID int64
	Content              string
}

// Seed writes messages in bulk, all or none, each at what Deps.Now says when its
// turn comes, or a millisecond after the one before. The lines of a pair follow
// each other: a pair that comes again, or has a chat already, is a Conflict.
func Seed(ctx context.Context, deps Deps, lines iter.Seq[Line]) error {
	err := deps.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		messages, conversations := model.NewBulk[model.Message](tx), model.NewBulk[model.Conversation](tx)
		var last model.Message
		for line := range lines {
			if line.FromUserID == line.ToUserID || min(line.FromUserID, line.ToUserID) <= model.SystemUserID {
				return errs.New(errs.Invalid, "不能给自己或系统账号发消息")
			}
			row := newMessage(line.FromUserID, line.ToUserID, line.Content)
			row.ID, row.CreateTime = deps.IDs.Next(), max(deps.Now().UnixMilli(), last.CreateTime+1)
			if last.ID != 0 && (row.Low != last.Low || row.High != last.High) {
				if err := conversations.Add(endingWith(last)); err != nil {
					return err
				}
			}
			if err := messages.Add(row); err != nil {
				return err
			}
			last = row
		}
		if last.ID != 0 {
			if err := conversations.Add(endingWith(last)); err != nil {
				return err
			}
		}
		if err := messages.Flush(); err != nil {
			return err
		}
		return conversations.Flush()
	})
	return model.Wrap(err, "writing messages in bulk")
}

// endingWith returns the conversation whose last message it is.
func endingWith(last model.Message) model.Conversation {
	return model.Conversation{
		Low: last.Low, High: last.High, LastTime: last.CreateTime,
		LastMessageID: last.ID, LastFromUserID: last.FromUserID, LastContent: last.Content,
	}
}
