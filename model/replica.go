package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"gorm.io/gorm"
	"gorm.io/plugin/dbresolver"

	"backbeat/app/metrics"
)

// beatsPerLag is how often, within the lag that is allowed, the primary's heart beats
// and replicas are looked at. What is known of a healthy replica is three of these
// intervals old at most; the rest of the lag is its own.
const beatsPerLag = 5

// mostBeats is how many beats are remembered: some minutes of them. A replica that is
// later than that is late, by how much does not matter.
const mostBeats = 1024

// ReplicaConfig says which servers copy a database.
type ReplicaConfig struct {
	// DSNs name the replicas, each one server: what is known of a server is not true
	// of another one behind the same address.
	DSNs []string
	// MaxOpen bounds the connections to each.
	MaxOpen int
	// Lag is how late an answer of a replica may be.
	Lag time.Duration
}

// ReplicaDeps is what looking after replicas needs.
type ReplicaDeps struct {
	Log *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Replicate lets reads of db that may be late (see Late) go to replicas, until Close.
// The database has been migrated; replicas that are away are used when they come.
// Without replicas it does nothing.
//
// A replica is asked only while it is known to be at most Lag behind. Nobody's clock
// is trusted for that: each process keeps in mind which beats of the primary's heart
// it saw, and since when; a replica that shows one of them has everything that was
// committed before. Of all processes one makes the heart beat.
func Replicate(db *gorm.DB, cfg ReplicaConfig, deps ReplicaDeps) error {
	if len(cfg.DSNs) == 0 {
		return nil
	}
	r := &replicas{
		primary: db, lag: cfg.Lag, log: deps.Log, started: time.Now(), beats: map[int64]time.Duration{},
		reads: metrics.Counters(deps.Metrics, "backbeat_db_replica_reads_total",
			"Reads that may be late, by the node that answered them: primary, or replica-1 and so on in the order of db.replicas.", "node"),
	}
	r.byPrimary = r.reads.WithLabelValues("primary")
	resolver := &dbresolver.DBResolver{}
	for i, dsn := range cfg.DSNs {
		n, err := r.open(fmt.Sprintf("replica-%d", i+1), dsn, cfg.MaxOpen)
		if err != nil {
			return errors.Join(fmt.Errorf("opening replica %d: %w", i+1, err), r.closeNodes())
		}
		// By their names, so that only who names one is sent there. A write is not.
		resolver.Register(dbresolver.Config{Replicas: []gorm.Dialector{opened{db.Dialector, n.pool}}}, n.name)
		r.nodes = append(r.nodes, n)
		r.measure(deps.Metrics, n)
	}
	if err := errors.Join(db.Use(resolver), db.Use(r)); err != nil {
		return errors.Join(fmt.Errorf("routing reads to replicas: %w", err), r.closeNodes())
	}
	r.start()
	return nil
}

// opened is a dialector whose connections are there already.
type opened struct {
	gorm.Dialector
	pool gorm.ConnPool
}

// Initialize implements gorm.Dialector.
func (o opened) Initialize(db *gorm.DB) error {
	db.ConnPool = o.pool
	return nil
}

// ErrMissing is what a read of Late returns when it found less than it looked for.
// From a replica that is no knowledge, from the primary it is no error.
var ErrMissing = errors.New("not everything is there")

// Late runs a read whose answer may lack what was committed within the lag allowed
// for replicas (db.replica_lag): on a replica that is known to be no later than that,
// else on the primary, as without replicas and in a transaction. A replica that fails,
// takes more than half of the time there is, or lacks what is looked for (no such row,
// or ErrMissing) has not the last word: read runs again, on the primary. So it must set
// nothing that a second run would not set again. It writes nothing.
//
// What may be late is the exception, and each says why. Not late may be: what a user
// sees of own acts; what is held under a version that ended with a write, or the old
// state is held for as long; counts, which are held for a part of the second they may
// be late; what decides a write, a claim or a login.
func Late(ctx context.Context, db *gorm.DB, read func(db *gorm.DB) error) error {
	r := replicasOf(db)
	if r == nil {
		return unlessMissing(read(db.WithContext(ctx)))
	}
	if n := r.choose(db); n != nil {
		err := r.ask(ctx, n, db, read)
		switch {
		case err == nil:
			n.answered.Inc()
			return nil
		case ctx.Err() != nil: // the caller left
			return err
		case !errors.Is(err, ErrMissing) && !errors.Is(err, gorm.ErrRecordNotFound):
			n.fail(err)
		}
	}
	r.byPrimary.Inc()
	return unlessMissing(read(db.WithContext(ctx)))
}

func unlessMissing(err error) error {
	if errors.Is(err, ErrMissing) {
		return nil
	}
	return err
}

// replicas are what Replicate set up: a plugin of gorm, so that Late finds it.
type replicas struct {
	primary *gorm.DB
	nodes   []*node
	lag     time.Duration
	log     *slog.Logger
	// started is what all times here count from, by the clock that nobody sets.
	started time.Time

	turn      atomic.Uint32
	reads     *prometheus.CounterVec
	byPrimary prometheus.Counter

	mu sync.Mutex
	// beats are those remembered, in their order, with the moment before which
	// everything was committed that comes with them.
	beats map[int64]time.Duration
	order []int64

	end    context.CancelFunc
	active sync.WaitGroup
}

// node is one replica.
type node struct {
	name     string
	pool     *sql.DB
	of       *replicas
	answered prometheus.Counter

	mu sync.Mutex
	// has is the moment until which the replica is known to have everything; 0 is
	// unknown.
	has time.Duration
	// well is false from a failure until the heartbeat is read again.
	well bool
	// told is how the log says that it stands.
	told standing
}

// standing is whether a replica is used.
type standing uint8

const (
	unknown standing = iota
	used
	passedOver
)

const replicasName = "backbeat:replicas"

// Name is the plugin's name.
func (*replicas) Name() string { return replicasName }

// Initialize implements gorm.Plugin; there is nothing to hook into.
func (*replicas) Initialize(*gorm.DB) error { return nil }

// replicasOf returns nil for a database without.
func replicasOf(db *gorm.DB) *replicas {
	r, _ := db.Plugins[replicasName].(*replicas)
	return r
}

func (r *replicas) open(name, dsn string, maxOpen int) (*node, error) {
	db, err := openServer(dsn, maxOpen)
	if err != nil {
		return nil, err
	}
	pool, err := db.DB()
	return &node{name: name, pool: pool, of: r, answered: r.reads.WithLabelValues(name)}, err
}

func (r *replicas) closeNodes() error {
	var faults []error
	for _, n := range r.nodes {
		faults = append(faults, n.pool.Close())
	}
	return errors.Join(faults...)
}

// now is how long this process has had replicas.
func (r *replicas) now() time.Duration { return time.Since(r.started) }

// choose returns a replica that may be asked, in turn; nil is none.
func (r *replicas) choose(db *gorm.DB) *node {
	if _, in := db.Statement.ConnPool.(gorm.TxCommitter); in {
		return nil
	}
	first := r.turn.Add(1)
	for i := range r.nodes {
		if n := r.nodes[(int(first)+i)%len(r.nodes)]; n.usable() {
			return n
		}
	}
	return nil
}

// ask runs read on a replica and leaves the primary as much time as it takes.
func (r *replicas) ask(ctx context.Context, n *node, db *gorm.DB, read func(db *gorm.DB) error) error {
	patience := r.lag
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return read(db.WithContext(ctx).Clauses(dbresolver.Use(n.name)).Session(&gorm.Session{}))
}

// start looks after the heart and the replicas, each by itself: one that hangs holds
// up nobody else.
func (r *replicas) start() {
	ctx, end := context.WithCancel(context.Background())
	r.end = end
	each := func(do func(context.Context)) {
		r.active.Go(func() {
			ticker := time.NewTicker(r.lag / beatsPerLag)
			defer ticker.Stop()
			for {
				bounded, cancel := context.WithTimeout(ctx, r.lag)
				do(bounded)
				cancel()
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
		})
	}
	each((&heart{of: r}).beat)
	for _, n := range r.nodes {
		each(n.look)
	}
}

// stopped reports whether a look was ended by stop.
func stopped(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// stop returns when nobody looks any more. The pools are closed by who closes all.
func (r *replicas) stop() {
	r.end()
	r.active.Wait()
}

// remember notes that what comes with the beat includes all that was committed before
// the moment.
func (r *replicas) remember(beat int64, before time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beats[beat] = before
	r.order = append(r.order, beat)
	if len(r.order) > mostBeats {
		delete(r.beats, r.order[0])
		r.order = r.order[1:]
	}
}

func (r *replicas) remembered(beat int64) (before time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok = r.beats[beat]
	return before, ok
}

// heart is what this process knows of the primary's.
type heart struct {
	of *replicas
	// last is the beat seen last, at the look that began at looked.
	last   int64
	looked time.Duration
	// ailing is true while looks fail.
	ailing bool
}

// beat looks whether the heart has beaten since the last look, and if not makes it
// beat. Several may try that at once, but only one of them finds the old beat to
// replace, and the others have nothing to do for another interval.
func (h *heart) beat(ctx context.Context) {
	err := h.try(ctx)
	if failed := err != nil; failed != h.ailing && !stopped(ctx) {
		h.ailing = failed
		if failed {
			h.of.log.Warn("the primary's heartbeat fails: replicas will not be known to be up to date", "error", err)
		}
	}
}

func (h *heart) try(ctx context.Context) error {
	db := h.of.primary.WithContext(ctx)
	began := h.of.now()
	var row Heartbeat
	if err := db.Where("id = ?", heartbeatID).Take(&row).Error; err != nil {
		return err
	}
	if row.Beat != h.last {
		if h.looked > 0 { // it was not there then
			h.of.remember(row.Beat, h.looked)
		}
		h.last, h.looked = row.Beat, began
		return nil
	}
	next := rand.Int64()
	h.looked = h.of.now()
	replaced := db.Model(&Heartbeat{}).Where("id = ? AND beat = ?", heartbeatID, h.last).Update("beat", next)
	if replaced.Error == nil && replaced.RowsAffected == 1 {
		h.of.remember(next, h.looked)
		h.last = next
	}
	return replaced.Error
}

// look asks the replica which beat it has come to. These statements are neither
// measured nor traced, or the failures of a replica would pass for the database's.
func (n *node) look(ctx context.Context) {
	var beat int64
	err := n.pool.QueryRowContext(ctx, fmt.Sprintf("SELECT beat FROM heartbeats WHERE id = %d", heartbeatID)).Scan(&beat)
	if err != nil {
		if !stopped(ctx) {
			n.fail(err)
		}
		return
	}
	before, known := n.of.remembered(beat)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.well = true
	if known { // else it is older than this process, or newer than its last look
		n.has = before
	}
	n.tell(nil)
}

// fail takes the replica out of use until its heartbeat is read again.
func (n *node) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.well = false
	n.tell(err)
}

func (n *node) usable() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fresh()
}

// fresh is usable with the lock held.
func (n *node) fresh() bool { return n.well && n.has > 0 && n.of.now()-n.has <= n.of.lag }

// late returns by how much the replica may be behind: since it was known to have
// everything, or else since this process has known it.
func (n *node) late() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of.now() - n.has
}

// tell logs, with the lock held, when the replica begins to be used or ends to be.
func (n *node) tell(err error) {
	stands := passedOver
	if n.fresh() {
		stands = used
	}
	if stands == n.told || n.told == unknown && err == nil && stands == passedOver && n.of.now() < n.of.lag { // not known yet
		return
	}
	n.told = stands
	if stands == used {
		n.of.log.Info("a replica is used", "replica", n.name)
		return
	}
	n.of.log.Warn("a replica is passed over", "replica", n.name, "late", n.of.now()-n.has, "error", err)
}

// measure registers how the replica is, and its connections.
func (r *replicas) measure(to prometheus.Registerer, n *node) {
	if to == nil {
		return
	}
	labels := prometheus.Labels{"replica": n.name}
	metrics.Register(to, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "backbeat_db_replica_lag_seconds", ConstLabels: labels,
		Help: "How late the answers of a replica are at most, as far as the primary's heartbeat shows: some tenths of db.replica_lag when it is well.",
	}, func() float64 { return n.late().Seconds() }))
	metrics.Register(to, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "backbeat_db_replica_in_use", ConstLabels: labels,
		Help: "Whether a replica answers and is known to be no later than db.replica_lag: 1, or 0 and the primary is asked.",
	}, func() float64 {
		if n.usable() {
			return 1
		}
		return 0
	}))
	metrics.Register(to, collectors.NewDBStatsCollector(n.pool, n.name))
}
