package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"backbeat/test/harness"
)

// span is what Jaeger's query API tells of one.
type span struct {
	SpanID        string `json:"spanID"`
	OperationName string `json:"operationName"`
	ProcessID     string `json:"processID"`
	References    []struct {
		SpanID string `json:"spanID"`
	} `json:"references"`
	Tags []struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	} `json:"tags"`
	service string
}

// trace reads a trace from Jaeger; none is an empty one.
func (w *world) trace(t *testing.T, id string) []span {
	t.Helper()
	response, err := http.Get(w.cluster.Jaeger.URL + "/api/traces/" + url.PathEscape(id))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Data []struct {
			Spans     []span `json:"spans"`
			Processes map[string]struct {
				ServiceName string `json:"serviceName"`
			} `json:"processes"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &found); err != nil {
		t.Fatalf("%v: %.200s", err, body)
	}
	if len(found.Data) == 0 {
		return nil
	}
	for i := range found.Data[0].Spans {
		s := &found.Data[0].Spans[i]
		s.service = found.Data[0].Processes[s.ProcessID].ServiceName
	}
	return found.Data[0].Spans
}

// connected returns why spans are not one tree, nil when they are.
func connected(spans []span) error {
	ids := map[string]bool{}
	for _, s := range spans {
		ids[s.SpanID] = true
	}
	roots := 0
	for _, s := range spans {
		if len(s.References) == 0 {
			roots++
		}
		for _, parent := range s.References {
			if !ids[parent.SpanID] {
				return fmt.Errorf("the parent of %s %q is missing", s.service, s.OperationName)
			}
		}
	}
	if roots != 1 {
		return fmt.Errorf("%d roots", roots)
	}
	return nil
}

// TestOneTrace follows one like and one upload from HTTP to the last statement of
// the worker, in a real Jaeger.
func TestOneTrace(t *testing.T) {
	w := worlds[1]
	author, video := w.video(t)
	viewer := w.Register(t)
	like := harness.OK(t, w.Post(t, "/douyin/favorite/action/", "token", viewer.Token, "video_id", video.ID, "action_type", 1))
	upload, err := w.Upload(harness.NewForm().File("data", "a.mp4", clip(t)).Field("token", author.Token).Field("title", "可追踪"))
	if err != nil {
		t.Fatal(err)
	}
	harness.OK(t, upload)
	for _, row := range []struct {
		name  string
		id    string
		spans []string // "service operation", operations by prefix
	}{
		{"like", like.Header.Get("Trace-Id"), []string{
			"gateway POST /douyin/favorite/action", "gateway video.BatchGet", "video video.Video/BatchGet", "video sql",
			"gateway favorite.Act", "favorite favorite.Favorite/Act", "favorite redis", "favorite publish favorite.write",
			"favorite-worker apply favorite.write", "favorite-worker sql",
		}},
		{"publish", upload.Header.Get("Trace-Id"), []string{
			"gateway POST /douyin/publish/action", "gateway video.Publish", "video video.Video/Publish", "video sql", "video publish video.publish",
			"video-worker apply video.publish", "video-worker sql",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if len(row.id) != 32 {
				t.Fatalf("Trace-Id is %q", row.id)
			}
			soon(t, "one connected trace", func() error {
				spans := w.trace(t, row.id)
				for _, want := range row.spans {
					service, operation, _ := strings.Cut(want, " ")
					if !slices.ContainsFunc(spans, func(s span) bool {
						return s.service == service && strings.HasPrefix(strings.TrimPrefix(s.OperationName, "/"), operation)
					}) {
						return fmt.Errorf("no %q in %v", want, operations(spans))
					}
				}
				return connected(spans)
			})
			for _, s := range w.trace(t, row.id) {
				for _, tag := range s.Tags {
					if value := fmt.Sprint(tag.Value); strings.Contains(value, viewer.Token) || strings.Contains(value, "token=") {
						t.Errorf("%s %s: tag %s holds a token", s.service, s.OperationName, tag.Key)
					}
				}
			}
		})
	}
}

func operations(spans []span) []string {
	var all []string
	for _, s := range spans {
		all = append(all, s.service+" "+s.OperationName)
	}
	slices.Sort(all)
	return all
}

// A caller's traceparent is continued.
func TestTraceparentIsAccepted(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		const id = "4bf92f3577b34da6a3ce929d0e0e4736"
		request, err := http.NewRequest(http.MethodGet, w.Base+"/douyin/feed/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Traceparent", "00-"+id+"-00f067aa0ba902b7-01")
		answer, err := w.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "Trace-Id", harness.OK(t, answer).Header.Get("Trace-Id"), id)
	})
}
