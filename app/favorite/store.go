package favorite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"backbeat/app/batch"
	"backbeat/model"
	pb "backbeat/proto/favorite"
)

// store is the tables. Its errors carry kinds. Acts are decided by the primary's rows, and
// flags made of them, since an act that had no pending entry shows nowhere else; so are
// counts, which are asked for right after a change was announced.
type store struct{ db *gorm.DB }

// rowsOf returns what the users of the acts last said of their videos; of what
// they said nothing there is no row.
func (s *store) rowsOf(ctx context.Context, acts []write) (map[key]write, error) {
	rows := make(map[key]write, len(acts))
	from, keys := rowsWith(s.db, batch.Padded(acts))
	err := s.scanRows(ctx, func(w write) { rows[key{w.user, w.video}] = w },
		"SELECT f.user_id, f.video_id, f.version, f.liked FROM "+from, keys...)
	return rows, model.Wrap(err, "reading %d likes", len(acts))
}

// rowsWith is what a statement selects from that reads the rows f there are of the
// writes, in their order. They are joined with a list of their keys: a condition that
// names them all takes an optimizer longer to weigh than the rows take to be read.
func rowsWith(db *gorm.DB, writes []write) (from string, keys []any) {
	number := "BIGINT"
	if db.Name() == "mysql" {
		number = "SIGNED" // in a cast it has no other name for it
	}
	list := "SELECT CAST(? AS " + number + ") AS user_id, CAST(? AS " + number + ") AS video_id" + strings.Repeat(" UNION ALL SELECT ?, ?", len(writes)-1)
	keys = make([]any, 0, 2*len(writes))
	for _, w := range writes {
		keys = append(keys, w.user, w.video)
	}
	return "(" + list + ") AS k JOIN favorites AS f ON f.user_id = k.user_id AND f.video_id = k.video_id", keys
}

// apply brings writes into the tables in one transaction: those newer than their
// rows take effect, the others none, so repeating it changes nothing. With
// version set, each write's version comes from it, given the row's, under the
// row's lock.
//
// Rows are locked before they are judged. One that is not there can't be, so it is
// inserted and never overwritten: of two appliers who find none, the second begins
// anew. Counters come last, since they are what strangers' likes share, and in key
// order, so that appliers of several queues wait for each other but in no circle.
func (s *store) apply(ctx context.Context, writes []write, version func(row int64) int64) error {
	writes = newest(writes)
	err := model.Transact(ctx, s.db, func(tx *gorm.DB) error {
		rows, err := lockRows(tx, writes)
		if err != nil {
			return err
		}
		changes := change{videos: map[int64]int64{}, received: map[int64]int64{}, given: map[int64]int64{}}
		for _, w := range writes {
			row, there := rows[key{w.user, w.video}]
			if version != nil {
				w.version = version(row.version)
			}
			if w.version > row.version {
				changes.count(row, there, w)
			}
		}
		return changes.save(tx)
	}, applying)
	return model.Wrap(err, "applying %d likes", len(writes))
}

// applying is how apply's transactions see those of others. What is locked is read as
// it is now, and no rule needs more. By default MySQL would also lock the gaps where
// rows are missing, in which all appliers insert: four of them deadlocked in each batch.
var applying = &sql.TxOptions{Isolation: sql.LevelReadCommitted}

// key names what versions are compared within.
type key struct{ user, video int64 }

// newest returns the newest write of each key, in key order: the order everyone
// locks in.
func newest(writes []write) []write {
	byKey := make(map[key]write, len(writes))
	for _, w := range writes {
		k := key{w.user, w.video}
		if known, ok := byKey[k]; !ok || w.version > known.version {
			byKey[k] = w
		}
	}
	return slices.SortedFunc(maps.Values(byKey), func(a, b write) int {
		return cmp.Or(cmp.Compare(a.user, b.user), cmp.Compare(a.video, b.video))
	})
}

// lockRows locks the rows there are of the writes and reads them.
func lockRows(tx *gorm.DB, writes []write) (map[key]write, error) {
	from, keys := rowsWith(tx, writes)
	statement := "SELECT f.* FROM " + from + " ORDER BY f.user_id, f.video_id"
	switch tx.Name() {
	case "mysql":
		statement += " FOR UPDATE"
	case "postgres":
		statement += " FOR UPDATE OF f"
	}
	var found []model.Favorite
	if err := tx.Raw(statement, keys...).Find(&found).Error; err != nil {
		return nil, err
	}
	rows := make(map[key]write, len(found))
	for _, row := range found {
		rows[key{row.UserID, row.VideoID}] = fromRow(row)
	}
	return rows, nil
}

// change is what a batch does to the tables.
type change struct {
	// added are rows that were not there, changed those that were locked.
	added, changed []model.Favorite
	// videos, received and given are what the counters of a video, of an author
	// and of a user grow by.
	videos, received, given map[int64]int64
}

// count takes back what row, if it was there, counted for, and adds what w does.
func (c *change) count(row write, there bool, w write) {
	if row.liked {
		c.videos[row.video]--
		c.received[row.author]--
		c.given[row.user]--
	}
	if w.liked {
		c.videos[w.video]++
		c.received[w.author]++
		c.given[w.user]++
	}
	after := model.Favorite{UserID: w.user, VideoID: w.video, AuthorID: w.author, Liked: w.liked, Version: w.version}
	if there {
		c.changed = append(c.changed, after)
	} else {
		c.added = append(c.added, after)
	}
}

// save writes rows and counters, in key order. A row that somebody else has added
// meanwhile asks for another look at all of them.
func (c *change) save(tx *gorm.DB) error {
	if len(c.added) > 0 {
		err := tx.Create(&c.added).Error
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			return fmt.Errorf("%w: %w", model.ErrOvertaken, err)
		}
		if err != nil {
			return err
		}
	}
	if len(c.changed) > 0 {
		err := tx.Clauses(clause.OnConflict{
			Columns:   []clause.Column{{Name: "user_id"}, {Name: "video_id"}},
			DoUpdates: clause.AssignmentColumns([]string{"author_id", "liked", "version"}),
		}).Create(&c.changed).Error
		if err != nil {
			return err
		}
	}
	var videos []model.FavoriteVideo
	for _, id := range slices.Sorted(maps.Keys(c.videos)) {
		if c.videos[id] != 0 {
			videos = append(videos, model.FavoriteVideo{VideoID: id, Likes: c.videos[id]})
		}
	}
	if err := model.Grow(tx, videos, "favorite_videos", "video_id", "likes"); err != nil {
		return err
	}
	ids := maps.Clone(c.received)
	maps.Copy(ids, c.given)
	var users []model.FavoriteUser
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if c.received[id] != 0 || c.given[id] != 0 {
			users = append(users, model.FavoriteUser{UserID: id, Received: c.received[id], Given: c.given[id]})
		}
	}
	return model.Grow(tx, users, "favorite_users", "user_id", "received", "given")
}

// The parts of the union in stats; kindVideo tells the first one's rows.
const (
	kindVideo = 1

	videoPart = "SELECT 1 AS kind, video_id AS id, likes AS a, 0 AS b FROM favorite_videos WHERE video_id IN ?"
	userPart  = "SELECT 2 AS kind, user_id AS id, received AS a, given AS b FROM favorite_users WHERE user_id IN ?"
)

// stats reads the counts of videos and users, an entry for each, in one statement.
func (s *store) stats(ctx context.Context, videos, users []int64) (map[int64]*pb.VideoStat, map[int64]*pb.UserStat, error) {
	ofVideos, ofUsers := make(map[int64]*pb.VideoStat, len(videos)), make(map[int64]*pb.UserStat, len(users))
	for _, video := range videos {
		ofVideos[video] = &pb.VideoStat{}
	}
	for _, user := range users {
		ofUsers[user] = &pb.UserStat{}
	}
	var parts []string
	var args []any
	if len(videos) > 0 {
		parts = append(parts, videoPart)
		args = append(args, batch.Padded(videos))
	}
	if len(users) > 0 {
		parts = append(parts, userPart)
		args = append(args, batch.Padded(users))
	}
	if len(parts) == 0 {
		return ofVideos, ofUsers, nil
	}
	err := scan(s.db.WithContext(ctx).Raw(strings.Join(parts, " UNION ALL "), args...), func(rows *sql.Rows) error {
		var kind int
		var id, a, b int64
		err := rows.Scan(&kind, &id, &a, &b)
		switch {
		case err != nil:
			return err
		case kind == kindVideo:
			ofVideos[id].FavoriteCount = a
		default:
			ofUsers[id].TotalFavorited, ofUsers[id].FavoriteCount = a, b
		}
		return nil
	})
	return ofVideos, ofUsers, model.Wrap(err, "reading likes of %d videos and %d users", len(videos), len(users))
}

// scan calls visit for each row of a query.
func scan(query *gorm.DB, visit func(*sql.Rows) error) error {
	rows, err := query.Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := visit(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// wanted are some videos of a user's.
type wanted struct {
	user   int64
	videos []int64
}

// maxWanted bounds the users of one statement; of each there are at most batch.Max
// videos.
const maxWanted = 32

// rowsAmong returns the rows of what is wanted, by user and video. It reads one for
// each at most, however many a user has: each part has a plan of its own, where one
// for all would read everything of those who like much.
func (s *store) rowsAmong(ctx context.Context, asked []wanted) (map[int64]rowsByVideo, error) {
	const part = "SELECT user_id, video_id, version, liked FROM favorites WHERE user_id = ? AND video_id IN ?"
	found := make(map[int64]rowsByVideo, len(asked))
	asked = slices.DeleteFunc(slices.Clone(asked), func(w wanted) bool { return len(w.videos) == 0 })
	for some := range slices.Chunk(asked, maxWanted) {
		some = batch.Padded(some)
		args := make([]any, 0, 2*len(some))
		for _, w := range some {
			args = append(args, w.user, batch.Padded(w.videos))
		}
		err := s.scanRows(ctx, func(w write) {
			if found[w.user] == nil {
				found[w.user] = rowsByVideo{}
			}
			found[w.user][w.video] = w
		}, strings.Repeat(part+" UNION ALL ", len(some)-1)+part, args...)
		if err != nil {
			return nil, model.Wrap(err, "reading likes of %d users", len(some))
		}
	}
	return found, nil
}

// scanRows calls visit for each row of a statement.
func (s *store) scanRows(ctx context.Context, visit func(write), statement string, args ...any) error {
	return scan(s.db.WithContext(ctx).Raw(statement, args...), func(rows *sql.Rows) error {
		var w write
		if err := rows.Scan(&w.user, &w.video, &w.version, &w.liked); err != nil {
			return err
		}
		visit(w)
		return nil
	})
}

// liked returns enough of the user's likes, latest first, for limit of them to
// remain when those that wait take effect, and the rows of those that wait, in
// one snapshot. A row may come twice. To a stranger they may be late; the user sees own
// likes at once, also those that had no pending entry.
func (s *store) liked(ctx context.Context, user int64, limit int, waiting []write, stranger bool) ([]write, error) {
	statement := "SELECT video_id, version, 1 AS state FROM (SELECT video_id, version FROM favorites WHERE user_id = ? AND liked = ? ORDER BY version DESC LIMIT ?) AS latest"
	args := []any{user, true, limit + len(waiting)}
	if len(waiting) > 0 {
		statement += " UNION ALL SELECT video_id, version, CASE WHEN liked THEN 1 ELSE 0 END AS state FROM favorites WHERE user_id = ? AND video_id IN ?"
		args = append(args, user, batch.Padded(videosOf(waiting)))
	}
	var found []struct{ VideoID, Version, State int64 }
	read := func(db *gorm.DB) error { return db.Raw(statement, args...).Scan(&found).Error }
	var err error
	if stranger {
		err = model.Late(ctx, s.db, read)
	} else {
		err = read(s.db.WithContext(ctx))
	}
	if err != nil {
		return nil, model.Wrap(err, "listing likes of user %d", user)
	}
	rows := make([]write, len(found))
	for i, row := range found {
		rows[i] = write{user: user, video: row.VideoID, version: row.Version, liked: row.State == 1}
	}
	return rows, nil
}

// usersOf returns each user once.
func usersOf(writes []write) []int64 {
	users := make([]int64, len(writes))
	for i, w := range writes {
		users[i] = w.user
	}
	slices.Sort(users)
	return slices.Compact(users)
}

// peopleOf returns users and authors: whose counts the writes change.
func peopleOf(writes []write) []int64 {
	people := make([]int64, 0, 2*len(writes))
	for _, w := range writes {
		people = append(people, w.user, w.author)
	}
	return people
}

func videosOf(writes []write) []int64 {
	videos := make([]int64, len(writes))
	for i, w := range writes {
		videos[i] = w.video
	}
	return videos
}

func fromRow(row model.Favorite) write {
	return write{row.UserID, row.VideoID, row.AuthorID, row.Liked, row.Version}
}
