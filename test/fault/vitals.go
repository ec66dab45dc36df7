package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"backbeat/deploy/local"
)

// vitals are how much of the machine a process holds.
type vitals struct {
	goroutines, descriptors int
	// heap and resident are bytes.
	heap, resident int
}

// footprint looks at the gateway from outside: one that has no processor to spare
// may not show its metrics for minutes. Resident is in bytes.
func (r *run) footprint() (resident, descriptors int, err error) {
	pids := r.gateway().PIDs()
	if len(pids) == 0 {
		return 0, 0, errors.New("the gateway has ended")
	}
	process, err := procfs.NewProc(pids[0])
	if err != nil {
		return 0, 0, err
	}
	stat, err := process.Stat()
	if err != nil {
		return 0, 0, err
	}
	descriptors, err = process.FileDescriptorsLen()
	return stat.ResidentMemory(), descriptors, err
}

// examine reads a part's metrics. A busy one may refuse to show them for a while.
func examine(ctx context.Context, part *local.Server) (v vitals, err error) {
	err = within(ctx, 2*time.Minute, func() (err error) {
		v, err = read(part)
		return err
	})
	return v, err
}

func read(part *local.Server) (v vitals, err error) {
	response, err := http.Get(part.Metrics + "/metrics")
	if err != nil {
		return v, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return v, fmt.Errorf("%s shows its metrics with %s", part.Name, response.Status)
	}
	found := map[string]*int{
		"go_goroutines": &v.goroutines, "process_open_fds": &v.descriptors,
		"go_memstats_heap_inuse_bytes": &v.heap, "process_resident_memory_bytes": &v.resident,
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if into := found[name]; into != nil {
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return v, err
			}
			*into = int(number)
			delete(found, name)
		}
	}
	if len(found) > 0 {
		return v, fmt.Errorf("%s shows %d metrics too few", part.Name, len(found))
	}
	return v, lines.Err()
}

func (w *world) gateway() *local.Server { return w.cluster.Part("gateway-1") }

// measure notes how many goroutines the gateway has.
func (r *run) measure(ctx context.Context) error {
	v, err := examine(ctx, r.gateway())
	r.goroutines = append(r.goroutines, v.goroutines)
	return err
}
