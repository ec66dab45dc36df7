package mq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/uber/jaeger-client-go"
	"pgregory.net/rapid"

	"backbeat/app/errs"
	"backbeat/mq"
	"backbeat/test/harness"
)

// TestConformance is what every kind of queue promises.
func TestConformance(t *testing.T) {
	cases := []struct {
		name string
		test func(*lab)
	}{
		{"a message arrives as it was", arrivesAsItWas},
		{"what no queue can hold is refused", refusesWhatItCannotHold},
		{"a published message waits for a consumer and outlives its publisher", outlivesPublisher},
		{"a backlog comes in batches", comesInBatches},
		{"with a batch of one nothing is held back from others", holdsOneAtATime},
		{"a bad message stops nobody", badMessageStopsNobody},
		{"a failing message is tried again after the delay, then dead", retriesThenDies},
		{"a panic is a failed attempt", survivesPanic},
		{"what is away does not count", unavailableDoesNotCount},
		{"a request that can never succeed dies at once", nonFaultDiesAtOnce},
		{"dead messages stay until they are replayed", replays},
		{"a single consumer is alone and another takes over", singleTakesOver},
		{"a killed single consumer is succeeded", singleSucceeds},
		{"the end of a consumer leaves nothing in hand", drains},
		{"a consumer that waits at its end puts back what it holds", putsBack},
		{"messages of a killed consumer are handed over again", redeliversAfterDeath},
		{"the trace goes on", traceGoesOn},
		{"whatever fails, all is handled", propertyAllHandled},
	}
	for _, world := range worlds() {
		t.Run(world.name, func(t *testing.T) {
			start := world.open(t)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.test(newLab(t, start)) })
			}
		})
	}
}

func arrivesAsItWas(l *lab) {
	p := l.process()
	sent := []mq.Message{
		{ID: "plain", Type: "test/1", Body: []byte("body")},
		{Type: "test/2", Body: []byte("没有编号 🎬")},
		{ID: "empty", Type: "test/1"},
		{ID: "binary", Type: "test/1", Body: []byte{0, 0xff, 0xfe, '\n', 0}},
		{ID: "large", Type: "test/1", Body: bytes.Repeat([]byte("8 bytes!"), 1<<17)},
	}
	for _, message := range sent {
		must(l, p.Publish(l.Context(), l.queue, message))
	}
	var got record
	l.consume(p, got.handle)
	got.await(l, len(sent))
	for _, want := range sent {
		i := slices.IndexFunc(got.messages(), func(m mq.Message) bool { return bytes.Equal(m.Body, want.Body) })
		if i < 0 {
			l.Errorf("%q did not arrive", want.ID)
			continue
		}
		arrived := got.messages()[i]
		if arrived.Type != want.Type || arrived.Attempt != 0 || want.ID != "" && arrived.ID != want.ID || arrived.ID == "" {
			l.Errorf("published %q %q, got %q %q attempt %d", want.ID, want.Type, arrived.ID, arrived.Type, arrived.Attempt)
		}
	}
}

func refusesWhatItCannotHold(l *lab) {
	p := l.process()
	message := func(change func(*mq.Message)) mq.Message {
		m := mq.Message{Type: "test/1", Body: []byte("body")}
		change(&m)
		return m
	}
	queue := func(change func(*mq.Queue)) mq.Queue {
		q := l.queue
		change(&q)
		return q
	}
	for _, c := range []struct {
		name    string
		queue   mq.Queue
		message mq.Message
	}{
		{"body over 1 MiB", l.queue, message(func(m *mq.Message) { m.Body = make([]byte, 1<<20+1) })},
		{"long id", l.queue, message(func(m *mq.Message) { m.ID = strings.Repeat("i", 37) })},
		{"long type", l.queue, message(func(m *mq.Message) { m.Type = strings.Repeat("t", 65) })},
		{"no name", queue(func(q *mq.Queue) { q.Name = "" }), message(func(*mq.Message) {})},
		{"long name", queue(func(q *mq.Queue) { q.Name = strings.Repeat("q", 65) }), message(func(*mq.Message) {})},
		{"no batch", queue(func(q *mq.Queue) { q.Batch = 0 }), message(func(*mq.Message) {})},
		{"no attempts", queue(func(q *mq.Queue) { q.Attempts = 0 }), message(func(*mq.Message) {})},
	} {
		if err := p.Publish(l.Context(), c.queue, c.message); !errs.Is(err, errs.Invalid) {
			l.Errorf("%s: published with %v", c.name, err)
		}
	}
	ctx, cancel := context.WithTimeout(l.Context(), soon)
	defer cancel()
	if err := p.Consume(ctx, mq.Queue{}, (&record{}).handle); !errs.Is(err, errs.Invalid) {
		l.Errorf("an impossible queue is consumed: %v", err)
	}
}

func outlivesPublisher(l *lab) {
	publisher := l.process()
	l.publish(publisher, numbered(40)...)
	publisher.kill()
	var got record
	l.consume(l.process(), got.handle)
	got.await(l, 40)
	// Joined queues keep the order of each.
	if bodies := got.bodies(); !strings.HasPrefix(l.Name(), "TestConformance/spooled") && !slices.IsSorted(bodies) {
		l.Errorf("handed over in another order than published: %v", bodies)
	}
}

func comesInBatches(l *lab) {
	p := l.process()
	l.publish(p, numbered(60)...)
	var got record
	largest := atomic.Int64{}
	l.consume(p, func(ctx context.Context, batch []mq.Message) error {
		if n := int64(len(batch)); n > largest.Load() {
			largest.Store(n)
		}
		return got.handle(ctx, batch)
	})
	got.await(l, 60)
	if n := largest.Load(); n < 2 || n > int64(l.queue.Batch) {
		l.Errorf("the largest batch had %d messages of at most %d", n, l.queue.Batch)
	}
}

func holdsOneAtATime(l *lab) {
	l.queue.Batch = 1
	first, second := l.process(), l.process()
	release, held := make(chan struct{}), make(chan struct{}, 10)
	defer close(release)
	block := func(context.Context, []mq.Message) error {
		held <- struct{}{}
		<-release
		return nil
	}
	l.publish(first, "blocked")
	l.consume(first, block)
	<-held
	l.publish(first, numbered(5)...)
	var got record
	l.consume(second, got.handle)
	// Of joined queues the first consumer holds one message each.
	if strings.HasPrefix(l.Name(), "TestConformance/spooled") {
		got.await(l, 4)
	} else {
		got.await(l, 5)
	}
}

func badMessageStopsNobody(l *lab) {
	p := l.process()
	l.publish(p, numbered(5)...)
	l.publish(p, "bad 坏")
	l.publish(p, "x1", "x2", "x3", "x4")
	var got record
	l.consume(p, func(_ context.Context, batch []mq.Message) error {
		if slices.ContainsFunc(batch, func(m mq.Message) bool { return contains(m, "bad") }) {
			return errors.New("无法处理 this one")
		}
		got.add(batch)
		return nil
	})
	got.await(l, 9)
	dead := l.dead(p, 1)[0]
	if dead.ID != "bad 坏" || string(dead.Body) != "bad 坏" || dead.Type != "test/1" || dead.Queue != l.queue.Name || dead.Store == "" ||
		!strings.Contains(dead.Reason, "无法处理 this one") || dead.Attempt != l.queue.Attempts || time.Since(dead.Died).Abs() > time.Hour {
		l.Errorf("the bad message died as %+v", dead)
	}
	unique := slices.Compact(slices.Sorted(slices.Values(got.bodies())))
	if len(unique) != 9 {
		l.Errorf("handled %v", unique)
	}
}

func retriesThenDies(l *lab) {
	l.queue.Delay = 300 * time.Millisecond
	p := l.process()
	l.publish(p, "failing")
	type try struct {
		attempt int
		at      time.Time
	}
	tries := make(chan try, 10)
	l.consume(p, func(_ context.Context, batch []mq.Message) error {
		tries <- try{batch[0].Attempt, time.Now()}
		return errs.Wrap(errs.Internal, errors.New("broken"), "testing")
	})
	l.dead(p, 1)
	close(tries)
	var before time.Time
	n := 0
	for one := range tries {
		if one.attempt != n {
			l.Errorf("try %d came as attempt %d", n, one.attempt)
		}
		if n > 0 && one.at.Sub(before) < l.queue.Delay-20*time.Millisecond {
			l.Errorf("try %d came after %v, not %v", n, one.at.Sub(before), l.queue.Delay)
		}
		before = one.at
		n++
	}
	if n != l.queue.Attempts {
		l.Errorf("tried %d times, not %d", n, l.queue.Attempts)
	}
}

func survivesPanic(l *lab) {
	p := l.process()
	l.publish(p, "panics")
	var got record
	l.consume(p, func(ctx context.Context, batch []mq.Message) error {
		if batch[0].Attempt == 0 {
			panic("boom")
		}
		return got.handle(ctx, batch)
	})
	got.await(l, 1)
	if attempt := got.messages()[0].Attempt; attempt != 1 {
		l.Errorf("after a panic it came as attempt %d", attempt)
	}
}

func unavailableDoesNotCount(l *lab) {
	p := l.process()
	l.publish(p, numbered(3)...)
	var got record
	var tries atomic.Int64
	l.consume(p, func(ctx context.Context, batch []mq.Message) error {
		if int(tries.Add(1)) <= 2*l.queue.Attempts {
			return errs.New(errs.Unavailable, "")
		}
		return got.handle(ctx, batch)
	})
	got.await(l, 3)
	for _, message := range got.messages() {
		if message.Attempt != 0 {
			l.Errorf("waiting counted as %d attempts", message.Attempt)
		}
	}
}

func nonFaultDiesAtOnce(l *lab) {
	p := l.process()
	l.publish(p, "good", "invalid", "fine")
	var got record
	var tries atomic.Int64
	l.consume(p, func(ctx context.Context, batch []mq.Message) error {
		for _, message := range batch {
			if contains(message, "invalid") {
				if len(batch) == 1 {
					tries.Add(1)
				}
				return errs.New(errs.Invalid, "")
			}
		}
		return got.handle(ctx, batch)
	})
	if dead := l.dead(p, 1)[0]; dead.ID != "invalid" {
		l.Errorf("%s died", dead.ID)
	}
	got.await(l, 2)
	if n := tries.Load(); n != 1 {
		l.Errorf("tried %d times", n)
	}
}

func replays(l *lab) {
	l.queue.Attempts = 1
	p := l.process()
	var fixed atomic.Bool
	var got record
	l.consume(p, func(ctx context.Context, batch []mq.Message) error {
		if !fixed.Load() {
			return errors.New("not yet")
		}
		return got.handle(ctx, batch)
	})
	l.publish(p, "a", "b", "c")
	l.dead(p, 3)
	l.dead(p, 3) // looking changed nothing
	if some, err := p.Dead(l.Context(), l.queue, 2); err != nil || len(some) != 2 {
		l.Errorf("listing two of three: %d, %v", len(some), err)
	}
	fixed.Store(true)
	if err := p.Replay(l.Context(), l.queue, "unknown"); !errs.Is(err, errs.NotFound) {
		l.Errorf("replaying an unknown id: %v", err)
	}
	must(l, p.Replay(l.Context(), l.queue, "b"))
	got.await(l, 1)
	if m := got.messages()[0]; m.ID != "b" || m.Attempt != 0 || string(m.Body) != "b" {
		l.Errorf("replayed as %+v", m)
	}
	left := l.dead(p, 2)
	if ids := []string{left[0].ID, left[1].ID}; !slices.Equal(slices.Sorted(slices.Values(ids)), []string{"a", "c"}) {
		l.Errorf("left dead: %v", ids)
	}
}

func singleTakesOver(l *lab) {
	l.queue.Single = true
	first, second := l.process(), l.process()
	var atOnce, most atomic.Int64
	var mu sync.Mutex
	by := map[string]int{}
	handler := func(name string, got *record) mq.Handler {
		return func(ctx context.Context, batch []mq.Message) error {
			most.Store(max(most.Load(), atOnce.Add(1)))
			defer atOnce.Add(-1)
			mu.Lock()
			by[name] += len(batch)
			mu.Unlock()
			return got.handle(ctx, batch)
		}
	}
	var got record
	stop := l.consume(first, handler("first", &got))
	l.publish(first, "hello")
	got.await(l, 1)
	l.consume(second, handler("second", &got))
	l.publish(second, numbered(50)...)
	got.await(l, 51)
	// Either of two joined queues has a single consumer of its own.
	if !strings.HasPrefix(l.Name(), "TestConformance/spooled") && (by["second"] > 0 || most.Load() > 1) {
		l.Errorf("the standby handled %d messages, %d at once", by["second"], most.Load())
	}
	stop()
	l.publish(second, numbered(50)...)
	got.await(l, 101)
}

func singleSucceeds(l *lab) {
	l.queue.Single = true
	first, second := l.process(), l.process()
	holding := make(chan struct{}, 10)
	l.consume(first, func(ctx context.Context, _ []mq.Message) error {
		holding <- struct{}{}
		<-ctx.Done() // the claim is lost
		return ctx.Err()
	})
	l.publish(second, "held")
	<-holding
	var got record
	l.consume(second, got.handle)
	l.publish(second, numbered(5)...)
	first.kill()
	l.clock.advance(time.Minute)
	got.await(l, 6)
}

func drains(l *lab) {
	l.clock.stop()
	p := l.process()
	l.publish(p, numbered(55)...)
	var got record
	begun, finish := make(chan struct{}, 100), make(chan struct{})
	stop := l.consume(p, func(ctx context.Context, batch []mq.Message) error {
		begun <- struct{}{}
		<-finish
		if ctx.Err() != nil {
			l.Errorf("the batch in hand was interrupted: %v", ctx.Err())
		}
		return got.handle(ctx, batch)
	})
	<-begun
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	close(finish)
	<-stopped
	before := len(got.messages())
	if before == 0 {
		l.Error("the batch in hand was not finished")
	}
	l.consume(l.process(), got.handle)
	got.await(l, 55)
	if unique := slices.Compact(slices.Sorted(slices.Values(got.bodies()))); len(unique) != 55 {
		l.Errorf("of 55 messages %d were handled", len(unique))
	}
	if n := len(got.messages()); n != 55 {
		l.Errorf("%d messages were handled twice", n-55)
	}
}

func putsBack(l *lab) {
	l.clock.stop()
	l.queue.Single = true
	first, second := l.process(), l.process()
	waiting := make(chan struct{}, 1000)
	stop := l.consume(first, func(context.Context, []mq.Message) error {
		waiting <- struct{}{}
		return errs.New(errs.Unavailable, "")
	})
	l.publish(first, numbered(15)...)
	<-waiting
	stop()
	var got record
	l.consume(second, got.handle)
	got.await(l, 15)
	for _, message := range got.messages() {
		if message.Attempt != 0 {
			l.Errorf("waiting counted as %d attempts", message.Attempt)
		}
	}
}

func redeliversAfterDeath(l *lab) {
	first, second := l.process(), l.process()
	holding := make(chan struct{}, 10)
	l.consume(first, func(ctx context.Context, _ []mq.Message) error {
		holding <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	l.publish(second, "held")
	<-holding
	first.kill()
	l.clock.advance(time.Minute)
	var got record
	l.consume(second, got.handle)
	got.await(l, 1)
	if m := got.messages()[0]; m.ID != "held" || m.Attempt != 0 {
		l.Errorf("redelivered as %+v", m)
	}
}

func traceGoesOn(l *lab) {
	p := l.process()
	tracer := l.deps.Tracer
	roots := map[string]opentracing.Span{}
	for _, body := range []string{"first", "second", "third"} {
		roots[body] = tracer.StartSpan("request")
		ctx := opentracing.ContextWithSpan(l.Context(), roots[body])
		must(l, p.Publish(ctx, l.queue, mq.Message{ID: body, Body: []byte(body)}))
	}
	var got record
	inside := make(chan string, 10)
	l.consume(p, func(ctx context.Context, batch []mq.Message) error {
		inside <- traceOf(opentracing.SpanFromContext(ctx)) + " " + string(batch[0].Body)
		return got.handle(ctx, batch)
	})
	got.await(l, 3)
	for body, root := range roots {
		harness.Eventually(l, soon, func() error {
			for _, span := range l.spans.GetSpans() {
				span := span.(*jaeger.Span)
				if span.OperationName() == "apply "+l.queue.Name && span.Tags()["message.id"] == body {
					if traceOf(span) != traceOf(root) {
						return fmt.Errorf("in trace %s, not %s", traceOf(span), traceOf(root))
					}
					return nil
				}
			}
			return errors.New("no span")
		}, "the span that applies "+body)
	}
	published, heads := 0, 0
	for _, span := range l.spans.GetSpans() {
		span := span.(*jaeger.Span)
		switch {
		case span.OperationName() == "publish "+l.queue.Name && span.Tags()["span.kind"] == ext.SpanKindProducerEnum:
			published++
		case span.OperationName() == "apply "+l.queue.Name && span.Tags()["batch.trace"] == nil:
			heads++
		}
	}
	if published < 3 {
		l.Errorf("%d spans of 3 publishes", published)
	}
	if batches := len(got.batches); heads != batches {
		l.Errorf("%d spans name no batch, of %d batches", heads, batches)
	}
	of, first, _ := strings.Cut(<-inside, " ")
	if want := traceOf(roots[first]); of != want {
		l.Errorf("the handler ran in trace %s, the first message's is %s", of, want)
	}
}

func traceOf(span opentracing.Span) string {
	if span == nil {
		return "none"
	}
	return span.Context().(jaeger.SpanContext).TraceID().String()
}

// propertyAllHandled publishes from several processes to several consumers that
// fail at random: what was acknowledged is handled, each exactly once in effect.
func propertyAllHandled(l *lab) {
	processes := []*process{l.process(), l.process(), l.process()}
	rapid.Check(l, func(t *rapid.T) {
		queue := mq.Queue{
			Name:     fmt.Sprintf("test.%d", labs.Add(1)),
			Batch:    rapid.IntRange(1, 8).Draw(t, "batch"),
			Single:   rapid.Bool().Draw(t, "single"),
			Attempts: 1000,
			Delay:    time.Duration(rapid.IntRange(0, 20).Draw(t, "delay")) * time.Millisecond,
		}
		each := rapid.IntRange(1, 30).Draw(t, "messages")
		failures := rapid.Float64Range(0, 0.4).Draw(t, "failures")
		seed := rapid.Uint64().Draw(t, "seed")
		mine := &lab{TB: l.TB, queue: queue}

		var handled sync.Map
		handle := chaotic(seed, failures, &handled)
		var stops []func()
		for _, p := range processes[:rapid.IntRange(1, len(processes)).Draw(t, "consumers")] {
			stops = append(stops, mine.consume(p, handle))
		}
		var publishing sync.WaitGroup
		for i, p := range processes {
			publishing.Go(func() {
				for n := range each {
					body := fmt.Sprintf("%d-%d", i, n)
					if err := p.Publish(l.Context(), queue, mq.Message{ID: body, Body: []byte(body)}); err != nil {
						l.Errorf("publishing: %v", err)
					}
				}
			})
		}
		publishing.Wait()
		harness.Eventually(l, soon, func() error {
			missing := 0
			for i := range processes {
				for n := range each {
					if _, ok := handled.Load(fmt.Sprintf("%d-%d", i, n)); !ok {
						missing++
					}
				}
			}
			if missing > 0 {
				return fmt.Errorf("%d missing", missing)
			}
			return nil
		}, "all messages handled")
		for _, stop := range stops {
			stop()
		}
		if dead, err := processes[0].Dead(l.Context(), queue, 10); err != nil || len(dead) > 0 {
			t.Fatalf("%d died: %v", len(dead), err)
		}
	})
}

// chaotic fails, panics, waits or works, as the seed says.
func chaotic(seed uint64, failures float64, handled *sync.Map) mq.Handler {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, seed))
	return func(_ context.Context, batch []mq.Message) error {
		mu.Lock()
		fails, how := random.Float64() < failures, random.IntN(3)
		mu.Unlock()
		if fails {
			switch how {
			case 0:
				return errors.New("chance")
			case 1:
				return errs.New(errs.Unavailable, "")
			default:
				panic("chance")
			}
		}
		for _, message := range batch {
			handled.Store(string(message.Body), true)
		}
		return nil
	}
}
