package gateway

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"backbeat/app/errs"
	"backbeat/app/text"
	"backbeat/config"
)

const (
	// maxTracked bounds each limit's memory, in users, addresses or names. Whoever
	// asks least is forgotten first, and begins anew.
	maxTracked = 100_000
	// clientBits is the part of an IPv6 address that its owner cannot vary.
	clientBits = 64
	// A name whose logins fail waits firstWait, then twice as long each time up to
	// longestWait. After quiet it is clear again; less would make waiting for that
	// the faster way to guess.
	firstWait   = time.Second
	longestWait = 5 * time.Minute
	quiet       = time.Hour
)

// sender is whom a request counts for.
type sender struct {
	// addr is the client's address, or its network where that is IPv6.
	addr netip.Addr
	// exempt senders are never limited.
	exempt bool
}

// limits refuse, with Exhausted, what no honest client asks for. Asking them costs
// less than anything that they refuse.
type limits struct {
	now           func() time.Time
	start         time.Time
	rules         atomic.Pointer[rules]
	addresses     *meter[netip.Addr]
	registrations *meter[netip.Addr]
	users         *meter[int64]
	logins        *streaks
}

// rules are what limits go by. They may change while requests are counted.
type rules struct {
	exempt                          []netip.Prefix
	addresses, registrations, users pace
	// loginFailures is how many logins of a name may fail; 0 is any number.
	loginFailures int
}

func newLimits(cfg config.Limits, now func() time.Time) (*limits, error) {
	l := &limits{
		now:           now,
		start:         now(),
		addresses:     newMeter[netip.Addr](),
		registrations: newMeter[netip.Addr](),
		users:         newMeter[int64](),
		logins:        newStreaks(),
	}
	return l, l.set(cfg)
}

// set changes the rules. What was counted at another pace is forgotten: who was ahead
// of a slow one would have to wait for it at a quick one. Two must not call it at once.
func (l *limits) set(cfg config.Limits) error {
	exempt, err := networks(cfg.Exempt)
	if err != nil {
		return err
	}
	next := &rules{
		exempt:        exempt,
		addresses:     newPace(cfg.AddressRate, time.Second, cfg.AddressBurst),
		registrations: newPace(cfg.Registrations, time.Minute, cfg.Registrations),
		users:         newPace(cfg.UserRate, time.Second, cfg.UserBurst),
		loginFailures: cfg.LoginFailures,
	}
	before := l.rules.Swap(next)
	if before == nil {
		return nil
	}
	if before.addresses != next.addresses {
		l.addresses.full.InvalidateAll()
	}
	if before.registrations != next.registrations {
		l.registrations.full.InvalidateAll()
	}
	if before.users != next.users {
		l.users.full.InvalidateAll()
	}
	return nil
}

// clock returns the time since the start, which setting the system's clock does
// not change.
func (l *limits) clock() time.Duration { return l.now().Sub(l.start) }

// sender returns whom a request from addr counts for.
func (l *limits) sender(addr netip.Addr) sender {
	from := sender{addr: addr, exempt: within(l.rules.Load().exempt, addr)}
	if addr.Is6() {
		from.addr = netip.PrefixFrom(addr, clientBits).Masked().Addr()
	}
	return from
}

// request counts one request of any kind.
func (l *limits) request(from sender) error {
	return refuse(from.exempt || l.addresses.admits(from.addr, l.rules.Load().addresses, l.clock()))
}

// viewer counts one request of a user. Anonymous ones count for their address
// alone.
func (l *limits) viewer(from sender, id int64) error {
	return refuse(from.exempt || id == 0 || l.users.admits(id, l.rules.Load().users, l.clock()))
}

// registration counts one account asked for.
func (l *limits) registration(from sender) error {
	return refuse(from.exempt || l.registrations.admits(from.addr, l.rules.Load().registrations, l.clock()))
}

// login runs try, which checks a password of the name, unless too many failed. A
// refusal says nothing about the name: those that nobody has count as well.
func (l *limits) login(from sender, name string, try func() error) error {
	free := l.rules.Load().loginFailures
	if from.exempt || free == 0 {
		return try()
	}
	key := sha256.Sum256(text.Key(name))
	if !l.logins.begin(key, free, l.clock()) {
		return refuse(false)
	}
	err := try()
	l.logins.end(key, free, err)
	return err
}

func refuse(admitted bool) error {
	if admitted {
		return nil
	}
	return errs.New(errs.Exhausted, "")
}

// pace is a rate at which events are admitted, and how many at once. The zero value
// admits everything.
type pace struct {
	// gap lies between two events of the rate, slack is how far a key may be ahead.
	gap, slack time.Duration
}

// newPace returns the pace of rate events per period and burst at once, and the
// zero value where either is 0.
func newPace(rate int, period time.Duration, burst int) pace {
	if rate == 0 || burst == 0 {
		return pace{}
	}
	gap := period / time.Duration(rate)
	return pace{gap, gap * time.Duration(burst)}
}

// meter admits events of each key at a pace. It is a token bucket in the form of the
// generic cell rate algorithm, where a key costs one number that needs no lock: when
// its bucket will be full again.
type meter[K comparable] struct {
	full *otter.Cache[K, *atomic.Int64]
}

func newMeter[K comparable]() *meter[K] {
	return &meter[K]{otter.Must(&otter.Options[K, *atomic.Int64]{MaximumSize: maxTracked})}
}

// admits counts one event at the time now, unless it is one too many.
func (m *meter[K]) admits(key K, p pace, now time.Duration) bool {
	if p.gap == 0 {
		return true
	}
	full, found := m.full.GetIfPresent(key)
	if !found {
		full, _ = m.full.SetIfAbsent(key, new(atomic.Int64))
	}
	for {
		old := full.Load()
		next := max(time.Duration(old), now) + p.gap
		if next-now > p.slack {
			return false
		}
		if full.CompareAndSwap(old, int64(next)) {
			return true
		}
	}
}

// streaks are the failed logins in a row of each name.
type streaks struct {
	names *otter.Cache[[sha256.Size]byte, streak]
}

type streak struct {
	// failed counts tries from their beginning: those made at once are not free.
	failed int
	// last is when a try began last, next is when one may again.
	last, next time.Duration
}

func newStreaks() *streaks {
	return &streaks{otter.Must(&otter.Options[[sha256.Size]byte, streak]{MaximumSize: maxTracked})}
}

// begin reports whether a login of the name may be tried now. As many as free may
// fail before further ones wait.
func (s *streaks) begin(name [sha256.Size]byte, free int, now time.Duration) (admitted bool) {
	s.names.Compute(name, func(known streak, _ bool) (streak, otter.ComputeOp) {
		if now-known.last > quiet {
			known = streak{}
		}
		if now < known.next && known.failed >= free {
			return known, otter.CancelOp
		}
		admitted = true
		known.failed++
		known.last = now
		if over := known.failed - free; over >= 0 {
			known.next = now + min(firstWait<<min(over, 16), longestWait)
		}
		return known, otter.WriteOp
	})
	return admitted
}

// end takes in how a try ended. One that brought neither a success nor a wrong
// password, as while the user service is away, is no failure.
func (s *streaks) end(name [sha256.Size]byte, free int, err error) {
	switch {
	case err == nil:
		s.names.Invalidate(name)
	case !errs.Is(err, errs.Unauthenticated):
		s.names.ComputeIfPresent(name, func(known streak) (streak, otter.ComputeOp) {
			known.failed = max(0, known.failed-1)
			if known.failed < free {
				known.next = 0
			}
			return known, otter.WriteOp
		})
	}
}

// sender returns who sent r: the other end of the connection or, where that is a
// configured proxy, the last hop before the proxies.
func (g *Gateway) sender(r *http.Request) sender {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // all of no address count as one
	addr := peer.Addr().Unmap()
	hops := r.Header["X-Forwarded-For"]
	for i := len(hops) - 1; i >= 0; i-- {
		for rest := hops[i]; rest != "" && within(g.proxies, addr); {
			cut := strings.LastIndexByte(rest, ',')
			hop, err := parseHop(strings.TrimSpace(rest[cut+1:]))
			if err != nil { // the proxy that wrote it is all there is to go by
				return g.limits.sender(addr)
			}
			addr, rest = hop, rest[:max(cut, 0)]
		}
	}
	return g.limits.sender(addr)
}

// parseHop reads an entry of X-Forwarded-For; some proxies write the port too.
func parseHop(hop string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(hop)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(hop)
		addr = withPort.Addr()
	}
	return addr.Unmap(), err
}

// networks parses a list of CIDR networks.
func networks(list []string) ([]netip.Prefix, error) {
	var parsed []netip.Prefix
	for _, network := range list {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("%q is no network: %w", network, err)
		}
		parsed = append(parsed, prefix)
	}
	return parsed, nil
}

// within reports whether one of the networks holds addr.
func within(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(network netip.Prefix) bool { return network.Contains(addr) })
}
