package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// address is where an HTTP server listens that answers with h.
func address(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// once drives n requests over a connection.
func once(t *testing.T, addr string, n int, r request) tally {
	t.Helper()
	return drive(t.Context(), load{addr: addr, connections: 1, length: time.Hour, next: limited(func() (request, bool) { return r, true }, n)})
}

// An open loop that can't send what is due must not look like a lighter load.
func TestOpenLoopRunsDry(t *testing.T) {
	addr := address(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status_code":0,"status_msg":""}`)
	}))
	r := request{bytes: encode(addr, http.MethodGet, "/douyin/feed/", nil)}
	l := load{addr: addr, connections: 1, length: time.Hour, next: limited(func() (request, bool) { return r, true }, 3), rate: 1e6}
	if got := drive(t.Context(), l); got.errors != 1 || !errors.Is(got.fault, errDry) || len(got.latencies) != 3 {
		t.Errorf("of 3 requests %d were sent, with %d errors: %v", len(got.latencies), got.errors, got.fault)
	}
}

func TestDriverTellsGoodAnswersFromBad(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	long := strings.Repeat("x", 10_000) // answered in chunks
	for name, c := range map[string]struct {
		status         int
		header, answer string
		bad, degraded  bool
	}{
		"good":            {200, "", `{"status_code":0,"status_msg":""}`, false, false},
		"good and long":   {200, "", `{"status_code":0,"status_msg":"` + long + `"}`, false, false},
		"refused":         {200, "", `{"status_code":42900,"status_msg":"` + long + `"}`, true, false},
		"a 500":           {500, "", `{"status_code":0,"status_msg":""}`, true, false},
		"no JSON":         {200, "", `<html>`, true, false},
		"empty":           {200, "", ``, true, false},
		"a part missing":  {200, "Backbeat-Degraded", `{"status_code":0,"status_msg":""}`, false, true},
		"closed after it": {200, "Connection", `{"status_code":0,"status_msg":""}`, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			addr := address(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				if r.URL.Path != "/x/" || r.URL.Query().Get("a") != "1 2" {
					t.Errorf("asked for %s", r.URL)
				}
				if c.header != "" {
					w.Header().Set(c.header, map[string]string{"Connection": "close"}[c.header])
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.answer)
			}))
			var done atomic.Int64
			got := once(t, addr, 3, request{encode(addr, http.MethodPost, "/x/", map[string][]string{"a": {"1 2"}}), &done})
			wantBad, wantDegraded := 0, 0
			if c.bad {
				wantBad = 3
			}
			if c.degraded {
				wantDegraded = 3
			}
			if asked != 3 || len(got.latencies) != 3 || got.errors != wantBad || got.degraded != wantDegraded || int(done.Load()) != 3-wantBad {
				t.Errorf("%d asked, %d answered, %d errors (%v), %d degraded, %d good; want 3, 3, %d, %d, %d",
					asked, len(got.latencies), got.errors, got.fault, got.degraded, done.Load(), wantBad, wantDegraded, 3-wantBad)
			}
		})
	}
}

func TestDriverCountsNoAnswerAsAnError(t *testing.T) {
	addr := address(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	if got := once(t, addr, 2, request{bytes: encode(addr, http.MethodGet, "/", nil)}); got.errors != 2 {
		t.Errorf("cut off: %d errors, want 2", got.errors)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err, listener.Close()); err != nil {
		t.Fatal(err)
	}
	if got := once(t, listener.Addr().String(), 5, request{}); got.errors != 1 {
		t.Errorf("nobody listens: %d errors, want 1", got.errors)
	}
}

func TestQuantile(t *testing.T) {
	var got tally
	for ms := range 101 {
		got.latencies = append(got.latencies, time.Duration(ms)*time.Millisecond)
	}
	if got.quantile(0.5) != 50 || got.quantile(0.99) != 99 || (tally{}).quantile(0.5) != 0 {
		t.Errorf("%g, %g", got.quantile(0.5), got.quantile(0.99))
	}
}

func TestFloorsAnswerTwentyKilobytes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := service()
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for name, handler := range map[string]http.Handler{prebuiltFloor: prebuilt(), rpcFloor: composed(conn)} {
		answered := httptest.NewRecorder()
		handler.ServeHTTP(answered, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		var page floorPage
		if err := json.Unmarshal(answered.Body.Bytes(), &page); err != nil || len(page.VideoList) != 30 {
			t.Errorf("%s: %v, %d videos", name, err, len(page.VideoList))
		}
		if n := answered.Body.Len(); n < 18_000 || n > 22_000 {
			t.Errorf("%s answers %d bytes", name, n)
		}
		addr := address(t, handler)
		if got := once(t, addr, 2, request{bytes: encode(addr, http.MethodGet, "/", nil)}); got.errors != 0 {
			t.Errorf("%s: %v", name, got.fault)
		}
	}
}

// A process counts what it burns itself, then what children that run burn, then
// still what they burnt when they have ended.
func TestCPUIsCountedOfChildrenToo(t *testing.T) {
	burn := exec.CommandContext(t.Context(), "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read wait")
	input, err := burn.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	me := []member{{name: "me", pid: os.Getpid(), children: "children"}}
	before, err := read(me)
	if err != nil {
		t.Fatal(err)
	}
	if err := burn.Start(); err != nil {
		t.Fatal(err)
	}
	atLeast := func(name string) {
		t.Helper()
		harness.Eventually(t, time.Minute, func() error {
			now, err := read(me)
			if spent := now.since(before)[name]; err == nil && spent < 2*tick {
				err = fmt.Errorf("%v", spent)
			}
			return err
		}, "CPU of "+name)
	}
	atLeast("me") // looking burns enough
	atLeast("children")
	running, err := read(me)
	if err := errors.Join(err, input.Close()); err != nil {
		t.Fatal(err)
	}
	_ = burn.Wait() // it minds that its input is empty
	ended, err := read(me)
	if err != nil {
		t.Fatal(err)
	}
	if ended["children"] < running["children"] {
		t.Errorf("children had %v while they ran and %v after", running["children"], ended["children"])
	}
	whole, err := read([]member{{name: "all", pid: os.Getpid()}})
	if err != nil || whole["all"] < ended["me"]+ended["children"] {
		t.Errorf("%v, %v; want no less than %v", whole, err, ended)
	}
	if _, err := read([]member{{name: "gone", pid: burn.Process.Pid}}); err == nil {
		t.Error("a process that is gone has CPU time")
	}
}

func TestSettleSaysWhatIsMissing(t *testing.T) {
	there := int64(10)
	a := awaited{what: "likes", count: func(context.Context) (int64, error) { there++; return there, nil }}
	if err := a.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.answered.Add(3)
	if missing, err := a.settle(t.Context()); missing != 0 || err != nil || there != 14 {
		t.Errorf("%d missing, %v, at %d", missing, err, there)
	}
	a.count = func(context.Context) (int64, error) { return 0, errors.New("gone") }
	if missing, err := a.settle(t.Context()); missing != 0 || err != nil {
		t.Errorf("with nothing to wait for: %d, %v", missing, err)
	}
	a.answered.Add(1)
	if _, err := a.settle(t.Context()); err == nil {
		t.Error("counts what it can't")
	}
}

func TestBatchesOfLikesAreCountedOverAllQueues(t *testing.T) {
	metrics := address(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `backbeat_queue_handle_duration_seconds_bucket{code="ok",queue="favorite.write",le="1"} 7
backbeat_queue_handle_duration_seconds_count{code="ok",queue="favorite.write",store="rabbitmq"} 7
backbeat_queue_handle_duration_seconds_count{code="ok",queue="favorite.write.3",store="rabbitmq"} 2
backbeat_queue_handle_duration_seconds_count{code="ok",queue="video.publish",store="rabbitmq"} 100
`)
	}))
	if n, err := handled(t.Context(), &local.Server{Metrics: "http://" + metrics}); n != 9 || err != nil {
		t.Errorf("%g batches, %v; want 9", n, err)
	}
}

func TestNobodyLikesAVideoTwice(t *testing.T) {
	g := given{fans: []int64{1, 2, 3, 4}, about: map[int64]int{}}
	var got []int64
	for range 4 {
		got = append(got, g.next(10))
	}
	if first := g.next(20); first != got[0] {
		t.Errorf("another video begins with %d", first)
	}
	slices.Sort(got)
	if !slices.Equal(got, []int64{1, 2, 3, 4}) {
		t.Errorf("fans %v like it", got)
	}
}

// Rounds are added up: latencies of all of them, and what was spent for each request.
func TestRoundsOfALoadAreAddedUp(t *testing.T) {
	var g gathered
	for _, ms := range []time.Duration{10, 30} {
		g.add(measured{
			ordinary: tally{latencies: []time.Duration{ms * time.Millisecond}}, crowd: tally{latencies: make([]time.Duration, 4), errors: 1, fault: errors.New("refused")},
			spent: account{"gateway": ms * time.Millisecond, "favorite-worker": 10 * time.Millisecond, "etcd": time.Second},
			asked: counts{sql: 10, redis: 5}, took: time.Second, likes: 3, batches: 2,
		})
	}
	got := g.load()
	if got.Requests != 10 || got.Errors != 2 || got.Fault != "refused" || got.P99 != 10 || got.CPU != 6 || got.SQL != 2 || got.Redis != 1 ||
		got.Likes != 3 || got.Batches != 2 || got.WorkerCPU != 10 {
		t.Errorf("%+v", got)
	}
	var printed strings.Builder
	if err := (&Hot{Even: got, Hot: HotLoad{P99: 12, CPU: 3}}).print(&printed); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(printed.String(), "p99 +20 % (goal: below +20 %), CPU per request -50 %") {
		t.Error(printed.String())
	}
}

func TestShardsAreSetAgainstOne(t *testing.T) {
	var printed strings.Builder
	err := printDrains(&printed, []Drain{{Shards: 1, PerSecond: 100}, {Shards: 2, PerSecond: 150}, {Shards: 1, Late: 2, PerSecond: 10}, {Shards: 2, Late: 2, PerSecond: 30}})
	if err != nil {
		t.Fatal(err)
	}
	for _, times := range []string{"1.0×", "1.5×", "3.0×"} {
		if !strings.Contains(printed.String(), times) {
			t.Errorf("no %s in %s", times, printed.String())
		}
	}
}

func TestRowIsJudgedByItsFloors(t *testing.T) {
	spent := account{"gateway": 20 * time.Millisecond, "mariadb": 10 * time.Millisecond, "ffmpeg": time.Second, "etcd": time.Second, "user": 0}
	var r Row
	of := row{name: "x", goal: 0.21}
	r.fill(of, many, tally{latencies: make([]time.Duration, 100), took: 2 * time.Second}, spent, counts{sql: 50, redis: 100, rpc: 25})
	r.judge(of, Floors{Prebuilt: 0.02, RPC: 0.42})
	if r.RPS != 50 || r.CPU != 0.3 || r.SQL != 0.5 || r.Redis != 1 || r.RPC != 0.25 || r.By["ffmpeg"] != 10 || r.Goal != 0.42 || r.verdict() != "met" {
		t.Errorf("%+v", r)
	}
	if ours := r.ours(); ours < 0.1999 || ours > 0.2001 {
		t.Errorf("ours %g", ours)
	}
	r.judge(of, Floors{RPC: 0.105})
	if r.verdict() != "missed 2.9×" {
		t.Error(r.verdict())
	}
}

func TestWhatGoesWrongBesideTheMeasuredLoadCounts(t *testing.T) {
	r := Row{Errors: 1, Fault: "refused"}
	r.blame(tally{})
	if r.Errors != 1 || r.Fault != "refused" {
		t.Errorf("%+v", r)
	}
	r.blame(tally{errors: 2, fault: errors.New("cut off")})
	r.lose(3)
	if r.Errors != 6 || !strings.HasPrefix(r.Fault, "3 ") {
		t.Errorf("%+v", r)
	}
}

// Answers are good ones or not, however many clients ask.
func TestEagerClientsAreServedOrTurnedAway(t *testing.T) {
	var printed strings.Builder
	err := printEager(&printed, []Row{{Connections: 64, Requests: 100, RPS: 50}, {Connections: 2000, Requests: 100, RPS: 50, Errors: 60, Fault: "refused"}})
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Join(strings.Fields(printed.String()), " ")
	for _, line := range []string{" 64 50 0.0 %", " 2000 20 60.0 %", "2000 clients, an error: refused"} {
		if !strings.Contains(said, line) {
			t.Errorf("no %q in %s", line, printed.String())
		}
	}
}

func TestResultsAreComparedByName(t *testing.T) {
	a := Result{Rows: []Row{{Name: "feed", Connections: many, CPU: 1, Floors: Floors{RPC: 0.2}}, {Name: "gone", Connections: many}}}
	b := Result{Rows: []Row{{Name: "feed", Connections: many, CPU: 1, Floors: Floors{RPC: 0.4}}, {Name: "new", Connections: many}}}
	var printed strings.Builder
	if err := errors.Join(compare(&printed, a, b), b.print(&printed)); err != nil {
		t.Fatal(err)
	}
	compared, _, _ := strings.Cut(printed.String(), "floors: prebuilt")
	if !strings.Contains(compared, "-50 %") || strings.Contains(compared, "gone") || strings.Contains(compared, "new") {
		t.Error(printed.String())
	}
}

func TestRowsAreFoundByPart(t *testing.T) {
	if n := len(choose("feed")); n != 2 {
		t.Errorf("%d rows of a feed", n)
	}
	var names []string
	for _, r := range choose("") {
		names = append(names, file(r.name))
	}
	slices.Sort(names)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) || len(names) != 11 {
		t.Errorf("files %q", names)
	}
}

func TestGrowthIsTheRatioInFloors(t *testing.T) {
	at := func(cpu, floor float64) map[string][]Row {
		rows := []Row{{Name: "feed", CPU: cpu, By: map[string]float64{"gateway": cpu}, Floors: Floors{RPC: floor}}}
		return map[string][]Row{"zipf": rows, "uniform": rows}
	}
	// Thrice the CPU in an hour in which everything costs twice as much.
	result := Result{Growth: []Size{{Times: 1, Draws: at(0.2, 0.2)}, {Times: 10, Draws: at(0.6, 0.4)}}}
	var printed strings.Builder
	if err := result.printGrowth(&printed); err != nil {
		t.Fatal(err)
	}
	byZipf, evenly, _ := strings.Cut(printed.String(), "drawn: uniform")
	for _, part := range []struct{ table, want string }{{byZipf, "1.50× 1.3× missed"}, {evenly, "1.50× 2.0× met"}} {
		if !strings.Contains(strings.Join(strings.Fields(part.table), " "), part.want) || !strings.Contains(part.table, "gateway 0.200 → 0.600") {
			t.Errorf("not %q: %s", part.want, part.table)
		}
	}
}

func TestSeedIsScaledButForItsChoice(t *testing.T) {
	for _, row := range []struct {
		name, seed, want string
	}{
		{"numbers", "-users 1000 -likes 20", "-users 10000 -likes 200"},
		{"the choice of deeds", "-seed 7 -users 10 --seed 3", "-seed 7 -users 100 --seed 3"},
		{"no number", "-users many", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := scaled(strings.Fields(row.seed), 10)
			if strings.Join(got, " ") != row.want || (err == nil) != (row.want != "") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// By Zipf the first of many get most; uniformly none does.
func TestDraws(t *testing.T) {
	const n, drawings = 10_000, 100_000
	for _, row := range []struct {
		name     string
		rank     func(int) int
		from, to int
		last     bool
	}{
		{"zipf", zipf(), drawings * 4 / 10, drawings * 7 / 10, false},
		{"uniform", uniform, drawings / 200, drawings / 50, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			first, seen := 0, map[int]bool{}
			for range drawings {
				at := row.rank(n)
				if at < 0 || at >= n {
					t.Fatalf("drew %d of %d", at, n)
				}
				if at < n/100 {
					first++
				}
				seen[at] = true
			}
			if first < row.from || first > row.to {
				t.Errorf("the first hundredth was drawn %d times of %d", first, drawings)
			}
			if everybody := len(seen) > n*99/100; everybody != row.last {
				t.Errorf("%d of %d were drawn", len(seen), n)
			}
		})
	}
}

func TestFunctionsAreReadFromAProfile(t *testing.T) {
	const table = `File: backbeat
Type: cpu
Showing nodes accounting for 5.69s, 71.66% of 7.94s total
      flat  flat%   sum%        cum   cum%
     1.53s 19.27% 19.27%      1.53s 19.27%  internal/runtime/syscall.Syscall6
     0.40s  5.04% 24.31%      0.41s  5.16%  runtime.futex
         0     0% 24.31%      3.10s 39.04%  backbeat/app/gateway.(*Gateway).facts
     0.10s  1.26% 25.57%      2.00s 25.19%  backbeat/app/cache.(*Held[go.shape.int64,go.shape.struct { a int }]).Get (inline)
`
	for _, row := range []struct {
		name, prefix string
		cumulative   bool
		want         []string
	}{
		{"flat", "", false, []string{"internal/runtime/syscall.Syscall6 19.27%", "runtime.futex 5.04%", "app/gateway.(*Gateway).facts 0%", "app/cache.(*Held[…]).Get 1.26%"}},
		{"cumulative", ours, true, []string{"app/gateway.(*Gateway).facts 39.04%", "app/cache.(*Held[…]).Get 25.19%"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := functions(table, row.prefix, row.cumulative); !slices.Equal(got, row.want) {
				t.Errorf("%q", got)
			}
		})
	}
	if got := functions("flat%\n"+strings.Repeat("1s 2% 3% 4s 5% name\n", topMost+1), "", false); len(got) != topMost {
		t.Errorf("%d functions", len(got))
	}
}
