package harness

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
)

// Authority signs certificates.
type Authority struct {
	// CA is the file of the authority's own certificate.
	CA string

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Certificate is the files, in PEM, of one side of mutual TLS: its certificate and
// key, and the authority that it trusts.
type Certificate struct {
	Cert, Key, CA string
}

// NewAuthority returns an authority that nobody trusts yet.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(tb, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(tb, err)
	cert, err := x509.ParseCertificate(der)
	check(tb, err)
	return &Authority{CA: writePEM(tb, filepath.Join(tb.TempDir(), "ca.pem"), "CERTIFICATE", der), cert: cert, key: key}
}

// Issue writes a certificate for the host into dir, over one that is there. It ends
// life from now; a negative one is over, by less than a day.
func (a *Authority) Issue(tb testing.TB, dir string, host net.IP, life time.Duration) Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(tb, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	check(tb, err)
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().AddDate(0, 0, -1), NotAfter: time.Now().Add(life),
		IPAddresses: []net.IP{host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	check(tb, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(tb, err)
	return Certificate{CA: a.CA, Cert: writePEM(tb, filepath.Join(dir, "cert.pem"), "CERTIFICATE", der),
		Key: writePEM(tb, filepath.Join(dir, "key.pem"), "PRIVATE KEY", private)}
}

func writePEM(tb testing.TB, file, kind string, der []byte) string {
	tb.Helper()
	check(tb, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}
