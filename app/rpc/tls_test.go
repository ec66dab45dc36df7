package rpc

import (
	"net"
	"testing"
	"time"

	"backbeat/app/errs"
	"backbeat/proto/user"
	"backbeat/test/harness"
)

// issue writes the authority's certificate for the host into dir.
func issue(t *testing.T, by *harness.Authority, dir string, host net.IP) TLS {
	t.Helper()
	return TLS(by.Issue(t, dir, host, time.Hour))
}

func TestMutualTLS(t *testing.T) {
	leaks(t)
	loopback := net.IPv4(127, 0, 0, 1)
	ours, theirs := harness.NewAuthority(t), harness.NewAuthority(t)
	good, foreign := issue(t, ours, t.TempDir(), loopback), issue(t, theirs, t.TempDir(), loopback)
	elsewhere := issue(t, ours, t.TempDir(), net.IPv4(10, 0, 0, 1))
	trusting := foreign
	trusting.CA = ours.CA
	for _, row := range []struct {
		name           string
		server, client TLS
		taken          bool
	}{
		{"both of our CA", good, good, true},
		{"a client without a certificate", good, TLS{}, false},
		{"a client of another CA", good, trusting, false},
		{"a server of another CA", foreign, good, false},
		{"a server on a host its certificate doesn't name", elsewhere, good, false},
		{"a plain server", TLS{}, good, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := memory(t)
			serve(t, r, loggingIn(7), func(c *ServerConfig, _ *ServerDeps) { c.TLS = row.server })
			service, c := dial(t, r, func(c *ClientConfig, _ *ClientDeps) { c.TLS = row.client; c.Timeout = 3 * time.Second })
			_, err := service.Login(t.Context(), &user.LoginRequest{})
			if row.taken && err != nil || !row.taken && !errs.Is(err, errs.Unavailable) {
				t.Errorf("got %v", err)
			}
			must(t, c.Close())
		})
	}
}

func TestCertificatesAreRenewedInPlace(t *testing.T) {
	ours := harness.NewAuthority(t)
	dir := t.TempDir()
	outdated := issue(t, ours, dir, net.IPv4(10, 0, 0, 1))
	good := issue(t, ours, t.TempDir(), net.IPv4(127, 0, 0, 1))
	r := memory(t)
	serve(t, r, loggingIn(7), func(c *ServerConfig, _ *ServerDeps) { c.TLS = outdated })
	before, _ := dial(t, r, func(c *ClientConfig, _ *ClientDeps) { c.TLS = good })
	if _, err := before.Login(t.Context(), &user.LoginRequest{}); err == nil {
		t.Fatal("the wrong host was taken")
	}
	issue(t, ours, dir, net.IPv4(127, 0, 0, 1))
	after, _ := dial(t, r, func(c *ClientConfig, _ *ClientDeps) { c.TLS = good })
	if _, err := after.Login(t.Context(), &user.LoginRequest{}); err != nil {
		t.Error(err)
	}
}

func TestBrokenTLSFilesAreFoundAtStart(t *testing.T) {
	ours := harness.NewAuthority(t)
	good := issue(t, ours, t.TempDir(), net.IPv4(127, 0, 0, 1))
	for name, files := range map[string]TLS{
		"no CA":          {Cert: good.Cert, Key: good.Key},
		"no key":         {Cert: good.Cert, CA: good.CA},
		"missing CA":     {Cert: good.Cert, Key: good.Key, CA: good.CA + "x"},
		"CA is a key":    {Cert: good.Cert, Key: good.Key, CA: good.Key},
		"key of another": {Cert: good.Cert, Key: issue(t, ours, t.TempDir(), nil).Key, CA: good.CA},
	} {
		if _, err := NewServer(ServerConfig{Name: "user", TLS: files}, ServerDeps{}); err == nil {
			t.Errorf("%s: a server was made", name)
		}
		if _, err := NewClient(ClientConfig{TLS: files}, ClientDeps{}); err == nil {
			t.Errorf("%s: a client was made", name)
		}
	}
}
