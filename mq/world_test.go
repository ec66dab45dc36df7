package mq_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/uber/jaeger-client-go"
	"go.uber.org/goleak"
	"gorm.io/gorm"

	"backbeat/model"
	"backbeat/mq"
	"backbeat/test/harness"
)

func TestMain(m *testing.M) {
	// Each check of a property here moves messages through real servers.
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, append(harness.LeakOptions(),
		// gorm gives its caches of statements, and SQLite's readers, no end.
		goleak.IgnoreAnyFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"),
		goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"))...)
}

// soon is far more than anything here takes on an idle machine.
const soon = 30 * time.Second

// world is one kind of broker; every process opened in it sees the same queues.
type world struct {
	name string
	// open makes what processes share and returns how a process is started.
	open func(testing.TB) func(testing.TB, mq.Deps) *process
}

// process stands for one that publishes and consumes.
type process struct {
	mq.Broker
	// kill ends it as SIGKILL would: it puts nothing back.
	kill func()
}

func worlds() []world {
	all := []world{{"rabbitmq", rabbitWorld}, {"spooled", spooledWorld}}
	for _, database := range harness.Databases() {
		all = append(all, world{"table on " + database.Name, func(tb testing.TB) func(testing.TB, mq.Deps) *process {
			return tableWorld(tb, database.Open)
		}})
	}
	return all
}

func tableWorld(tb testing.TB, open func(testing.TB) string) func(testing.TB, mq.Deps) *process {
	dsn := migrated(tb, open(tb))
	return func(tb testing.TB, deps mq.Deps) *process {
		db := connect(tb, dsn, deps)
		table := mq.NewTable(db, deps)
		tb.Cleanup(func() { must(tb, table.Close()) })
		return &process{table, func() {
			must(tb, model.Close(db))
			must(tb, table.Close())
		}}
	}
}

func rabbitWorld(tb testing.TB) func(testing.TB, mq.Deps) *process {
	address := harness.RabbitMQ(tb)
	return func(tb testing.TB, deps mq.Deps) *process {
		rabbit, cut := rabbitThrough(tb, address, deps)
		return &process{rabbit, func() {
			cut()
			must(tb, rabbit.Close())
		}}
	}
}

func spooledWorld(tb testing.TB) func(testing.TB, mq.Deps) *process {
	address, dsn := harness.RabbitMQ(tb), migrated(tb, harness.SQLite(tb))
	return func(tb testing.TB, deps mq.Deps) *process {
		rabbit, cut := rabbitThrough(tb, address, deps)
		db := connect(tb, dsn, deps)
		spooled := mq.NewSpooled(&unsteady{Broker: rabbit}, mq.NewTable(db, deps), soon, deps.Log)
		tb.Cleanup(func() { must(tb, spooled.Close()) })
		return &process{spooled, func() {
			cut()
			must(tb, model.Close(db))
			must(tb, spooled.Close())
		}}
	}
}

// unsteady is a primary that fails each third publish.
type unsteady struct {
	mq.Broker
	published atomic.Int64
}

func (u *unsteady) Publish(ctx context.Context, queue mq.Queue, message mq.Message) error {
	if u.published.Add(1)%3 == 0 {
		return errors.New("not connected")
	}
	return u.Broker.Publish(ctx, queue, message)
}

func migrated(tb testing.TB, dsn string) string {
	db, err := model.Open(tb.Context(), dsn, 2, harness.Logger(tb))
	must(tb, err)
	must(tb, model.Migrate(tb.Context(), db))
	must(tb, model.Close(db))
	return dsn
}

func connect(tb testing.TB, dsn string, deps mq.Deps) *gorm.DB {
	db, err := model.Open(tb.Context(), dsn, 8, deps.Log)
	must(tb, err)
	tb.Cleanup(func() { must(tb, model.Close(db)) })
	return db
}

// rabbitThrough connects over a proxy; cut severs all connections for good.
func rabbitThrough(tb testing.TB, address string, deps mq.Deps) (*mq.Rabbit, func()) {
	at, err := url.Parse(address)
	must(tb, err)
	p := startProxy(tb, at.Host)
	at.Host = p.listener.Addr().String()
	rabbit := startRabbit(tb, at.String(), soon, deps)
	connected(tb, rabbit)
	return rabbit, p.cut
}

func startRabbit(tb testing.TB, address string, confirm time.Duration, deps mq.Deps) *mq.Rabbit {
	rabbit, err := mq.NewRabbit(mq.RabbitConfig{URL: address, Confirm: confirm}, deps)
	must(tb, err)
	tb.Cleanup(func() { must(tb, rabbit.Close()) })
	return rabbit
}

// connected waits until both connections are up.
func connected(tb testing.TB, rabbit *mq.Rabbit) {
	harness.Eventually(tb, soon, func() error {
		queue := mq.Queue{Name: "warm", Batch: 1, Attempts: 1}
		if _, err := rabbit.Dead(tb.Context(), queue, 1); err != nil {
			return err
		}
		return rabbit.Publish(tb.Context(), queue, mq.Message{})
	}, "connecting")
}

// proxy passes bytes on until it is cut.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	over     bool
	running  sync.WaitGroup
}

func startProxy(tb testing.TB, target string) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	p := &proxy{listener: listener}
	p.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			p.join(client, server)
		}
	})
	tb.Cleanup(p.cut)
	return p
}

func (p *proxy) join(client, server net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, client, server)
	if p.over {
		client.Close()
		server.Close()
	}
	pass := func(to, from net.Conn) {
		io.Copy(to, from)
		to.Close()
		from.Close()
	}
	p.running.Go(func() { pass(client, server) })
	p.running.Go(func() { pass(server, client) })
}

func (p *proxy) cut() {
	p.listener.Close()
	p.mu.Lock()
	p.over = true
	for _, conn := range p.conns {
		conn.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// lab is what one test works with.
type lab struct {
	testing.TB
	start func(testing.TB, mq.Deps) *process
	queue mq.Queue
	clock *clock
	spans *jaeger.InMemoryReporter
	deps  mq.Deps
}

var labs atomic.Int64

// newLab gives the test a queue of its own.
func newLab(tb testing.TB, start func(testing.TB, mq.Deps) *process) *lab {
	clock, spans := &clock{}, jaeger.NewInMemoryReporter()
	l := &lab{TB: tb, start: start, clock: clock, spans: spans}
	l.queue = mq.Queue{Name: fmt.Sprintf("test.%d", labs.Add(1)), Batch: 10, Attempts: 3, Delay: 20 * time.Millisecond}
	l.deps = mq.Deps{Tracer: tracer(tb, spans), Log: harness.Logger(tb), Now: clock.now}
	return l
}

// tracer speaks as production's does, and reports to spans.
func tracer(tb testing.TB, spans *jaeger.InMemoryReporter) opentracing.Tracer {
	tracer, closer := jaeger.NewTracer("test", jaeger.NewConstSampler(true), spans)
	tb.Cleanup(func() { must(tb, closer.Close()) })
	return tracer
}

func (l *lab) process() *process { return l.start(l.TB, l.deps) }

// publish publishes one message per body; the body is the id too.
func (l *lab) publish(p mq.Publisher, bodies ...string) {
	l.Helper()
	for _, body := range bodies {
		must(l, p.Publish(l.Context(), l.queue, mq.Message{ID: body, Type: "test/1", Body: []byte(body)}))
	}
}

// consume consumes until the returned function is called, which waits for it.
func (l *lab) consume(p mq.Consumer, handle mq.Handler) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Consume(ctx, l.queue, handle) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				l.Errorf("Consume: %v", err)
			}
		case <-time.After(soon):
			l.Error("Consume does not return after its context ended")
		}
	})
	l.Cleanup(stop)
	return stop
}

// dead waits for n dead messages.
func (l *lab) dead(p mq.DeadLetters, n int) []mq.Dead {
	l.Helper()
	var dead []mq.Dead
	harness.Eventually(l, soon, func() (err error) {
		dead, err = p.Dead(l.Context(), l.queue, 1000)
		if err == nil && len(dead) != n {
			err = fmt.Errorf("%d", len(dead))
		}
		return err
	}, fmt.Sprintf("%d dead messages", n))
	return dead
}

// clock is the real one, set forward or stopped at will.
type clock struct {
	ahead   atomic.Int64
	stopped atomic.Pointer[time.Time]
}

func (c *clock) now() time.Time {
	if at := c.stopped.Load(); at != nil {
		return *at
	}
	return time.Now().Add(time.Duration(c.ahead.Load()))
}

// stop makes the moment last: no claim runs out.
func (c *clock) stop() {
	now := c.now()
	c.stopped.Store(&now)
}

func (c *clock) advance(by time.Duration) { c.ahead.Add(int64(by)) }

// record remembers what was handed over.
type record struct {
	mu      sync.Mutex
	batches [][]mq.Message
}

func (r *record) add(batch []mq.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, batch)
}

func (r *record) messages() []mq.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []mq.Message
	for _, batch := range r.batches {
		all = append(all, batch...)
	}
	return all
}

func (r *record) bodies() []string {
	var bodies []string
	for _, message := range r.messages() {
		bodies = append(bodies, string(message.Body))
	}
	return bodies
}

func (r *record) handle(_ context.Context, batch []mq.Message) error {
	r.add(batch)
	return nil
}

// await waits until n messages were handed over.
func (r *record) await(tb testing.TB, n int) {
	tb.Helper()
	harness.Eventually(tb, soon, func() error {
		if got := len(r.messages()); got < n {
			return fmt.Errorf("%d", got)
		}
		return nil
	}, fmt.Sprintf("%d messages handed over", n))
}

func numbered(n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("m%04d", i)
	}
	return bodies
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func contains(message mq.Message, part string) bool {
	return strings.Contains(string(message.Body), part)
}
