package gateway

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"backbeat/idl"
)

// document is what the gateway says of itself, method and path in a row.
func document(t *testing.T) []string {
	t.Helper()
	parsed, err := openapi3.NewLoader().LoadFromData([]byte(idl.OpenAPI))
	if err != nil {
		t.Fatal(err)
	}
	var operations []string
	for path, item := range parsed.Paths.Map() {
		for method := range item.Operations() {
			operations = append(operations, method+" "+path)
		}
	}
	slices.Sort(operations)
	return operations
}

func TestTheDocumentListsWhatIsServed(t *testing.T) {
	served := []string{
		"GET /media/{kind}/{shard}/{file}", "HEAD /media/{kind}/{shard}/{file}",
		"GET /media/avatar/{id}.png", "HEAD /media/avatar/{id}.png",
		"GET /media/background/{id}.png", "HEAD /media/background/{id}.png",
		"GET /media/cover.png", "HEAD /media/cover.png",
	}
	for _, rt := range routes() { // that a GET answers HEAD too, the document says once
		served = append(served, rt.method+" "+rt.path, "OPTIONS "+rt.path)
	}
	for path := range pages() {
		if path != "/docs/" { // the other form of /docs
			served = append(served, "GET "+path, "HEAD "+path)
		}
	}
	slices.Sort(served)
	listed := document(t)
	for _, operation := range served {
		if !slices.Contains(listed, operation) {
			t.Errorf("the document lacks %s", operation)
		}
	}
	for _, operation := range listed {
		if !slices.Contains(served, operation) {
			t.Errorf("the document has %s, which nobody serves", operation)
		}
	}
}

func TestDocs(t *testing.T) {
	server := httptest.NewServer(newWorld(t).Handler())
	defer server.Close()
	resp, body := ask(t, http.MethodGet, server.URL+"/docs")
	page, policy := string(body), resp.Header.Get("Content-Security-Policy")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	script := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindStringSubmatch(page)
	if script == nil || !strings.Contains(policy, "script-src 'self' "+sourceHash(script[1])+";") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy does not fit the page: %s", policy)
	}
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "http") {
		t.Errorf("the policy lets it ask others: %s", policy)
	}
	for _, link := range regexp.MustCompile(`(?:src|href|url)(?:=|: )["'](.*?)["']`).FindAllStringSubmatch(page, -1) {
		if link[1] == "data:," {
			continue
		}
		t.Run(link[1], func(t *testing.T) {
			plain, whole := ask(t, http.MethodGet, server.URL+link[1], "Accept-Encoding", "identity")
			if plain.StatusCode != http.StatusOK || len(whole) < 10_000 || plain.Header.Get("Content-Encoding") != "" {
				t.Fatalf("%s, %d bytes, %v", plain.Status, len(whole), plain.Header)
			}
			if plain.Header.Get("X-Content-Type-Options") != "nosniff" || plain.Header.Get("Cache-Control") != "no-cache" {
				t.Errorf("headers are %v", plain.Header)
			}
			// The client undoes what it asked for by itself.
			if _, unzipped := ask(t, http.MethodGet, server.URL+link[1]); string(unzipped) != string(whole) {
				t.Error("compressed it is something else")
			}
			etag := plain.Header.Get("ETag")
			if again, rest := ask(t, http.MethodGet, server.URL+link[1], "If-None-Match", etag); again.StatusCode != http.StatusNotModified || len(rest) != 0 {
				t.Errorf("again: %s, %d bytes", again.Status, len(rest))
			}
			if posted, _ := ask(t, http.MethodPost, server.URL+link[1]); posted.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("POST: %s", posted.Status)
			}
		})
	}
}
