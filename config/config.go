// Package config is everything that can be set from outside: one typed struct,
// defaults that run on a laptop, a YAML file and environment variables over it.
// Loading is strict: unknown keys are refused and all faults are reported at
// once. config.yaml beside this file documents every key.
package config

import "time"

// Config is the whole configuration. Every key can be overridden by
// BACKBEAT_<SECTION>_<KEY>; a key tagged secret also by BACKBEAT_<SECTION>_<KEY>_FILE,
// which names a file that holds the value. A key tagged live may change while a
// process runs (package live).
type Config struct {
	HTTP     HTTP     `yaml:"http"`
	Data     Data     `yaml:"data"`
	DB       DB       `yaml:"db"`
	AMQP     AMQP     `yaml:"amqp"`
	Likes    Likes    `yaml:"likes"`
	Etcd     Etcd     `yaml:"etcd"`
	Redis    Redis    `yaml:"redis"`
	S3       S3       `yaml:"s3"`
	Media    Media    `yaml:"media"`
	Jaeger   Jaeger   `yaml:"jaeger"`
	Token    Token    `yaml:"token"`
	RPC      RPC      `yaml:"rpc"`
	Circuit  Circuit  `yaml:"circuit"`
	Cache    Cache    `yaml:"cache"`
	Admin    Admin    `yaml:"admin"`
	Limits   Limits   `yaml:"limits"`
	Features Features `yaml:"features"`
	Log      Log      `yaml:"log"`
	Time     Time     `yaml:"time"`
}

// HTTP is the gateway's listener.
type HTTP struct {
	// Listen is host:port; an empty host means all interfaces.
	Listen string `yaml:"listen"`
	// PublicURL is the base of URLs in answers; empty takes the request's host.
	PublicURL string `yaml:"public_url"`
	// CORSOrigins may call from a browser; "*" means any.
	CORSOrigins []string `yaml:"cors_origins"`
	// TrustedProxies are the networks (CIDR) whose X-Forwarded-* is believed.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// Drain bounds how long requests in flight may take after SIGTERM.
	Drain time.Duration `yaml:"drain"`
}

// Admin is where a process shows metrics, health and profiles; empty is nowhere.
type Admin struct {
	Listen string `yaml:"listen"`
}

// Data is the folder for what an embedded instance keeps and uploads are staged in.
type Data struct {
	Dir string `yaml:"dir"`
}

// DB is the relational database.
type DB struct {
	// DSN is sqlite:PATH, mysql://USER:PASSWORD@HOST:PORT/NAME or
	// postgres://USER:PASSWORD@HOST:PORT/NAME; empty is a file in the data folder.
	DSN string `yaml:"dsn" secret:"true"`
	// MaxOpen bounds the connections of one process, to the database and to each of
	// its replicas.
	MaxOpen int `yaml:"max_open"`
	// Replicas are the DSNs of servers that copy the database, each one server and not
	// a balancer in front of several. They answer reads that may be late.
	Replicas []string `yaml:"replicas" secret:"true"`
	// ReplicaLag is how late such a read may be: a replica that is not known to be at
	// most that far behind is not asked.
	ReplicaLag time.Duration `yaml:"replica_lag"`
}

// AMQP is RabbitMQ; an empty URL means the table queue alone (embedded mode).
type AMQP struct {
	URL string `yaml:"url" secret:"true"`
	// User and Password replace those of the URL.
	User     string `yaml:"user"`
	Password string `yaml:"password" secret:"true"`
	TLS      TLS    `yaml:"tls"`
	// Confirm bounds the wait for the broker before a write goes to the spool.
	Confirm time.Duration `yaml:"confirm"`
}

// MostShards is how many queues likes are spread over at most. Workers take from all
// of them at any time, so it may grow, and must never shrink.
const MostShards = 8

// Likes is how likes travel to the database.
type Likes struct {
	// Shards is how many queues they are spread over by video, each with a consumer
	// of its own.
	Shards int `yaml:"shards" live:"true"`
}

// Etcd is discovery and live settings; no endpoints means the memory registry and
// the file (embedded mode).
type Etcd struct {
	Endpoints []string `yaml:"endpoints"`
	User      string   `yaml:"user"`
	Password  string   `yaml:"password" secret:"true"`
	TLS       TLS      `yaml:"tls"`
	// Prefix of every key.
	Prefix string `yaml:"prefix"`
	// Lease is how long a dead instance stays registered.
	Lease time.Duration `yaml:"lease"`
}

// Redis is the shared cache; an empty address means the one in the process.
type Redis struct {
	Addr     string `yaml:"addr"`
	User     string `yaml:"user"`
	Password string `yaml:"password" secret:"true"`
	DB       int    `yaml:"db"`
	TLS      TLS    `yaml:"tls"`
}

// S3 is where media go; an empty endpoint means the data folder.
type S3 struct {
	// Endpoint is host:port, without a scheme.
	Endpoint  string `yaml:"endpoint"`
	Bucket    string `yaml:"bucket"`
	Region    string `yaml:"region"`
	AccessKey string `yaml:"access_key" secret:"true"`
	SecretKey string `yaml:"secret_key" secret:"true"`
	// Secure speaks HTTPS.
	Secure bool `yaml:"secure"`
}

// Media is uploads and how they are served.
type Media struct {
	// Dir holds media when no S3 is named; empty is a folder in the data folder.
	// Processes of a cluster without S3 share it.
	Dir string `yaml:"dir"`
	// PublicURL replaces <base>/media in URLs: a CDN or a public bucket.
	PublicURL string `yaml:"public_url"`
	// MaxBytes and MaxDuration bound an upload (API D12).
	MaxBytes    int64         `yaml:"max_bytes"`
	MaxDuration time.Duration `yaml:"max_duration"`
	// StagingBytes bounds all uploads in flight together.
	StagingBytes int64 `yaml:"staging_bytes"`
	// FFmpeg and FFprobe are programs in PATH or paths.
	FFmpeg  string `yaml:"ffmpeg"`
	FFprobe string `yaml:"ffprobe"`
}

// Jaeger is where spans go; with neither address they are dropped.
type Jaeger struct {
	// Endpoint is the collector's HTTP URL, http://HOST:14268/api/traces.
	Endpoint string `yaml:"endpoint"`
	// Agent is the UDP agent's HOST:PORT, used without an endpoint.
	Agent string `yaml:"agent"`
	// Sampler is const, probabilistic or ratelimiting, with its parameter.
	Sampler      string  `yaml:"sampler" live:"true"`
	SamplerParam float64 `yaml:"sampler_param" live:"true"`
}

// Token is the app's credential.
type Token struct {
	// Keys is kid:base64,…: the first signs, all verify. Embedded mode makes one
	// and keeps it in the data folder; a cluster's gateway refuses to start.
	Keys string        `yaml:"keys" secret:"true"`
	Life time.Duration `yaml:"life"`
}

// RPC is how services listen and find each other.
type RPC struct {
	// Listen is host:port; port 0 takes a free one.
	Listen string `yaml:"listen"`
	// Advertise is the host others reach this process at; empty is Listen's.
	Advertise string `yaml:"advertise"`
	// ReadBudget is how long a page waits for a part that a fallback can stand in
	// for, tries included. Longer than 200ms and a dead service's circuit opens
	// after more than two seconds.
	ReadBudget time.Duration `yaml:"read_budget" live:"true"`
	// WriteBudget is how long a write waits, or a list that nothing can stand in
	// for, tries included; registering, logging in and publishing
	// wait three times as long.
	WriteBudget time.Duration `yaml:"write_budget" live:"true"`
	// TLS is mutual: with it set both ends show a certificate of the same CA.
	TLS TLS `yaml:"tls"`
}

// Circuit is when the gateway stops asking a service, for each RPC on its own. How
// many calls Hystrix lets in is no key: a circuit reads that once, and our own
// bound, limits.concurrency, comes long before it.
type Circuit struct {
	// ErrorPercent of the calls in ten seconds, of Requests or more, have to fail.
	ErrorPercent int `yaml:"error_percent" live:"true"`
	Requests     int `yaml:"requests" live:"true"`
	// Sleep is how long nothing is asked, before one call tries again.
	Sleep time.Duration `yaml:"sleep" live:"true"`
}

// Cache is how old what a gateway holds for everybody may be; 0 holds nothing.
type Cache struct {
	// Counts is how late a count of likes, comments and so on may show, on Pages that
	// are held for that part of it too.
	Counts time.Duration `yaml:"counts" live:"true"`
	Pages  time.Duration `yaml:"pages" live:"true"`
	// Cards are names, titles and whose video it is.
	Cards time.Duration `yaml:"cards" live:"true"`
}

// Features are what an operator may close for a while. What is closed is refused
// with a text; everything else goes on.
type Features struct {
	// Registration of new accounts.
	Registration bool `yaml:"registration" live:"true"`
	// Upload of new videos.
	Upload bool `yaml:"upload" live:"true"`
}

// TLS names PEM files. All empty means plain text.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	CA   string `yaml:"ca"`
	// Enable uses TLS with the system's roots where no file is named (servers
	// of others: Redis, RabbitMQ, etcd).
	Enable bool `yaml:"enable"`
}

// Limits bound what strangers can ask for.
type Limits struct {
	// Concurrency bounds the requests that one gateway works on at once.
	Concurrency int `yaml:"concurrency"`
	// Hashes bounds passwords hashed at once in one user service; 0 is one a core.
	Hashes int `yaml:"hashes"`
	// Transcodes bounds what one worker transcodes at once, beside the one upload
	// that it probes and remuxes.
	Transcodes int `yaml:"transcodes"`
	// UserRate and UserBurst bound one user's requests, in requests a second and
	// at once. Here and below 0 is no limit, and each gateway counts for itself.
	UserRate  int `yaml:"user_rate" live:"true"`
	UserBurst int `yaml:"user_burst" live:"true"`
	// AddressRate and AddressBurst bound one client address's requests likewise.
	// An IPv6 client is its /64 network.
	AddressRate  int `yaml:"address_rate" live:"true"`
	AddressBurst int `yaml:"address_burst" live:"true"`
	// Registrations bounds the accounts one address may ask for in a minute.
	Registrations int `yaml:"registrations" live:"true"`
	// LoginFailures is how many logins of one name may fail before further tries
	// have to wait.
	LoginFailures int `yaml:"login_failures" live:"true"`
	// Exempt are the networks (CIDR) of clients that none of these six bound.
	Exempt []string `yaml:"exempt" live:"true"`
}

// Log is the log on standard error.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level" live:"true"`
	// Format is text or json; empty is text on a terminal, else json.
	Format string `yaml:"format"`
}

// Time is how times are shown to people.
type Time struct {
	// Zone is an IANA name.
	Zone string `yaml:"zone"`
}

// Default returns the configuration of a laptop: embedded, port 8080, ./data.
func Default() *Config {
	return &Config{
		HTTP:   HTTP{Listen: ":8080", CORSOrigins: []string{"*"}, Drain: 15 * time.Second},
		Data:   Data{Dir: "data"},
		DB:     DB{MaxOpen: 16, ReplicaLag: time.Second},
		AMQP:   AMQP{Confirm: 150 * time.Millisecond},
		Likes:  Likes{Shards: 1},
		Etcd:   Etcd{Prefix: "/backbeat", Lease: 5 * time.Second},
		S3:     S3{Bucket: "backbeat", Region: "us-east-1"},
		Media:  Media{MaxBytes: 256 << 20, MaxDuration: 10 * time.Minute, StagingBytes: 4 << 30, FFmpeg: "ffmpeg", FFprobe: "ffprobe"},
		Jaeger: Jaeger{Sampler: "ratelimiting", SamplerParam: 100},
		Token:  Token{Life: 7 * 24 * time.Hour},
		RPC:    RPC{Listen: "127.0.0.1:0", ReadBudget: 200 * time.Millisecond, WriteBudget: time.Second},
		// A dead service opens its circuits in about a second, also after healthy traffic.
		Circuit: Circuit{ErrorPercent: 10, Requests: 20, Sleep: time.Second},
		Cache:   Cache{Counts: 500 * time.Millisecond, Pages: 250 * time.Millisecond, Cards: 5 * time.Minute},
		Limits: Limits{
			Concurrency: 2048, Transcodes: 1,
			UserRate: 50, UserBurst: 100, AddressRate: 1000, AddressBurst: 2000, Registrations: 300, LoginFailures: 10,
			Exempt: []string{"127.0.0.0/8", "::1/128"},
		},
		Features: Features{Registration: true, Upload: true},
		Log:      Log{Level: "info"},
		Time:     Time{Zone: "Asia/Shanghai"},
	}
}
