package message

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"backbeat/app/batch"
	"backbeat/app/id"
	"backbeat/model"
)

// draws bounds how often an id is drawn for one row. Two instances collide about
// once in 4,096 rows of the same millisecond.
const draws = 5

// store is the tables messages and conversations. None of its reads may be late: a message
// shows in the next poll of either side (API §2.15). A poll of a late replica would lose
// none, since messages of a pair are committed in the order of their times and a cursor
// passes only what it was shown; it would bring them later.
type store struct {
	db  *gorm.DB
	ids *id.Generator
	now func() time.Time
}

// pair names a conversation.
type pair struct{ low, high int64 }

func pairOf(a, b int64) pair { return pair{min(a, b), max(a, b)} }

// send writes a message and returns it.
func (s *store) send(ctx context.Context, fromUserID, toUserID int64, content string) (model.Message, error) {
	row := newMessage(fromUserID, toUserID, content)
	var err error
	for range draws {
		row.ID = s.ids.Next()
		err = s.write(ctx, &row)
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			break
		}
	}
	return row, model.Wrap(err, "user %d writing to user %d", fromUserID, toUserID)
}

// notify writes a message with an id of the caller's. When there is one with
// that id already, nothing changes.
func (s *store) notify(ctx context.Context, messageID, fromUserID, toUserID int64, content string) error {
	row := newMessage(fromUserID, toUserID, content)
	row.ID = messageID
	err := s.write(ctx, &row)
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return nil
	}
	return model.Wrap(err, "writing notice %d to user %d", messageID, toUserID)
}

func newMessage(fromUserID, toUserID int64, content string) model.Message {
	return model.Message{
		Low: min(fromUserID, toUserID), High: max(fromUserID, toUserID),
		FromUserID: fromUserID, Content: content,
	}
}

// write makes row the last message of its conversation and inserts it, setting
// its CreateTime. A duplicate id undoes both. The conversation comes first: it
// is the lock that orders the writers.
func (s *store) write(ctx context.Context, row *model.Message) error {
	now := s.now().UnixMilli()
	return model.Transact(ctx, s.db, func(tx *gorm.DB) error {
		conversation := model.Conversation{
			Low: row.Low, High: row.High, LastTime: now,
			LastMessageID: row.ID, LastFromUserID: row.FromUserID, LastContent: row.Content,
		}
		err := tx.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "low"}, {Name: "high"}},
			DoUpdates: clause.Assignments(map[string]any{
				"last_time": gorm.Expr("CASE WHEN conversations.last_time >= ? THEN conversations.last_time + 1 ELSE ? END", now, now),

				"last_message_id":   row.ID,
				"last_from_user_id": row.FromUserID,
				"last_content":      row.Content,
			}),
		}).Create(&conversation).Error
		if err != nil {
			return err
		}
		err = tx.Model(&model.Conversation{}).Select("last_time").
			Where("low = ? AND high = ?", row.Low, row.High).Take(&row.CreateTime).Error
		if err != nil {
			return err
		}
		return tx.Create(row).Error
	})
}

// newest returns the newest limit messages of a pair, both directions, oldest
// first.
func (s *store) newest(ctx context.Context, viewerID, peerID int64, limit int) ([]model.Message, error) {
	var rows []model.Message
	err := s.db.WithContext(ctx).Where("low = ? AND high = ?", min(viewerID, peerID), max(viewerID, peerID)).
		Order("create_time DESC").Limit(limit).Find(&rows).Error
	slices.Reverse(rows)
	return rows, model.Wrap(err, "reading the chat of users %d and %d", viewerID, peerID)
}

// after returns the oldest limit messages from the peer that are newer than the
// time, oldest first.
func (s *store) after(ctx context.Context, viewerID, peerID, createTime int64, limit int) ([]model.Message, error) {
	var rows []model.Message
	err := s.db.WithContext(ctx).
		Where("low = ? AND high = ? AND create_time > ? AND from_user_id = ?",
			min(viewerID, peerID), max(viewerID, peerID), createTime, peerID).
		Order("create_time").Limit(limit).Find(&rows).Error
	return rows, model.Wrap(err, "polling the chat of users %d and %d", viewerID, peerID)
}

// lastTimes returns when the last message of each pair was written, 0 where there
// is none.
func (s *store) lastTimes(ctx context.Context, pairs []pair) (map[pair]int64, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	wanted := batch.Padded(pairs)
	args := make([]any, 0, 2*len(wanted))
	for _, of := range wanted {
		args = append(args, of.low, of.high)
	}
	const one = "(low = ? AND high = ?)"
	var rows []model.Conversation
	err := s.db.WithContext(ctx).Select("low", "high", "last_time").
		Where(strings.Repeat(one+" OR ", len(wanted)-1)+one, args...).Find(&rows).Error
	times := make(map[pair]int64, len(rows))
	for _, row := range rows {
		times[pair{row.Low, row.High}] = row.LastTime
	}
	return times, model.Wrap(err, "looking for news in %d chats", len(pairs))
}

// latest returns the viewer's conversations with those of the peers that have one.
func (s *store) latest(ctx context.Context, viewerID int64, peerIDs []int64) ([]model.Conversation, error) {
	if len(peerIDs) == 0 {
		return nil, nil
	}
	// Each half is a set of primary keys.
	var lower, higher []int64
	for _, peerID := range peerIDs {
		if peerID < viewerID {
			lower = append(lower, peerID)
		} else {
			higher = append(higher, peerID)
		}
	}
	var rows []model.Conversation
	err := s.db.WithContext(ctx).
		Where("(low IN ? AND high = ?) OR (low = ? AND high IN ?)", lower, viewerID, viewerID, higher).
		Find(&rows).Error
	return rows, model.Wrap(err, "reading the last messages of user %d with %d peers", viewerID, len(peerIDs))
}
