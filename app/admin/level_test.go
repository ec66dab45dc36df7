package admin

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheLevelIsChanged(t *testing.T) {
	var level slog.LevelVar
	handler := Handler(NewMetrics(), NewReadiness(), &level)
	for _, row := range []struct {
		name, method, body string
		status             int
		want               slog.Level
	}{
		{"it is told", http.MethodGet, "", http.StatusOK, slog.LevelInfo},
		{"debug", http.MethodPut, "debug", http.StatusOK, slog.LevelDebug},
		{"nonsense", http.MethodPut, "loud", http.StatusBadRequest, slog.LevelDebug},
		{"nothing", http.MethodPut, "", http.StatusBadRequest, slog.LevelDebug},
		{"too much", http.MethodPut, strings.Repeat(" ", 20) + "info", http.StatusBadRequest, slog.LevelDebug},
		{"another method", http.MethodPost, "info", http.StatusMethodNotAllowed, slog.LevelDebug},
		{"warn", http.MethodPut, "WARN", http.StatusOK, slog.LevelWarn},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(row.method, "/log-level", strings.NewReader(row.body)))
			if w.Code != row.status || level.Level() != row.want {
				t.Errorf("HTTP %d, then %v", w.Code, level.Level())
			}
			if w.Code == http.StatusOK && strings.TrimSpace(w.Body.String()) != row.want.String() {
				t.Errorf("it says %q", w.Body)
			}
		})
	}
}
