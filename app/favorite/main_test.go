package favorite

import (
	"log/slog"
	"os"
	"testing"

	"backbeat/app/cache"
)

func TestMain(m *testing.M) {
	cache.LogTo(slog.New(slog.DiscardHandler)) // tests look at errors themselves
	os.Exit(m.Run())
}
