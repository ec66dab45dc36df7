package linear

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/mq"
)

// injection is the fault of one call on its way down.
type injection struct {
	fault fault
	// statement is how many writing statements of a transaction succeed before the
	// database asks to repeat it; it does so once.
	statement atomic.Int32
}

type injectionKey struct{}

func inject(ctx context.Context, f fault, statement int) context.Context {
	i := &injection{fault: f}
	i.statement.Store(int32(statement))
	return context.WithValue(ctx, injectionKey{}, i)
}

func faultOf(ctx context.Context) fault {
	if i, ok := ctx.Value(injectionKey{}).(*injection); ok {
		return i.fault
	}
	return none
}

// conflict makes transactions fail that are meant to, after a statement that
// succeeded: a deadlock, as MySQL reports it, which every kind of database is
// believed about.
func conflict(db *gorm.DB) error {
	strike := func(db *gorm.DB) {
		i, ok := db.Statement.Context.Value(injectionKey{}).(*injection)
		if !ok || i.fault != conflicted || db.Error != nil {
			return
		}
		if _, inTransaction := db.Statement.ConnPool.(gorm.TxCommitter); inTransaction && i.statement.Add(-1) == 0 {
			_ = db.AddError(&mysqldriver.MySQLError{Number: 1213, Message: "a deadlock that the test wants"})
		}
	}
	const name = "linear:conflict"
	on := db.Callback()
	for _, err := range []error{
		on.Create().After("gorm:create").Register(name, strike),
		on.Update().After("gorm:update").Register(name, strike),
		on.Delete().After("gorm:delete").Register(name, strike),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// shaky is a queue that refuses, hides its confirm and repeats itself as calls
// ask for it.
type shaky struct {
	mq.Publisher
	traffic *traffic
}

func (s *shaky) Publish(ctx context.Context, queue mq.Queue, message mq.Message) error {
	switch faultOf(ctx) {
	case refused:
		return errs.New(errs.Unavailable, "")
	case unconfirmed:
		if err := s.publish(ctx, queue, message); err != nil {
			return err
		}
		return errs.New(errs.Unavailable, "")
	case repeated:
		if err := s.publish(ctx, queue, message); err != nil {
			return err
		}
	}
	return s.publish(ctx, queue, message)
}

func (s *shaky) publish(ctx context.Context, queue mq.Queue, message mq.Message) error {
	message.ID = crand.Text()
	err := s.Publisher.Publish(ctx, queue, message)
	if err == nil {
		s.traffic.took(message.ID)
	}
	return err
}

// fickle is a broker that is away, or takes what it does not confirm.
type fickle struct {
	mq.Broker
	traffic *traffic
}

func (f *fickle) Publish(ctx context.Context, queue mq.Queue, message mq.Message) error {
	failed := faultOf(ctx)
	if failed == brokerAway || failed == brokerMute {
		f.traffic.spooled.Add(1)
	}
	if failed == brokerAway {
		return errs.New(errs.Unavailable, "")
	}
	err := f.Broker.Publish(ctx, queue, message)
	if err == nil && failed == brokerMute {
		return errs.New(errs.Unavailable, "")
	}
	return err
}

// memory is how many messages a handler gets once more, late.
const memory = 64

// unruly hands messages to a handler in any order, in other batches than they
// came in, once more long after they were handled, and fails after the work is
// done, as a worker does that dies before it acknowledges.
func unruly(t *traffic, handle mq.Handler) mq.Handler {
	var mu sync.Mutex
	var handled []mq.Message
	echo := func(batch []mq.Message) []mq.Message {
		mu.Lock()
		defer mu.Unlock()
		for range min(len(handled), rand.IntN(3)) {
			batch = append(batch, handled[rand.IntN(len(handled))])
			t.redelivered.Add(1)
		}
		return batch
	}
	keep := func(batch []mq.Message) {
		mu.Lock()
		defer mu.Unlock()
		handled = append(handled, batch...)
		handled = handled[max(0, len(handled)-memory):]
	}
	return func(ctx context.Context, batch []mq.Message) error {
		disorder := append([]mq.Message(nil), batch...)
		disorder = echo(disorder)
		rand.Shuffle(len(disorder), func(i, j int) { disorder[i], disorder[j] = disorder[j], disorder[i] })
		for len(disorder) > 0 {
			n := 1 + rand.IntN(len(disorder))
			var f fault
			if rand.IntN(8) == 0 {
				f = conflicted
			}
			if err := handle(inject(ctx, f, 1+rand.IntN(4)), disorder[:n]); err != nil {
				return err
			}
			disorder = disorder[n:]
		}
		keep(batch)
		if rand.IntN(20) == 0 {
			t.redelivered.Add(int64(len(batch)))
			return errs.New(errs.Unavailable, "") // it is handed over again
		}
		return nil
	}
}

// wobbly is a clock that stands still, leaps and goes back a little.
func wobbly() time.Time {
	return time.Now().Add(time.Duration(rand.IntN(7)-3) * time.Millisecond)
}

// slow is the clock of a machine that is late.
func slow() time.Time { return time.Now().Add(-2 * time.Second) }
