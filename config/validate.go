package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// maxLimit is the largest rate or burst; a larger one bounds nothing.
	maxLimit = 1_000_000
	// minBudget and maxBudget bound a call's time: below Hystrix counts no time at
	// all, above no phone waits.
	minBudget, maxBudget = time.Millisecond, time.Minute
	// maxCounts and maxCards bound how old held values may be.
	maxCounts, maxCards = time.Minute, time.Hour
	// minReplicaLag leaves the heartbeat time to be seen; what is later than
	// maxReplicaLag is no copy to show to anybody.
	minReplicaLag, maxReplicaLag = 200 * time.Millisecond, time.Minute
)

// check takes down a fault of the key unless ok.
type check func(ok bool, key, format string, args ...any)

// Validate returns every fault it finds, each naming its key.
func (c *Config) Validate() []error { return faultsOf(c.validate, c.validateLive) }

func faultsOf(validators ...func(check)) []error {
	var faults []error
	for _, validate := range validators {
		validate(func(ok bool, key, format string, args ...any) {
			if !ok {
				faults = append(faults, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
			}
		})
	}
	return faults
}

// validate looks at the keys that are read at the start.
func (c *Config) validate(check check) {
	check(isListen(c.HTTP.Listen), "http.listen", "%q is not host:port", c.HTTP.Listen)
	check(c.HTTP.PublicURL == "" || isBaseURL(c.HTTP.PublicURL), "http.public_url", "%q is not http(s)://host[:port][/path]", c.HTTP.PublicURL)
	for _, origin := range c.HTTP.CORSOrigins {
		check(origin == "*" || isBaseURL(origin), "http.cors_origins", "%q is neither * nor http(s)://host[:port]", origin)
	}
	for _, network := range c.HTTP.TrustedProxies {
		check(isNetwork(network), "http.trusted_proxies", "%q is not a network like 10.0.0.0/8", network)
	}
	check(c.HTTP.Drain > 0, "http.drain", "must be positive")
	check(c.Data.Dir != "", "data.dir", "must not be empty")
	kind := kindOf(c.DB.DSN)
	check(slices.Contains([]string{"", "sqlite", "mysql", "postgres"}, kind), "db.dsn", "starts with none of sqlite:, mysql:, postgres:")
	check(c.DB.MaxOpen > 0, "db.max_open", "must be positive")
	for _, replica := range c.DB.Replicas { // which is not named: it holds a password
		check(kindOf(replica) == kind && kind != "sqlite", "db.replicas", "holds one that is not of db.dsn's kind, mysql: or postgres:")
	}
	check(c.DB.ReplicaLag >= minReplicaLag && c.DB.ReplicaLag <= maxReplicaLag, "db.replica_lag", "must be %v to %v", minReplicaLag, maxReplicaLag)
	check(c.AMQP.URL == "" || hasScheme(c.AMQP.URL, "amqp", "amqps"), "amqp.url", "is not amqp://HOST:PORT/VHOST")
	check(c.AMQP.Confirm > 0, "amqp.confirm", "must be positive")
	check(strings.HasPrefix(c.Etcd.Prefix, "/"), "etcd.prefix", "%q does not start with /", c.Etcd.Prefix)
	check(c.Etcd.Lease >= 2*time.Second, "etcd.lease", "must be two seconds or more")
	check(c.Redis.Addr == "" || isListen(c.Redis.Addr), "redis.addr", "%q is not host:port", c.Redis.Addr)
	if c.S3.Endpoint != "" {
		check(isListen(c.S3.Endpoint), "s3.endpoint", "%q is not host:port", c.S3.Endpoint)
		check(c.S3.Bucket != "", "s3.bucket", "must not be empty")
		check(c.S3.AccessKey != "" && c.S3.SecretKey != "", "s3.access_key", "and s3.secret_key must be set")
	}
	check(c.Media.PublicURL == "" || isBaseURL(c.Media.PublicURL), "media.public_url", "%q is not http(s)://host[:port][/path]", c.Media.PublicURL)
	check(c.Media.MaxBytes > 0, "media.max_bytes", "must be positive")
	check(c.Media.StagingBytes >= c.Media.MaxBytes, "media.staging_bytes", "must not be below media.max_bytes")
	check(c.Media.MaxDuration > 0, "media.max_duration", "must be positive")
	check(c.Jaeger.Endpoint == "" || hasScheme(c.Jaeger.Endpoint, "http", "https"), "jaeger.endpoint", "%q is not http://HOST:14268/api/traces", c.Jaeger.Endpoint)
	check(c.Jaeger.Agent == "" || isListen(c.Jaeger.Agent), "jaeger.agent", "%q is not host:port", c.Jaeger.Agent)
	check(c.Token.Life > 0, "token.life", "must be positive")
	check(c.Admin.Listen == "" || isListen(c.Admin.Listen), "admin.listen", "%q is not host:port", c.Admin.Listen)
	check(isListen(c.RPC.Listen), "rpc.listen", "%q is not host:port", c.RPC.Listen)
	for _, t := range []struct {
		key string
		tls TLS
	}{{"rpc.tls", c.RPC.TLS}, {"amqp.tls", c.AMQP.TLS}, {"etcd.tls", c.Etcd.TLS}, {"redis.tls", c.Redis.TLS}} {
		check((t.tls.Cert == "") == (t.tls.Key == ""), t.key, "cert and key go together")
		for _, file := range []string{t.tls.Cert, t.tls.Key, t.tls.CA} {
			if file != "" {
				_, err := os.Stat(file)
				check(err == nil, t.key, "%v", err)
			}
		}
	}
	rpc := c.RPC.TLS
	check((rpc.Cert == "") == (rpc.CA == ""), "rpc.tls", "is mutual: cert, key and ca go together")
	check(c.Limits.Concurrency > 0, "limits.concurrency", "must be positive")
	check(c.Limits.Hashes >= 0, "limits.hashes", "must not be negative")
	check(c.Limits.Transcodes > 0, "limits.transcodes", "must be positive")
	check(slices.Contains([]string{"", "text", "json"}, c.Log.Format), "log.format", "%q is neither text nor json", c.Log.Format)
	_, err := time.LoadLocation(c.Time.Zone)
	check(err == nil && c.Time.Zone != "", "time.zone", "%q is not a zone like Asia/Shanghai", c.Time.Zone)
}

// validateLive looks at the keys that may change while a process runs, and at
// nothing else: what is sound here is sound in every process.
func (c *Config) validateLive(check check) {
	check(slices.Contains([]string{"const", "probabilistic", "ratelimiting"}, c.Jaeger.Sampler), "jaeger.sampler", "%q is none of const, probabilistic, ratelimiting", c.Jaeger.Sampler)
	check(c.Jaeger.SamplerParam >= 0 && c.Jaeger.SamplerParam <= maxLimit, "jaeger.sampler_param", "must be 0 to %d", maxLimit)
	check(c.Jaeger.Sampler != "probabilistic" || c.Jaeger.SamplerParam <= 1, "jaeger.sampler_param", "must be 0 to 1 for the sampler probabilistic")
	for _, times := range []struct {
		key         string
		d           time.Duration
		least, most time.Duration
	}{
		{"rpc.read_budget", c.RPC.ReadBudget, minBudget, maxBudget}, {"rpc.write_budget", c.RPC.WriteBudget, minBudget, maxBudget},
		{"circuit.sleep", c.Circuit.Sleep, minBudget, maxBudget},
		{"cache.counts", c.Cache.Counts, 0, maxCounts}, {"cache.pages", c.Cache.Pages, 0, maxCounts}, {"cache.cards", c.Cache.Cards, 0, maxCards},
	} {
		check(times.d >= times.least && times.d <= times.most, times.key, "must be %v to %v", times.least, times.most)
	}
	check(c.Likes.Shards >= 1 && c.Likes.Shards <= MostShards, "likes.shards", "must be 1 to %d", MostShards)
	check(c.Circuit.ErrorPercent >= 1 && c.Circuit.ErrorPercent <= 100, "circuit.error_percent", "must be 1 to 100")
	check(c.Circuit.Requests >= 1 && c.Circuit.Requests <= maxLimit, "circuit.requests", "must be 1 to %d", maxLimit)
	for _, limit := range []struct {
		key string
		n   int
	}{
		{"limits.user_rate", c.Limits.UserRate}, {"limits.user_burst", c.Limits.UserBurst},
		{"limits.address_rate", c.Limits.AddressRate}, {"limits.address_burst", c.Limits.AddressBurst},
		{"limits.registrations", c.Limits.Registrations}, {"limits.login_failures", c.Limits.LoginFailures},
	} {
		check(limit.n >= 0 && limit.n <= maxLimit, limit.key, "must be 0 (no limit) to %d", maxLimit)
	}
	for _, network := range c.Limits.Exempt {
		check(isNetwork(network), "limits.exempt", "%q is not a network like 10.0.0.0/8", network)
	}
	var level slog.Level
	check(level.UnmarshalText([]byte(c.Log.Level)) == nil, "log.level", "%q is none of debug, info, warn, error", c.Log.Level)
}

// kindOf returns which database a DSN is of: the scheme, of which PostgreSQL has two.
func kindOf(dsn string) string {
	scheme, _, _ := strings.Cut(dsn, ":")
	if scheme == "postgresql" {
		return "postgres"
	}
	return scheme
}

// isListen reports whether address is host:port; the host may be empty.
func isListen(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = net.LookupPort("tcp", port)
	return err == nil && port != ""
}

func isNetwork(network string) bool {
	_, err := netip.ParsePrefix(network)
	return err == nil
}

func isBaseURL(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == ""
}

func hasScheme(address string, schemes ...string) bool {
	u, err := url.Parse(address)
	return err == nil && slices.Contains(schemes, u.Scheme) && u.Host != ""
}
