package rpc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"backbeat/app/errs"
	"backbeat/proto/user"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &authority{cert: cert, key: key, file: write(t, filepath.Join(t.TempDir(), "ca.pem"), "CERTIFICATE", der)}
}

// issue writes a certificate for the host into dir.
func (a *authority) issue(t *testing.T, dir string, host net.IP) TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template := &x509.Certificate{SerialNumber: serial, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{host},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return TLS{CA: a.file, Cert: write(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", der),
		Key: write(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", private)}
}

func write(t *testing.T, file, kind string, der []byte) string {
	t.Helper()
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

func TestMutualTLS(t *testing.T) {
	leaks(t)
	loopback := net.IPv4(127, 0, 0, 1)
	ours, theirs := newAuthority(t), newAuthority(t)
	good, foreign := ours.issue(t, t.TempDir(), loopback), theirs.issue(t, t.TempDir(), loopback)
	elsewhere := ours.issue(t, t.TempDir(), net.IPv4(10, 0, 0, 1))
	trusting := foreign
	trusting.CA = ours.file
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
			service, c := dial(t, r, func(c *ClientConfig) { c.TLS = row.client; c.Timeout = 3 * time.Second })
			_, err := service.Login(t.Context(), &user.LoginRequest{})
			if row.taken && err != nil || !row.taken && !errs.Is(err, errs.Unavailable) {
				t.Errorf("got %v", err)
			}
			must(t, c.Close())
		})
	}
}

func TestCertificatesAreRenewedInPlace(t *testing.T) {
	ours := newAuthority(t)
	dir := t.TempDir()
	outdated := ours.issue(t, dir, net.IPv4(10, 0, 0, 1))
	good := ours.issue(t, t.TempDir(), net.IPv4(127, 0, 0, 1))
	r := memory(t)
	serve(t, r, loggingIn(7), func(c *ServerConfig, _ *ServerDeps) { c.TLS = outdated })
	before, _ := dial(t, r, func(c *ClientConfig) { c.TLS = good })
	if _, err := before.Login(t.Context(), &user.LoginRequest{}); err == nil {
		t.Fatal("the wrong host was taken")
	}
	ours.issue(t, dir, net.IPv4(127, 0, 0, 1))
	after, _ := dial(t, r, func(c *ClientConfig) { c.TLS = good })
	if _, err := after.Login(t.Context(), &user.LoginRequest{}); err != nil {
		t.Error(err)
	}
}

func TestBrokenTLSFilesAreFoundAtStart(t *testing.T) {
	ours := newAuthority(t)
	good := ours.issue(t, t.TempDir(), net.IPv4(127, 0, 0, 1))
	for name, files := range map[string]TLS{
		"no CA":          {Cert: good.Cert, Key: good.Key},
		"no key":         {Cert: good.Cert, CA: good.CA},
		"missing CA":     {Cert: good.Cert, Key: good.Key, CA: good.CA + "x"},
		"CA is a key":    {Cert: good.Cert, Key: good.Key, CA: good.Key},
		"key of another": {Cert: good.Cert, Key: ours.issue(t, t.TempDir(), nil).Key, CA: good.CA},
	} {
		if _, err := NewServer(ServerConfig{Name: "user", TLS: files}, ServerDeps{}); err == nil {
			t.Errorf("%s: a server was made", name)
		}
		if _, err := NewClient(ClientConfig{TLS: files}, ClientDeps{}); err == nil {
			t.Errorf("%s: a client was made", name)
		}
	}
}
