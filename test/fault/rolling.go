package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// fileBytes is how much is downloaded at a time, and paceBytes how much a second
// of it, as a phone on the road would.
const (
	fileBytes = 20 << 20
	paceBytes = 4 << 20
)

// secondGateway starts another gateway and makes the app try one after the other,
// as it would behind a proxy.
func secondGateway(ctx context.Context, r *run) (restore func() error, err error) {
	port, err := local.FreePort()
	if err != nil {
		return nil, err
	}
	second := fmt.Sprintf("127.0.0.1:%d", port)
	part, err := r.startPart(ctx, "gateway-2", []string{"BACKBEAT_HTTP_LISTEN=" + second})
	if err != nil {
		return nil, err
	}
	if err := r.makeFile(); err != nil {
		return nil, errors.Join(err, part.Stop())
	}
	first, before := strings.TrimPrefix(r.cluster.Base, "http://"), r.app
	r.cluster.Parts = append(r.cluster.Parts, part)
	var dialer net.Dialer
	r.app = &harness.App{Base: before.Base, HTTP: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: inFlight, IdleConnTimeout: 10 * time.Second,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			gateways := []string{first, second}
			if mathrand.N(2) == 0 {
				slices.Reverse(gateways)
			}
			conn, err := dialer.DialContext(ctx, network, gateways[0])
			if err != nil {
				conn, err = dialer.DialContext(ctx, network, gateways[1])
			}
			return conn, err
		},
	}}}
	return func() error {
		r.app.HTTP.CloseIdleConnections()
		r.app = before
		r.cluster.Parts = slices.DeleteFunc(r.cluster.Parts, func(s *local.Server) bool { return s == part })
		return errors.Join(part.Stop(), clean(part))
	}, nil
}

// makeFile puts a large file among the media.
func (w *world) makeFile() error {
	var beside string
	err := filepath.WalkDir(filepath.Join(w.dir, "media"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && beside == "" && strings.HasSuffix(path, ".mp4") && !entry.IsDir() {
			beside = path
		}
		return err
	})
	if err != nil || beside == "" {
		return fmt.Errorf("no video among the media: %w", err)
	}
	body := make([]byte, fileBytes)
	_, _ = rand.Read(body) // never fails, says its documentation
	name := strings.TrimSuffix(filepath.Base(beside), ".mp4")
	key := strings.ToLower(rand.Text() + rand.Text())[:len(name)] + ".mp4"
	path := filepath.Join(filepath.Dir(beside), key)
	if err := os.WriteFile(path, body, 0o644); err != nil {
		return err
	}
	under, err := filepath.Rel(filepath.Join(w.dir, "media"), path)
	w.file, w.fileSum = "/media/"+filepath.ToSlash(under), sha256.Sum256(body)
	return err
}

// download reads the large file at a phone's pace.
func download(w *world) (harness.Answer, error) {
	answer, err := w.app.HTTP.Get(w.app.Base + w.file)
	if err != nil {
		return harness.Answer{}, err
	}
	defer answer.Body.Close()
	sum := sha256.New()
	pace := time.NewTicker(time.Second / 8)
	defer pace.Stop()
	for err == nil {
		_, err = io.CopyN(sum, answer.Body, paceBytes/8)
		<-pace.C
	}
	if !errors.Is(err, io.EOF) {
		return harness.Answer{}, err
	}
	if !bytes.Equal(sum.Sum(nil), w.fileSum[:]) {
		return harness.Answer{}, errors.New("the download is not the file")
	}
	return harness.Answer{HTTP: answer.StatusCode}, nil
}

// restartedInTurn gives all gateways a second key, then lets it sign, and restarts
// every process on the way.
func restartedInTurn(ctx context.Context, r *run) error {
	old, err := os.ReadFile(r.keys)
	if err != nil {
		return err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails, says its documentation
	fresh := fmt.Sprintf("k%d:%s", time.Now().Unix(), base64.StdEncoding.EncodeToString(secret))
	gateways := func(s *local.Server) bool { return strings.HasPrefix(s.Name, "gateway") }
	for _, roll := range []struct {
		keys  string
		whose func(*local.Server) bool
	}{
		{string(old) + "," + fresh, func(s *local.Server) bool {
			return gateways(s) || !r.scale.patient || strings.HasSuffix(s.Name, "-1")
		}},
		{fresh + "," + string(old), gateways},
	} {
		if err := os.WriteFile(r.keys, []byte(roll.keys), 0o600); err != nil {
			return err
		}
		for _, part := range r.cluster.Parts {
			if !roll.whose(part) {
				continue
			}
			err := r.during(part.Name+" restarted", part.Stop, func() error { return part.Start(ctx) },
				func() error { return r.hold(ctx, time.Second) })
			if err != nil {
				return err
			}
		}
	}
	session, err := login(r.world)
	if err != nil || session.StatusCode != 0 {
		return fmt.Errorf("logging in under the new key: %w %s", err, session.Raw)
	}
	_, err = r.get("/douyin/user/", "token", session.Token, "user_id", session.UserID)
	return err
}

// restarts counts what went on meanwhile.
func restarts(r *run) (figure string, wrong []string) {
	of := func(name string) int { return count(r.samples, func(s sample) bool { return s.request == name }) }
	return fmt.Sprintf("%d restarts, %d uploads and %d downloads of 20 MB meanwhile", len(r.windows), of("upload"), of("download")), nil
}
