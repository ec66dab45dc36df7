package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// TLS names PEM files. With all three, both ends show a certificate of the CA
// and refuse a stranger; with none, calls are plain text. An instance's
// certificate names the host it advertises. Certificate and key are read at
// every handshake, so they can be renewed in place; the CA is read once.
type TLS struct {
	Cert, Key, CA string
}

func (t TLS) client() (credentials.TransportCredentials, error) {
	if t == (TLS{}) {
		return insecure.NewCredentials(), nil
	}
	authorities, err := t.authorities()
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    authorities,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return t.certificate()
		},
	}), nil
}

func (t TLS) server() (credentials.TransportCredentials, error) {
	if t == (TLS{}) {
		return insecure.NewCredentials(), nil
	}
	authorities, err := t.authorities()
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientCAs:  authorities,
		ClientAuth: tls.RequireAndVerifyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.certificate()
		},
	}), nil
}

// authorities reads the CA, and the certificate to find its faults at start.
func (t TLS) authorities() (*x509.CertPool, error) {
	if t.Cert == "" || t.Key == "" || t.CA == "" {
		return nil, errors.New("rpc tls: certificate, key and CA go together")
	}
	if _, err := t.certificate(); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("rpc tls: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("rpc tls: no certificate in %s", t.CA)
	}
	return pool, nil
}

func (t TLS) certificate() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("rpc tls: %w", err)
	}
	return &pair, nil
}
