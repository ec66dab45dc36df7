package linear

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"backbeat/app/cache"
	"backbeat/app/favorite"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/proto/event"
	pbmessage "backbeat/proto/message"
	pbrelation "backbeat/proto/relation"
)

// mostHistories is how many histories a broken system may survive. Most of them
// are caught by the first.
const mostHistories = 150

// Each broken variant must be caught, or the histories prove little.
func TestBrokenVariants(t *testing.T) {
	caught, began, k := 0, time.Now(), kinds[1]
	for _, b := range broken {
		t.Run(b.name, func(t *testing.T) {
			w := newWorld(t, k, b)
			for seed := range mostHistories {
				if wrong, _ := play(t, w, programs.Example(seed), k.cancels); len(wrong) > 0 {
					caught++
					evidence, _, _ := strings.Cut(wrong[0], "\n")
					t.Logf("caught by history %d: %s", seed+1, evidence)
					return
				}
			}
			t.Errorf("%d histories found nothing wrong", mostHistories)
		})
	}
	fmt.Printf("broken variants: caught %d of %d, %.0f s\n", caught, len(broken), time.Since(began).Seconds())
}

var broken = []breakage{
	{name: "no unique key", tables: dropKeysOfFollows},
	{name: "no transaction", database: withoutTransactions},
	{name: "counted although no row changed", tables: afterCreate(countNothing)},
	{name: "row read before it is locked", tables: afterQuery(forgetLocked)},
	{name: "unlike deletes its row", tables: afterCreate(deleteUnliked)},
	{name: "message timed outside the lock", tables: beforeCreate(timeOutsideLock)},
	{name: "read from a lagging replica", tables: afterQuery(lagBehind)},

	{name: "acknowledged before the commit", handler: acknowledgeFirst},
	{name: "version ignored", handler: takeAsTheyCome},
	{name: "versions from clocks that differ", handler: versionByClock},
	{name: "spool skipped", broker: func(b mq.Broker) mq.Broker { return &careless{b} }},
	{name: "refusal of the queue ignored", publisher: func(p mq.Publisher) mq.Publisher { return &deaf{p} }},

	{name: "pending likes forgotten", pending: forgetful},
	{name: "pending likes not shared", pending: func() func() favorite.Pending {
		return func() favorite.Pending { return favorite.NewMemoryPending(time.Now) }
	}},

	{name: "cache not dropped by a write", services: func(s *services) { s.relation = &cached{RelationHandler: s.relation} }},
	{name: "word of a change not passed on", cache: func(c cache.Cache) cache.Cache { return &secretive{c} }},
	{name: "answered before the commit", services: func(s *services) { s.relation = &hasty{s.relation} }},
	{name: "deletion by anybody", tables: beforeDelete(anybody)},
	{name: "send repeated after a lost answer", services: func(s *services) { s.message = &eager{s.message} }},
	{name: "poll returns the newest", services: func(s *services) { s.message = &skipping{s.message} }},
}

// dropKeysOfFollows leaves the decision whether a follow is new to nobody.
func dropKeysOfFollows(db *gorm.DB) error {
	for _, statement := range []string{
		"ALTER TABLE follows RENAME TO keyed", "CREATE TABLE follows AS SELECT * FROM keyed", "DROP TABLE keyed",
	} {
		if err := db.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}

// loose is a pool whose transactions commit each statement at once and never
// roll back.
type loose struct{ gorm.ConnPool }

func (l loose) BeginTx(context.Context, *sql.TxOptions) (gorm.ConnPool, error) {
	return &looseTx{l.ConnPool}, nil
}

type looseTx struct{ gorm.ConnPool }

func (*looseTx) Commit() error   { return nil }
func (*looseTx) Rollback() error { return nil }

func withoutTransactions(_ testing.TB, db *gorm.DB) *gorm.DB {
	pool := db.Statement.ConnPool
	db = db.Session(&gorm.Session{NewDB: true})
	db.Statement = &gorm.Statement{DB: db, ConnPool: loose{pool}, Context: context.Background(), Clauses: map[string]clause.Clause{}}
	return db
}

func beforeCreate(do func(*gorm.DB)) func(*gorm.DB) error {
	return func(db *gorm.DB) error {
		return db.Callback().Create().Before("gorm:create").Register("linear:broken", do)
	}
}

func afterCreate(do func(*gorm.DB)) func(*gorm.DB) error {
	return func(db *gorm.DB) error {
		return db.Callback().Create().After("gorm:create").Register("linear:broken", do)
	}
}

func beforeDelete(do func(*gorm.DB)) func(*gorm.DB) error {
	return func(db *gorm.DB) error {
		return db.Callback().Delete().Before("gorm:delete").Register("linear:broken", do)
	}
}

func afterQuery(do func(*gorm.DB)) func(*gorm.DB) error {
	return func(db *gorm.DB) error {
		return db.Callback().Query().After("gorm:query").Register("linear:broken", do)
	}
}

// countNothing says of a follow that was there that it is new.
func countNothing(db *gorm.DB) {
	if db.Statement.Table == "follows" && db.RowsAffected == 0 {
		db.RowsAffected = 1
	}
}

// forgetLocked makes the worker see the rows of its batch as they were before
// anybody wrote them.
func forgetLocked(db *gorm.DB) {
	rows, ok := db.Statement.Dest.(*[]model.Favorite) // no other query reads whole rows
	if !ok {
		return
	}
	for i := range *rows {
		(*rows)[i].Liked, (*rows)[i].Version = false, 0
	}
}

// deleteUnliked forgets what would keep a late like from reviving.
func deleteUnliked(db *gorm.DB) {
	rows, ok := db.Statement.Dest.(*[]model.Favorite)
	if !ok {
		return
	}
	for _, row := range *rows {
		if row.Version > 0 && !row.Liked {
			_ = db.AddError(db.Session(&gorm.Session{NewDB: true}).Exec("DELETE FROM favorites WHERE user_id = ? AND video_id = ?", row.UserID, row.VideoID).Error)
		}
	}
}

// timeOutsideLock gives a message the time its writer read before it got the lock.
func timeOutsideLock(db *gorm.DB) {
	row, ok := db.Statement.Dest.(*model.Conversation)
	if !ok {
		return
	}
	onConflict := db.Statement.Clauses["ON CONFLICT"]
	update := onConflict.Expression.(clause.OnConflict)
	for i := range update.DoUpdates {
		if update.DoUpdates[i].Column.Name == "last_time" {
			update.DoUpdates[i].Value = row.LastTime
		}
	}
}

// anybody deletes comments by their id alone.
func anybody(db *gorm.DB) {
	if _, ok := db.Statement.Dest.(*model.Comment); !ok {
		return
	}
	where := db.Statement.Clauses["WHERE"].Expression.(clause.Where)
	id := where.Exprs[0].(clause.Expr).Vars[0]
	db.Statement.AddClause(clause.Where{})
	db.Statement.Clauses["WHERE"] = clause.Clause{Name: "WHERE", Expression: clause.Where{Exprs: []clause.Expression{clause.Eq{Column: "id", Value: id}}}}
}

// lag is how far what is not the database is behind it.
const lag = 300 * time.Millisecond

// lagBehind reads comments as a replica has them that is a little late.
func lagBehind(db *gorm.DB) {
	if rows, ok := db.Statement.Dest.(*[]model.Comment); ok {
		*rows = slices.DeleteFunc(*rows, func(row model.Comment) bool { return time.Since(time.UnixMilli(row.CreatedAt)) < lag })
	}
}

// acknowledgeFirst is a worker that acknowledges, then dies before it has applied
// every tenth batch.
func acknowledgeFirst(handle mq.Handler) mq.Handler {
	return func(ctx context.Context, batch []mq.Message) error {
		if rand.IntN(10) == 0 {
			return nil
		}
		return handle(ctx, batch)
	}
}

// rewritten changes the versions of likes before they are applied.
func rewritten(handle mq.Handler, version func() int64) mq.Handler {
	return func(ctx context.Context, batch []mq.Message) error {
		batch = append([]mq.Message(nil), batch...)
		for i := range batch {
			var likes event.FavoriteWrites
			if batch[i].Type != "favorite.write/2" {
				continue
			}
			if err := proto.Unmarshal(batch[i].Body, &likes); err != nil {
				return err
			}
			for _, like := range likes.Writes {
				like.Version = version()
			}
			var err error
			if batch[i].Body, err = proto.Marshal(&likes); err != nil {
				return err
			}
		}
		return handle(ctx, batch)
	}
}

// takeAsTheyCome lets the last to arrive win.
func takeAsTheyCome(handle mq.Handler) mq.Handler {
	var mu sync.Mutex
	var last int64
	return rewritten(handle, func() int64 {
		mu.Lock()
		defer mu.Unlock()
		last = max(last+1, time.Now().UnixMicro())
		return last
	})
}

// versionByClock gives versions from clocks that nobody reconciles.
func versionByClock(handle mq.Handler) mq.Handler {
	return rewritten(handle, func() int64 { return time.Now().Add(-rand.N(2 * time.Second)).UnixMicro() })
}

// careless takes for granted that the broker has what it did not confirm.
type careless struct{ mq.Broker }

func (c *careless) Publish(ctx context.Context, queue mq.Queue, message mq.Message) error {
	_ = c.Broker.Publish(ctx, queue, message)
	return nil
}

// deaf does not hear that nobody took the message.
type deaf struct{ mq.Publisher }

func (d *deaf) Publish(ctx context.Context, queue mq.Queue, message mq.Message) error {
	_ = d.Publisher.Publish(ctx, queue, message)
	return nil
}

// forgetful keeps pending likes for no time at all.
func forgetful() func() favorite.Pending {
	var mu sync.Mutex
	now := time.Now()
	shared := favorite.NewMemoryPending(func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(48 * time.Hour)
		return now
	})
	return func() favorite.Pending { return shared }
}

// secretive lets versions stand whose owner changed what they are of.
type secretive struct{ cache.Cache }

func (s *secretive) Delete(context.Context, ...string) error { return nil }

// cached keeps what it read for a while, whatever happens meanwhile.
type cached struct {
	pbrelation.RelationHandler
	answers sync.Map
}

func (c *cached) Following(ctx context.Context, in *pbrelation.ListsRequest, out *pbrelation.ListsResponse) error {
	user := in.Lists[0].UserId
	if known, ok := c.answers.Load(user); ok {
		out.Lists = known.([]*pbrelation.ListsResponse_List)
		return nil
	}
	err := c.RelationHandler.Following(ctx, in, out)
	if err == nil {
		c.answers.Store(user, out.Lists)
		time.AfterFunc(lag, func() { c.answers.Delete(user) })
	}
	return err
}

// hasty answers follows and makes them afterwards.
type hasty struct{ pbrelation.RelationHandler }

func (h *hasty) Act(ctx context.Context, in *pbrelation.ActRequest, _ *pbrelation.ActResponse) error {
	later := &pbrelation.ActRequest{UserId: in.UserId, TargetId: in.TargetId, Follow: in.Follow}
	go func() { _ = h.RelationHandler.Act(context.WithoutCancel(ctx), later, &pbrelation.ActResponse{}) }()
	return nil
}

// eager sends again when it got no answer, which is no way to treat what can't
// be repeated.
type eager struct{ pbmessage.MessageHandler }

func (e *eager) Send(ctx context.Context, in *pbmessage.SendRequest, out *pbmessage.SendResponse) error {
	err := e.MessageHandler.Send(ctx, in, out)
	if err == nil && faultOf(ctx) == lost {
		return e.MessageHandler.Send(ctx, in, out)
	}
	return err
}

// skipping polls for the newest messages after the cursor, not the oldest.
type skipping struct{ pbmessage.MessageHandler }

func (s *skipping) Chat(ctx context.Context, in *pbmessage.ChatRequest, out *pbmessage.ChatResponse) error {
	limit := int(in.Limit)
	err := s.MessageHandler.Chat(ctx, &pbmessage.ChatRequest{ViewerId: in.ViewerId, PeerId: in.PeerId, After: in.After, Limit: all}, out)
	out.Messages = out.Messages[max(0, len(out.Messages)-limit):]
	return err
}
