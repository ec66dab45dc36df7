package security

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backbeat/app/gateway"
	"backbeat/test/harness"
)

// What people type and what they are given is in no log at the lowest level, in no
// span and in no text of an error. That holds of all tests here: the end of each
// Backbeat looks for it again.
func TestSecretsOfPeople(t *testing.T) {
	t.Parallel()
	user := shared.Register(t)
	password := hush + unique()[:8]
	name := "u" + unique()
	made := harness.OK(t, shared.Post(t, "/douyin/user/register/", "username", name, "password", password))
	harness.OK(t, shared.Post(t, "/douyin/user/login/", "username", name, "password", password))
	for _, route := range gateway.Routes() {
		for _, token := range []string{user.Token, user.Token + hush, hush, "eyJhbGciOi" + hush, "%zz" + hush} {
			query := "token=" + url.QueryEscape(token) + "&username=" + name + "&password=" + hush + "&user_id=x&video_id=" + hush + "&to_user_id=" + hush + "&action_type=" + hush
			headers := http.Header{"Authorization": {"Bearer " + hush}, "Cookie": {"token=" + hush}, "Referer": {"http://a.test/?token=" + hush}}
			answer := send(t, shared.App, route.Method, route.Path, query, headers, urlencoded, query)
			for _, secret := range []string{hush, "eyJhbGciOi"} {
				if strings.Contains(answer.Raw, secret) {
					t.Errorf("%s answers with a secret: %.300s", route.Path, answer.Raw)
				}
			}
		}
	}
	for _, path := range []string{"/douyin/user/login" + hush, "/media/" + hush} { // such a path names no secret, but may hold a query's
		send(t, shared.App, http.MethodGet, path[:len(path)-len(hush)], "password="+hush, nil, "", "")
	}
	if strings.Contains(made.Raw, password) {
		t.Errorf("the password is in the answer: %s", made.Raw)
	}
	// Spans are sent every second or so.
	harness.Eventually(t, 20*time.Second, func() error {
		for _, span := range []string{"POST /douyin/user/login/", "user.Login", "POST /douyin/message/action/"} {
			if !strings.Contains(collected.String(), span) {
				return fmt.Errorf("no span %q", span)
			}
		}
		return nil
	}, "spans of the requests")
	check(t, harness.Inspect("a span", collected.String(), hushed...))
	check(t, harness.Inspect("the log", shared.log(t), hushed...))
}

// backbeat runs the program with a command until it ends or has printed what until
// says, and returns all that it printed.
func backbeat(t *testing.T, command []string, until string, settings ...string) string {
	t.Helper()
	program, err := harness.Program()
	check(t, err)
	path := filepath.Join(t.TempDir(), "printed")
	file, err := os.Create(path)
	check(t, err)
	defer file.Close()
	process := exec.CommandContext(t.Context(), program, command...)
	process.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "BACKBEAT_DATA_DIR=" + t.TempDir(), "BACKBEAT_LOG_LEVEL=debug", "BACKBEAT_HTTP_LISTEN=127.0.0.1:0"}, settings...)
	process.Stdout, process.Stderr = file, file
	check(t, process.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = process.Wait() // most of these must fail
	}()
	defer func() {
		_ = process.Process.Kill() // it may have ended by itself
		<-ended
	}()
	var printed []byte
	harness.Eventually(t, time.Minute, func() error {
		if printed, err = os.ReadFile(path); err != nil {
			return err
		}
		select {
		case <-ended:
			printed, err = os.ReadFile(path)
			return err
		default:
		}
		if until != "" && bytes.Contains(printed, []byte(until)) {
			return nil
		}
		return fmt.Errorf("it printed %.500s", printed)
	}, strings.Join(command, " "))
	return string(printed)
}

// secrets are all of the configuration's, with what is unusual about each.
var secrets = []string{
	"BACKBEAT_DB_DSN=mysql://bob:" + hush + "@db:3306/backbeat?password=" + hush,
	"BACKBEAT_AMQP_URL=amqp://bob:" + hush + "@mq:5672/", "BACKBEAT_AMQP_PASSWORD=" + hush,
	"BACKBEAT_ETCD_PASSWORD=" + hush, "BACKBEAT_REDIS_PASSWORD=" + hush,
	"BACKBEAT_S3_ENDPOINT=s3:9000", "BACKBEAT_S3_ACCESS_KEY=" + hush, "BACKBEAT_S3_SECRET_KEY=" + hush,
	"BACKBEAT_TOKEN_KEYS=k1:" + hush,
}

// What an operator configures is not shown, and what is wrong with it is said
// without it.
func TestSecretsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	const refusedPort = "127.0.0.1:1"
	path := filepath.Join(t.TempDir(), "backbeat.yaml")
	check(t, os.WriteFile(path, []byte("token: {keys: k1:"+hush+"}\nredis: {password: "+hush+", db: x}\nhtpp: {}\n"), 0o600))
	for _, row := range []struct {
		name     string
		command  []string
		until    string
		settings []string
		says     string
	}{
		{"shown", []string{"config", "show"}, "", secrets, "db:3306"},
		{"checked", []string{"config", "check"}, "", secrets, "sound"},
		{"beside a fault", []string{"config", "check"}, "", append(secrets, "BACKBEAT_HTTP_LISTEN=x"), "http.listen"},
		{"of a faulty file", []string{"-config", path, "config", "check"}, "", nil, "htpp"},
		{"in a scheme that is none", []string{"config", "check"}, "", []string{"BACKBEAT_DB_DSN=" + hush + ":x", "BACKBEAT_AMQP_URL=http://bob:" + hush + "@mq/"}, "db.dsn"},
		{"not escaped", []string{"config", "show"}, "", []string{"BACKBEAT_DB_DSN=postgres://bob:12#" + hush + "@db/x", "BACKBEAT_AMQP_URL=amqp://bob:12/" + hush + "@mq/"}, "******"},
		{"of keys that are none", []string{"run"}, "", []string{"BACKBEAT_TOKEN_KEYS=k1:" + hush + "***"}, "token key"},
		{"of keys that are too short", []string{"run"}, "", []string{"BACKBEAT_TOKEN_KEYS=k1:" + hush}, "token key"},
		{"of a MySQL that is away", []string{"run"}, "waiting for the database", []string{"BACKBEAT_DB_DSN=mysql://bob:" + hush + "@" + refusedPort + "/x"}, "waiting"},
		{"of a PostgreSQL that is away", []string{"run"}, "waiting for the database", []string{"BACKBEAT_DB_DSN=postgres://bob:" + hush + "@" + refusedPort + "/x"}, "waiting"},
		{"of a MySQL whose name is none", []string{"run"}, "", []string{"BACKBEAT_DB_DSN=mysql://bob:" + hush + "@db:port/x"}, "database"},
		{"of a PostgreSQL whose name is none", []string{"run"}, "", []string{"BACKBEAT_DB_DSN=postgres://bob:" + hush + "@db:port/x"}, "database"},
		{"of a PostgreSQL in its own words", []string{"run"}, "", []string{"BACKBEAT_DB_DSN=postgres:host=db password=" + hush + " port=x"}, "database"},
		{"of a RabbitMQ that is away", []string{"run"}, "http://localhost", []string{"BACKBEAT_AMQP_URL=amqp://bob:" + hush + "@" + refusedPort + "/"}, "Base address"},
		{"of a RabbitMQ whose name is none", []string{"run"}, "", []string{"BACKBEAT_AMQP_URL=amqp://bob:" + hush + "@mq:port/"}, "amqp"},
		{"of a Redis that is away", []string{"run"}, "http://localhost", []string{"BACKBEAT_REDIS_ADDR=" + refusedPort, "BACKBEAT_REDIS_PASSWORD=" + hush}, "Base address"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			printed := backbeat(t, row.command, row.until, row.settings...)
			if at := strings.Index(printed, hush); at >= 0 {
				t.Errorf("a secret is printed: %.600s", printed[max(0, at-300):])
			}
			if !strings.Contains(printed, row.says) {
				t.Errorf("it does not say %q: %.1000s", row.says, printed)
			}
		})
	}
}
