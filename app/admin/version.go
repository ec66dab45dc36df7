package admin

import (
	"cmp"
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// Build is what the Go tool noted in the program.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	// Modified is set when the working copy had changes beyond the revision.
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
}

// ReadBuild returns the program's.
func ReadBuild() Build {
	b := Build{Version: "unknown", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = cmp.Or(info.Main.Version, b.Version)
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Revision = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

func (b Build) metric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "backbeat_build_info", Help: "Always 1; its labels say what was built.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go_version": b.Go},
	}, func() float64 { return 1 })
}

func serveVersion(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, ReadBuild()) }
