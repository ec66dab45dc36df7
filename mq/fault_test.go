package mq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"backbeat/app/errs"
	"backbeat/deploy/local"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/test/harness"
)

// confirm is production's bound.
const confirm = 150 * time.Millisecond

// TestRabbitFaults takes one server through what can happen to it.
func TestRabbitFaults(t *testing.T) {
	server := harness.RabbitMQServer(t)
	for _, c := range []struct {
		name string
		test func(*lab, *local.RabbitMQ)
	}{
		{"down at start", downAtStart},
		{"hung", hung},
		{"killed while publishing", killedWhilePublishing},
		{"killed under load with a spool", killedWithSpool},
		{"hung under load with a spool", hungWithSpool},
		{"short of memory", shortOfMemory},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newLab(t, nil), server) })
	}
}

func downAtStart(l *lab, server *local.RabbitMQ) {
	must(l, server.Kill())
	rabbit := startRabbit(l, server.URL, confirm, l.deps)
	var got record
	l.consume(rabbit, got.handle)
	if took, err := timed(func() error { return rabbit.Publish(l.Context(), l.queue, mq.Message{}) }); !errs.Is(err, errs.Unavailable) || took > confirm {
		l.Errorf("published to nowhere in %v: %v", took, err)
	}
	must(l, server.Start(l.Context()))
	published(l, rabbit, "hello")
	got.await(l, 1)
}

func hung(l *lab, server *local.RabbitMQ) {
	rabbit, leaving := startRabbit(l, server.URL, confirm, l.deps), startRabbit(l, server.URL, confirm, l.deps)
	published(l, rabbit, "before")
	published(l, leaving, "before")
	must(l, server.Pause())
	// More than the sockets take, so that writers get stuck too.
	body := bytes.Repeat([]byte("x"), 1<<20)
	var publishing sync.WaitGroup
	for i := range 64 {
		publishing.Go(func() {
			p := []*mq.Rabbit{rabbit, leaving}[i%2]
			took, err := timed(func() error { return p.Publish(l.Context(), l.queue, mq.Message{Body: body}) })
			if !errs.Is(err, errs.Unavailable) || took > confirm+time.Second {
				l.Errorf("a hung broker answered in %v: %v", took, err)
			}
		})
	}
	publishing.Wait()
	// It is given up: nobody waits for it any more.
	harness.Eventually(l, soon, func() error {
		took, err := timed(func() error { return rabbit.Publish(l.Context(), l.queue, mq.Message{}) })
		if err == nil || took > confirm/2 {
			return fmt.Errorf("%w after %v", err, took)
		}
		return nil
	}, "a hung broker is given up")
	left := make(chan error, 1)
	go func() { left <- leaving.Close() }()
	select {
	case err := <-left:
		must(l, err)
	case <-time.After(soon):
		l.Error("nobody can leave a hung broker")
	}
	must(l, server.Resume())
	published(l, rabbit, "after")
}

func killedWhilePublishing(l *lab, server *local.RabbitMQ) {
	rabbit := startRabbit(l, server.URL, 2*time.Second, l.deps)
	published(l, rabbit, "before")
	load := startLoad(l, rabbit)
	load.await(300)
	must(l, server.Kill())
	must(l, server.Start(l.Context()))
	load.await(300)
	acknowledged := load.stop()
	var got record
	l.consume(rabbit, got.handle)
	load.delivered(&got, acknowledged)
}

func killedWithSpool(l *lab, server *local.RabbitMQ) {
	withSpool(l, server, func() {
		must(l, server.Kill())
	}, func() {
		must(l, server.Start(l.Context()))
	})
}

func hungWithSpool(l *lab, server *local.RabbitMQ) {
	withSpool(l, server, func() { must(l, server.Pause()) }, func() { must(l, server.Resume()) })
}

// withSpool publishes while the broker fails, and expects never to notice.
func withSpool(l *lab, server *local.RabbitMQ, fail, recover func()) {
	l.queue.Single = true
	rabbit := startRabbit(l, server.URL, confirm, l.deps)
	db := connect(l, migrated(l, harness.SQLite(l)), l.deps)
	primary := &counted{Broker: rabbit}
	spooled := mq.NewSpooled(primary, mq.NewTable(db, l.deps), confirm, l.deps.Log)
	l.Cleanup(func() { must(l, spooled.Close()) })
	published(l, rabbit, "before")

	var got record
	l.consume(spooled, got.handle)
	load := startLoad(l, spooled)
	load.await(300)
	fail()
	load.await(1000)
	recover()
	load.await(300)
	acknowledged := load.stop()
	if failures := load.failures.Load(); failures > 0 {
		l.Errorf("%d publishes were refused", failures)
	}
	slices.Sort(load.took)
	l.Logf("%d publishes, p50 %v, p99 %v, most %v; %d waited for the broker in vain", len(load.took),
		load.took[len(load.took)/2], load.took[len(load.took)*99/100], load.took[len(load.took)-1], primary.failures.Load())
	if asked := primary.failures.Load(); asked > 200 {
		l.Errorf("%d publishes waited for the broker in vain: it is not left alone", asked)
	}
	load.delivered(&got, acknowledged)
	// And the broker is used again.
	harness.Eventually(l, soon, func() error {
		l.publish(spooled, "again")
		var rows int64
		must(l, db.Model(&model.QueueMessage{}).Where("message_id = ?", "again").Count(&rows).Error)
		if rows > 0 {
			return errors.New("still spooled")
		}
		return nil
	}, "publishing to the broker again")
}

// counted counts the publishes that fail.
type counted struct {
	mq.Broker
	failures atomic.Int64
}

func (c *counted) Publish(ctx context.Context, queue mq.Queue, message mq.Message) error {
	err := c.Broker.Publish(ctx, queue, message)
	if err != nil {
		c.failures.Add(1)
	}
	return err
}

func shortOfMemory(l *lab, server *local.RabbitMQ) {
	settings := filepath.Join(server.Dir, "advanced.config")
	restart := func(config string) {
		must(l, server.Kill())
		must(l, os.WriteFile(settings, []byte(config), 0o644))
		must(l, server.Start(l.Context()))
	}
	restart("[{rabbit, [{vm_memory_high_watermark, {absolute, 1000000}}]}].\n")
	rabbit := startRabbit(l, server.URL, confirm, l.deps)
	harness.Eventually(l, soon, func() error {
		took, err := timed(func() error { return rabbit.Publish(l.Context(), l.queue, mq.Message{}) })
		// It says so in answer to the first publish.
		if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "blocks publishers") || took > confirm/2 {
			return fmt.Errorf("%w after %v", err, took)
		}
		return nil
	}, "knowing that the broker blocks")
	restart("[].\n")
	published(l, rabbit, "after")
}

// published waits until a message is confirmed.
func published(l *lab, rabbit *mq.Rabbit, id string) {
	l.Helper()
	harness.Eventually(l, soon, func() error {
		return rabbit.Publish(l.Context(), l.queue, mq.Message{ID: id, Body: []byte(id)})
	}, "publishing")
}

func timed(do func() error) (time.Duration, error) {
	began := time.Now()
	err := do()
	return time.Since(began), err
}

// load publishes from several goroutines until it is stopped.
type load struct {
	*lab
	cancel   context.CancelFunc
	running  sync.WaitGroup
	count    atomic.Int64
	failures atomic.Int64

	mu           sync.Mutex
	acknowledged []string
	took         []time.Duration
}

func startLoad(l *lab, p mq.Publisher) *load {
	ctx, cancel := context.WithCancel(context.Background())
	load := &load{lab: l, cancel: cancel}
	for worker := range 8 {
		load.running.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				<-pace.C
				id := fmt.Sprintf("w%d-%d", worker, n)
				took, err := timed(func() error { return p.Publish(l.Context(), l.queue, mq.Message{ID: id, Body: []byte(id)}) })
				load.note(id, took, err)
			}
		})
	}
	l.Cleanup(func() { load.stop() })
	return load
}

func (l *load) note(id string, took time.Duration, err error) {
	l.count.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, took)
	if err != nil {
		l.failures.Add(1)
		return
	}
	l.acknowledged = append(l.acknowledged, id)
}

// await waits until n more publishes were acknowledged.
func (l *load) await(n int) {
	l.Helper()
	acknowledged := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acknowledged)
	}
	from := acknowledged()
	harness.Eventually(l, 2*soon, func() error {
		if done := acknowledged() - from; done < n {
			return fmt.Errorf("%d", done)
		}
		return nil
	}, fmt.Sprintf("%d publishes acknowledged", n))
}

func (l *load) stop() (acknowledged []string) {
	l.cancel()
	l.running.Wait()
	return l.acknowledged
}

// delivered waits until all that was acknowledged was handed over.
func (l *load) delivered(got *record, acknowledged []string) {
	l.Helper()
	harness.Eventually(l, 2*soon, func() error {
		arrived := map[string]bool{}
		for _, body := range got.bodies() {
			arrived[body] = true
		}
		missing := slices.DeleteFunc(slices.Clone(acknowledged), func(id string) bool { return arrived[id] })
		if len(missing) > 0 {
			return fmt.Errorf("%d of %d missing, such as %s", len(missing), len(acknowledged), missing[0])
		}
		return nil
	}, "all that was acknowledged")
}

// TestRabbitSubscribesAgain deletes the queue under its consumer and publisher.
func TestRabbitSubscribesAgain(t *testing.T) {
	address := harness.RabbitMQ(t)
	l := newLab(t, nil)
	rabbit := startRabbit(t, address, soon, l.deps)
	connected(t, rabbit)
	var got record
	l.consume(rabbit, got.handle)
	l.publish(rabbit, "before")
	got.await(l, 1)

	deleteQueue(t, address, l.queue.Name)
	// The first may be answered with an error: the broker returned it.
	harness.Eventually(t, soon, func() error {
		if err := rabbit.Publish(t.Context(), l.queue, mq.Message{ID: "after", Body: []byte("after")}); err != nil {
			return err
		}
		if !slices.Contains(got.bodies(), "after") {
			return errors.New("not handed over")
		}
		return nil
	}, "publishing and consuming again")
}

// deleteQueue deletes a queue of the broker over a connection of its own.
func deleteQueue(t *testing.T, address, name string) {
	t.Helper()
	conn, err := amqp.Dial(address)
	must(t, err)
	defer conn.Close()
	channel, err := conn.Channel()
	must(t, err)
	_, err = channel.QueueDelete(name, false, false, false)
	must(t, err)
}

// TestRabbitReturnsUnroutable publishes to a queue that was deleted.
func TestRabbitReturnsUnroutable(t *testing.T) {
	address := harness.RabbitMQ(t)
	l := newLab(t, nil)
	rabbit := startRabbit(t, address, soon, l.deps)
	connected(t, rabbit)
	l.publish(rabbit, "before")
	deleteQueue(t, address, l.queue.Name)
	if err := rabbit.Publish(t.Context(), l.queue, mq.Message{ID: "lost"}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a message for no queue was published: %v", err)
	}
	published(l, rabbit, "found")
}

// TestRabbitRefusesBadURL names no password.
func TestRabbitRefusesBadURL(t *testing.T) {
	for _, address := range []string{"", "http://user:secret@host/", "amqp://user:secret@host:port/"} {
		rabbit, err := mq.NewRabbit(mq.RabbitConfig{URL: address}, newLab(t, nil).deps)
		if err == nil {
			must(t, rabbit.Close())
			t.Errorf("%q is taken for an URL", address)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// TestTableLosesClaim lets a claim run out under its holder, which must stop and
// settle nothing.
func TestTableLosesClaim(t *testing.T) {
	for _, database := range harness.Databases() {
		t.Run(database.Name, func(t *testing.T) {
			start := tableWorld(t, database.Open)
			l := newLab(t, start)
			first, second := l.process(), l.process()
			held, finish := make(chan struct{}, 1), make(chan struct{})
			stopFirst := l.consume(first, func(context.Context, []mq.Message) error {
				held <- struct{}{}
				<-finish
				return nil // as if nothing had happened
			})
			l.publish(first, "job")
			<-held
			l.clock.advance(time.Minute)
			// The second holds the message while the first claims to be done with it.
			taken, release := make(chan struct{}, 1), make(chan struct{})
			var got record
			stopSecond := l.consume(second, func(ctx context.Context, batch []mq.Message) error {
				taken <- struct{}{}
				<-release
				got.add(batch)
				return errors.New("failed")
			})
			<-taken
			close(finish)
			stopFirst()
			close(release)
			l.queue.Attempts = 1
			got.await(l, 1)
			stopSecond()
			// It was the second's to settle: as failed, so that it comes again.
			var again record
			l.consume(second, again.handle)
			again.await(l, 1)
			if attempt := again.messages()[0].Attempt; attempt != 1 {
				t.Errorf("it comes as attempt %d", attempt)
			}
		})
	}
}

// TestTableRenewsClaim keeps a long job out of others' hands.
func TestTableRenewsClaim(t *testing.T) {
	for _, database := range harness.Databases() {
		t.Run(database.Name, func(t *testing.T) {
			t.Parallel()
			dsn := migrated(t, database.Open(t))
			l := newLab(t, nil)
			l.queue.Single = true
			db := connect(t, dsn, l.deps)
			table := mq.NewTable(db, l.deps)
			held, finish := make(chan struct{}), make(chan struct{})
			interrupted := make(chan bool, 1)
			l.consume(table, func(ctx context.Context, _ []mq.Message) error {
				close(held)
				<-finish
				interrupted <- ctx.Err() != nil
				return nil
			})
			l.publish(table, "job")
			<-held
			until := func() (message, lease int64) {
				must(t, db.Model(&model.QueueMessage{}).Select("available_at").Take(&message).Error)
				must(t, db.Model(&model.QueueLease{}).Select("until").Take(&lease).Error)
				return message, lease
			}
			message, lease := until()
			harness.Eventually(t, soon, func() error {
				m, l := until()
				if m <= message || l <= lease {
					return fmt.Errorf("claimed until %d, leased until %d", m, l)
				}
				return nil
			}, "renewing claim and lease")
			close(finish)
			if <-interrupted {
				t.Error("the job was interrupted")
			}
		})
	}
}

// TestCloseInterrupts takes the batch away from a consumer that doesn't stop.
func TestCloseInterrupts(t *testing.T) {
	for _, world := range worlds() {
		t.Run(world.name, func(t *testing.T) {
			l := newLab(t, world.open(t))
			p := l.process()
			held := make(chan struct{}, 1)
			stop := l.consume(p, func(ctx context.Context, _ []mq.Message) error {
				held <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			})
			l.publish(p, "job")
			<-held
			must(t, p.Close())
			stop()
			var got record
			l.consume(l.process(), got.handle)
			got.await(l, 1)
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, world := range worlds() {
		b.Run(world.name, func(b *testing.B) {
			l := newLab(b, world.open(b))
			p := l.process()
			body := bytes.Repeat([]byte("x"), 100)
			b.SetParallelism(32)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := p.Publish(b.Context(), l.queue, mq.Message{Type: "bench/1", Body: body}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
