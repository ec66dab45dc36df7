package harness

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"backbeat/deploy/local"
)

// RabbitMQ returns the URL of a fresh virtual host on the shared server.
func RabbitMQ(tb testing.TB) (amqpURL string) {
	tb.Helper()
	server, err := sharedRabbitMQ()
	check(tb, err)
	name := "test-" + strings.ToLower(rand.Text())
	host := server.admin + "/api/vhosts/" + name
	check(tb, manage(tb.Context(), http.MethodPut, host))
	tb.Cleanup(func() {
		// The test's own context has ended by now.
		if err := manage(context.Background(), http.MethodDelete, host); err != nil {
			tb.Error(err)
		}
	})
	fresh, err := url.Parse(server.url)
	check(tb, err)
	fresh.Path = "/" + name
	return fresh.String()
}

// manage asks RabbitMQ's management API for a change.
func manage(ctx context.Context, method, url string) error {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	request.Close = true // an idle connection would look like a leak to a test
	request.SetBasicAuth("guest", "guest")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s", method, url, response.Status)
	}
	return nil
}

// RabbitMQServer returns a server of the test's own, to be killed at will.
func RabbitMQServer(tb testing.TB) *local.RabbitMQ {
	tb.Helper()
	s, err := startRabbitMQ(tb.Context(), Folder(tb))
	check(tb, err)
	private(tb, s.Server)
	return s
}

// Redis returns a server of the test's own. Its URL is its address.
func Redis(tb testing.TB) *local.Server {
	tb.Helper()
	s, err := local.StartRedis(tb.Context(), Folder(tb), local.Options{})
	check(tb, err)
	private(tb, s)
	return s
}

// Etcd returns a server of the test's own. Its URL is its address.
func Etcd(tb testing.TB) *local.Server {
	tb.Helper()
	s, err := local.StartEtcd(tb.Context(), Folder(tb), local.Options{})
	check(tb, err)
	private(tb, s)
	return s
}

// Jaeger returns a server of the test's own.
func Jaeger(tb testing.TB) *local.Jaeger {
	tb.Helper()
	s, err := local.StartJaeger(tb.Context(), Folder(tb), local.Options{})
	check(tb, err)
	private(tb, s.Server)
	return s
}

// Bucket is an empty bucket of an S3 service.
type Bucket struct {
	// Endpoint is the service's base URL.
	Endpoint             string
	AccessKey, SecretKey string
	Name                 string
	// Server is the service, the test's own.
	Server *local.Server
}

// S3 returns an empty bucket on a server of the test's own.
func S3(tb testing.TB) Bucket {
	tb.Helper()
	s, err := local.StartS3(tb.Context(), Folder(tb), local.Options{})
	check(tb, err)
	private(tb, s.Server)
	client, err := minio.New(s.Addr, &minio.Options{Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, "")})
	check(tb, err)
	const name = "test"
	check(tb, client.MakeBucket(tb.Context(), name, minio.MakeBucketOptions{}))
	return Bucket{Endpoint: s.URL, AccessKey: s.AccessKey, SecretKey: s.SecretKey, Name: name, Server: s.Server}
}
