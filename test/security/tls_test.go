package security

import (
	"net"
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

// issue returns a certificate of the authority for 127.0.0.1.
func issue(t *testing.T, by *harness.Authority, life time.Duration) rpc.TLS {
	t.Helper()
	return rpc.TLS(by.Issue(t, t.TempDir(), net.IPv4(127, 0, 0, 1), life))
}

// With rpc.tls the gateway and its services know each other by the certificates,
// and a stranger who reaches a service's port gets nothing from it.
func TestServicesRefuseStrangers(t *testing.T) {
	t.Parallel()
	ours, theirs := harness.NewAuthority(t), harness.NewAuthority(t)
	good := issue(t, ours, time.Hour)
	w := start(t, "BACKBEAT_RPC_TLS_CERT="+good.Cert, "BACKBEAT_RPC_TLS_KEY="+good.Key, "BACKBEAT_RPC_TLS_CA="+good.CA)
	account := w.Register(t)
	harness.OK(t, w.Post(t, "/douyin/user/login/", "username", account.Name, "password", account.Password))

	found := regexp.MustCompile(`"msg":"started","role":"user","address":"([^"]+)"`).FindStringSubmatch(w.log(t))
	if found == nil {
		t.Fatal("the log does not say where the service listens")
	}
	trusting := issue(t, theirs, time.Hour) // trusts us, but we don't know it
	trusting.CA = ours.CA
	for _, row := range []struct {
		name  string
		tls   rpc.TLS
		taken bool
	}{
		{"one of ours", issue(t, ours, time.Hour), true},
		{"a stranger in plain text", rpc.TLS{}, false},
		{"a stranger of another CA", trusting, false},
		{"one whose certificate has expired", issue(t, ours, -time.Hour), false},
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
