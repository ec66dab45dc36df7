package security

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
	"regexp"
	"testing"
	"time"

	microregistry "go-micro.dev/v4/registry"

	"backbeat/app/errs"
	"backbeat/app/registry"
	"backbeat/app/rpc"
	"backbeat/proto/user"
	"backbeat/test/harness"
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
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return &authority{cert, key, writePEM(t, "ca.pem", "CERTIFICATE", der)}
}

// issue returns a certificate of the authority, good from now until then.
func (a *authority) issue(t *testing.T, until time.Duration) rpc.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(until),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	return rpc.TLS{CA: a.file, Cert: writePEM(t, "cert.pem", "CERTIFICATE", der), Key: writePEM(t, "key.pem", "PRIVATE KEY", private)}
}

func writePEM(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

// With rpc.tls the gateway and its services know each other by the certificates,
// and a stranger who reaches a service's port gets nothing from it.
func TestServicesRefuseStrangers(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	good := ours.issue(t, time.Hour)
	w := start(t, "BACKBEAT_RPC_TLS_CERT="+good.Cert, "BACKBEAT_RPC_TLS_KEY="+good.Key, "BACKBEAT_RPC_TLS_CA="+good.CA)
	account := w.Register(t)
	ok(t, w.Post(t, "/douyin/user/login/", "username", account.Name, "password", account.Password))

	found := regexp.MustCompile(`"msg":"started","role":"user","address":"([^"]+)"`).FindStringSubmatch(w.log())
	if found == nil {
		t.Fatal("the log does not say where the service listens")
	}
	trusting := theirs.issue(t, time.Hour) // trusts us, but we don't know it
	trusting.CA = ours.file
	for _, row := range []struct {
		name  string
		tls   rpc.TLS
		taken bool
	}{
		{"one of ours", ours.issue(t, time.Hour), true},
		{"a stranger in plain text", rpc.TLS{}, false},
		{"a stranger of another CA", trusting, false},
		{"one whose certificate has expired", ours.issue(t, -time.Hour), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			memory := registry.NewMemory()
			defer memory.Close()
			check(t, memory.Register(&microregistry.Service{Name: "user", Version: "1", Nodes: []*microregistry.Node{{Id: "user-1", Address: found[1]}}}))
			client, err := rpc.NewClient(rpc.ClientConfig{TLS: row.tls, Timeout: 5 * time.Second}, rpc.ClientDeps{Registry: memory, Log: harness.Logger(t)})
			check(t, err)
			defer client.Close()
			answer, err := user.NewUserService("user", client).BatchGet(t.Context(), &user.BatchGetRequest{Ids: []int64{account.ID}})
			switch {
			case row.taken && (err != nil || len(answer.GetUsers()) != 1):
				t.Errorf("got %v, %v", answer, err)
			case !row.taken && !errs.Is(err, errs.Unavailable):
				t.Errorf("a stranger got %v, %v", answer, err)
			}
		})
	}
}
