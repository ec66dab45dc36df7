package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"backbeat/idl"
)

func TestTheCollectionIsWhatMakeGenerateWrites(t *testing.T) {
	want, err := writeCollection(idl.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join("..", filepath.Base(collectionPath)))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not: run make generate", collectionPath)
	}
}

func TestTheCollectionSendsWhatTheAppSends(t *testing.T) {
	file, err := writeCollection(idl.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	var made collection
	if err := json.Unmarshal(file, &made); err != nil {
		t.Fatal(err)
	}
	calls := map[string]call{}
	for _, part := range made.Item {
		for _, one := range part.Item {
			calls[one.Request.Method+" "+strings.Join(one.Request.URL.Path, "/")] = one
		}
	}
	for name, raw := range map[string]string{
		"GET douyin/feed/":             "{{baseUrl}}/douyin/feed/?token={{token}}",
		"GET douyin/user/":             "{{baseUrl}}/douyin/user/?token={{token}}",
		"POST douyin/user/login/":      "{{baseUrl}}/douyin/user/login/?username=alice&password=secret123",
		"POST douyin/favorite/action/": "{{baseUrl}}/douyin/favorite/action/?token={{token}}&video_id=1760321907425281&action_type=1",
		"POST douyin/publish/action/":  "{{baseUrl}}/douyin/publish/action/",
		"GET douyin/message/chat/":     "{{baseUrl}}/douyin/message/chat/?token={{token}}&to_user_id=1760318472093698",
		"GET media/:kind/:shard/:file": "{{baseUrl}}/media/:kind/:shard/:file",
	} {
		if got := calls[name].Request.URL.Raw; got != raw {
			t.Errorf("%s is sent to %q, want %q", name, got, raw)
		}
	}
	if len(calls["POST douyin/user/login/"].Event) != 1 {
		t.Error("who logs in does not become the sender")
	}
	parts := calls["POST douyin/publish/action/"].Request.Body
	if parts == nil || len(parts.FormData) != 3 || parts.FormData[0].Type != "file" {
		t.Errorf("an upload is %+v", parts)
	}
}
