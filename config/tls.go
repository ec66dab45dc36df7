package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Client returns how to speak TLS to a server of others, nil for plain text. An
// empty CA trusts the system's.
func (t TLS) Client() (*tls.Config, error) {
	if !t.Enable && t.Cert == "" && t.CA == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
