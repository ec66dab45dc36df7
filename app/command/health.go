package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	// healthWithin bounds the wait for the answer; a process that takes longer to say
	// that it is well is not.
	healthWithin = 3 * time.Second
	// mostReasons bounds how much of the answer is printed, in bytes.
	mostReasons = 4 << 10
)

// health asks the process that runs here with the same configuration how it is. An
// image without a shell or curl has no other way to ask.
func health(ctx context.Context, i invocation) error {
	question := "ready"
	if len(i.args) == 1 {
		question = i.args[0]
	}
	if len(i.args) > 1 || question != "live" && question != "ready" {
		return errors.New("health takes one of: live, ready")
	}
	cfg, err := i.load()
	if err != nil {
		return err
	}
	if cfg.Admin.Listen == "" {
		return errors.New("admin.listen is not set, so there is no port to ask")
	}
	address, err := dialable(cfg.Admin.Listen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/"+question+"z", nil)
	if err != nil {
		return err
	}
	request.Close = true // one question, then this process ends
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, mostReasons))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not %s: %s: %s", question, response.Status, strings.TrimSpace(string(said)))
	}
	_, err = fmt.Fprint(i.out, string(said))
	return err
}

// dialable returns where a listener on address is reached from this machine.
func dialable(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}
