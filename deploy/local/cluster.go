package local

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// ClusterPackages are the Debian packages a cluster needs.
var ClusterPackages = []string{"mariadb-server", "redis-server", "rabbitmq-server", "etcd-server", "ffmpeg"}

// services and workers of a cluster; the gateway comes on top.
var clusterRoles = []string{
	"user", "video", "favorite", "comment", "relation", "message",
	"video-worker", "favorite-worker", "message-worker",
}

// startsAtOnce bounds how many of our processes start side by side.
const startsAtOnce = 4

// jaegerPort is where Jaeger's page usually is.
const jaegerPort = 16686

// ClusterOptions says what a cluster looks like.
type ClusterOptions struct {
	// Program is the built backbeat.
	Program string
	// Port is the gateway's unless Env says where it listens; 0 takes a free one.
	Port int
	// Instances of each service and worker, at least 1.
	Instances int
	// Detach lets everything outlive this process.
	Detach bool
	// Postgres takes PostgreSQL instead of MariaDB.
	Postgres bool
	// Database are further arguments of that server.
	Database []string
	// Env are BACKBEAT_ variables for every process. A server that they name is
	// used instead of one of our own.
	Env []string
	// Progress is called with the name of what is being started.
	Progress func(name string)
}

// Cluster is Backbeat in separate processes on real servers.
type Cluster struct {
	// Base is the gateway's URL.
	Base string
	// Servers and Parts run, in the order they were started; the gateway is the
	// last part. A part's name is its role and a number, such as user-1.
	Servers []*Server
	Parts   []*Server
	// Jaeger is nil when Env names another.
	Jaeger *Jaeger
	// Env is what every part gets.
	Env []string
}

// StartCluster starts the servers that opts.Env does not name, then the parts,
// each in a folder of its own below dir. What it started before an error it has
// stopped itself.
func StartCluster(ctx context.Context, dir string, opts ClusterOptions) (*Cluster, error) {
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
	c := &Cluster{Env: slices.Clone(opts.Env)}
	if err := c.start(ctx, dir, opts); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, dir string, opts ClusterOptions) error {
	if err := c.startServers(ctx, dir, opts); err != nil {
		return err
	}
	if err := c.setKeys(dir); err != nil {
		return err
	}
	if err := c.setMedia(dir); err != nil {
		return err
	}
	return c.startParts(ctx, dir, opts)
}

func (c *Cluster) startServers(ctx context.Context, dir string, opts ClusterOptions) error {
	sql, start := "mariadb", StartMariaDB
	if opts.Postgres {
		sql, start = "postgres", StartPostgres
	}
	for _, server := range []struct {
		name, variable string
		start          func(dir string, opts Options) (*Server, string, error)
	}{
		{sql, "BACKBEAT_DB_DSN", func(dir string, opts Options) (*Server, string, error) {
			s, err := start(ctx, dir, opts)
			return s, address(s), err
		}},
		{"redis", "BACKBEAT_REDIS_ADDR", func(dir string, opts Options) (*Server, string, error) {
			s, err := StartRedis(ctx, dir, opts)
			return s, address(s), err
		}},
		{"etcd", "BACKBEAT_ETCD_ENDPOINTS", func(dir string, opts Options) (*Server, string, error) {
			s, err := StartEtcd(ctx, dir, opts)
			return s, address(s), err
		}},
		{"rabbitmq", "BACKBEAT_AMQP_URL", func(dir string, opts Options) (*Server, string, error) {
			s, err := StartRabbitMQ(ctx, dir, opts)
			if s == nil {
				return nil, "", err
			}
			return s.Server, s.URL, err
		}},
		{"jaeger", "BACKBEAT_JAEGER_ENDPOINT", func(dir string, opts Options) (*Server, string, error) {
			s, err := StartJaeger(ctx, dir, opts)
			if s == nil {
				return nil, "", err
			}
			c.Jaeger = s
			return s.Server, s.Collector, err
		}},
	} {
		if c.has(server.variable) {
			continue
		}
		opts.Progress(server.name)
		options := Options{Detach: opts.Detach}
		if server.name == sql {
			options.Args = opts.Database
		}
		if server.name == "jaeger" && opts.Port != 0 && unused(jaegerPort) {
			options.Port = jaegerPort // where people look for it
		}
		s, url, err := server.start(filepath.Join(dir, server.name), options)
		if err != nil {
			return err
		}
		c.Servers = append(c.Servers, s)
		c.set(server.variable, url)
	}
	return nil
}

func address(s *Server) string {
	if s == nil {
		return ""
	}
	return s.URL
}

// setKeys makes a token key the first time and keeps it.
func (c *Cluster) setKeys(dir string) error {
	const variable = "BACKBEAT_TOKEN_KEYS"
	if c.has(variable) || c.has(variable+"_FILE") {
		return nil
	}
	path := filepath.Join(dir, "token.keys")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails, says its documentation
		if err := os.WriteFile(path, []byte("k1:"+base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
			return err
		}
	}
	c.set(variable+"_FILE", path)
	return nil
}

// setMedia names the folder that all parts share, unless media go to S3.
func (c *Cluster) setMedia(dir string) error {
	if c.has("BACKBEAT_S3_ENDPOINT") || c.has("BACKBEAT_MEDIA_DIR") {
		return nil
	}
	path := filepath.Join(dir, "media")
	c.set("BACKBEAT_MEDIA_DIR", path)
	return os.MkdirAll(path, 0o755)
}

func (c *Cluster) startParts(ctx context.Context, dir string, opts ClusterOptions) error {
	var names []string
	for n := range max(1, opts.Instances) {
		for _, role := range clusterRoles {
			names = append(names, fmt.Sprintf("%s-%d", role, n+1))
		}
	}
	parts := make([]*Server, len(names))
	starting, startCtx := errgroup.WithContext(ctx)
	starting.SetLimit(startsAtOnce)
	for i, name := range names {
		opts.Progress(name)
		starting.Go(func() (err error) {
			parts[i], err = c.StartPart(startCtx, filepath.Join(dir, name), name, opts.Program, nil, Options{Detach: opts.Detach})
			return err
		})
	}
	err := starting.Wait()
	for _, part := range parts {
		if part != nil {
			c.Parts = append(c.Parts, part)
		}
	}
	if err != nil {
		return err
	}
	opts.Progress("gateway-1")
	gateway, err := c.startGateway(ctx, filepath.Join(dir, "gateway-1"), opts)
	if err != nil {
		return err
	}
	c.Parts = append(c.Parts, gateway)
	_, port, err := net.SplitHostPort(gateway.Addr)
	c.Base = "http://" + net.JoinHostPort("127.0.0.1", port)
	return err
}

// startGateway listens where opts.Env says, else on the wanted port of every
// interface, since a phone must reach it, else on a free one of loopback.
func (c *Cluster) startGateway(ctx context.Context, dir string, opts ClusterOptions) (*Server, error) {
	const variable = "BACKBEAT_HTTP_LISTEN"
	var env []string
	switch {
	case c.has(variable):
	case opts.Port != 0:
		env = []string{fmt.Sprintf("%s=:%d", variable, opts.Port)}
	default:
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		env = []string{variable + "=" + loopback(port)}
	}
	return c.StartPart(ctx, dir, "gateway-1", opts.Program, env, Options{Detach: opts.Detach})
}

// StartPart starts one more process of the cluster, of the role its name begins
// with. Env is added to the cluster's.
func (c *Cluster) StartPart(ctx context.Context, dir, name, program string, env []string, opts Options) (*Server, error) {
	role := name[:strings.LastIndexByte(name, '-')]
	own := []string{"BACKBEAT_DATA_DIR=" + filepath.Join(dir, "data")}
	return StartBackbeat(ctx, dir, name, program, []string{role}, slices.Concat(c.Env, own, env), opts)
}

// Part returns the part of this name; it panics when there is none.
func (c *Cluster) Part(name string) *Server {
	i := slices.IndexFunc(c.Parts, func(s *Server) bool { return s.Name == name })
	return c.Parts[i]
}

// Stop ends the parts, gateway first, then the servers, and returns when all are
// gone.
func (c *Cluster) Stop() error {
	var faults []error
	for _, s := range slices.Backward(slices.Concat(c.Servers, c.Parts)) {
		faults = append(faults, s.Stop())
	}
	return errors.Join(faults...)
}

func (c *Cluster) has(variable string) bool {
	return slices.ContainsFunc(c.Env, func(entry string) bool { return strings.HasPrefix(entry, variable+"=") })
}

func (c *Cluster) set(variable, value string) { c.Env = append(c.Env, variable+"="+value) }
