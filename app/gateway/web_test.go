package gateway

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	server := httptest.NewServer(webHandler())
	defer server.Close()
	resp, body := ask(t, http.MethodGet, server.URL)
	page, policy := string(body), resp.Header.Get("Content-Security-Policy")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	for _, directive := range []string{"default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, directive) {
			t.Errorf("the policy lacks %s: %s", directive, policy)
		}
	}
	for _, unsafe := range []string{"unsafe", "script-src 'self'", "*"} {
		if strings.Contains(policy, unsafe) {
			t.Errorf("the policy has %s: %s", unsafe, policy)
		}
	}
	// What a browser finds between the tags is what the policy lets run.
	for tag, directive := range map[string]string{"script": "script-src ", "style": "style-src "} {
		found := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(page, -1)
		if len(found) != 1 || len(found[0][1]) < 1000 || !strings.Contains(policy, directive+sourceHash(found[0][1])+";") {
			t.Errorf("%d times <%s>, which the policy does not name: %s", len(found), tag, policy)
		}
	}
	if outside := regexp.MustCompile(`(?i)(src|href|url|import)\s*[=(]\s*["']?\s*(https?:)?//|\son\w+=|\sstyle=`).FindString(page); outside != "" {
		t.Errorf("the page asks others, or has what the policy forbids: %s", outside)
	}
	if unsafe := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|setHTML|DOMParser`).FindString(page); unsafe != "" {
		t.Errorf("the page may insert text as markup: %s", unsafe)
	}
	if again, body := ask(t, http.MethodGet, server.URL, "If-None-Match", resp.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || len(body) != 0 {
		t.Errorf("again: %s, %d bytes", again.Status, len(body))
	}
	if head, body := ask(t, http.MethodHead, server.URL); head.StatusCode != http.StatusOK || len(body) != 0 {
		t.Errorf("HEAD: %s, %d bytes", head.Status, len(body))
	}
	if posted, _ := ask(t, http.MethodPost, server.URL); posted.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", posted.Status)
	}
}
