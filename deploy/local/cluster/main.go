// Command cluster runs Backbeat as separate processes on this machine:
//
//	go run ./deploy/local/cluster up      real servers, two instances of each service
//	go run ./deploy/local/cluster down    stop exactly those
//
// Servers come from Debian packages, which it installs where it may. A server
// that the environment names (BACKBEAT_DB_DSN, BACKBEAT_REDIS_ADDR,
// BACKBEAT_ETCD_ENDPOINTS, BACKBEAT_AMQP_URL, BACKBEAT_JAEGER_ENDPOINT,
// BACKBEAT_S3_ENDPOINT) is used instead. Data stay in data/cluster.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"backbeat/deploy/local"
)

const (
	folder    = "data/cluster"
	stateFile = "state.json"
	port      = 8080
	instances = 2
	grace     = 30 * time.Second
)

// state is what `down` must know of what `up` started.
type state struct {
	Base      string    `json:"base"`
	JaegerURL string    `json:"jaeger_url"`
	Processes []process `json:"processes"`
}

type process struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Started tells the process from a later one with its number.
	Started string `json:"started"`
	Address string `json:"address"`
	Log     string `json:"log"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "up":
		err = up(ctx)
	case len(os.Args) == 2 && os.Args[1] == "down":
		err = down()
	default:
		err = errors.New("usage: cluster up | down")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func up(ctx context.Context) error {
	dir, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	if running, err := read(dir); err == nil && slices.ContainsFunc(running.Processes, process.alive) {
		fmt.Println("It runs already; `make cluster-down` stops it.")
		return show(running)
	}
	var env []string
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "BACKBEAT_") {
			env = append(env, entry)
		}
	}
	if err := local.Install(ctx, needed(env)...); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fmt.Println("building …")
	program := filepath.Join(dir, "backbeat")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./app")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building: %w", err)
	}
	if local.OwnJaeger() && os.Getenv("BACKBEAT_JAEGER_ENDPOINT") == "" {
		fmt.Println("building Jaeger from source if this machine has not yet, which takes two minutes; JAEGER=PATH names another …")
	}
	cluster, err := local.StartCluster(ctx, dir, local.ClusterOptions{
		Program: program, Port: port, Instances: instances, Detach: true, Env: env,
		Progress: func(name string) { fmt.Println("starting", name) },
	})
	if err != nil {
		return err
	}
	started := stateOf(cluster)
	if err := write(dir, started); err != nil {
		return errors.Join(err, cluster.Stop())
	}
	return show(started)
}

// needed are the packages whose servers the environment does not name.
func needed(env []string) []string {
	variables := map[string]string{
		"mariadb-server": "BACKBEAT_DB_DSN=", "redis-server": "BACKBEAT_REDIS_ADDR=",
		"rabbitmq-server": "BACKBEAT_AMQP_URL=", "etcd-server": "BACKBEAT_ETCD_ENDPOINTS=",
	}
	return slices.DeleteFunc(slices.Clone(local.ClusterPackages), func(name string) bool {
		variable, is := variables[name]
		return is && slices.ContainsFunc(env, func(entry string) bool { return strings.HasPrefix(entry, variable) })
	})
}

func stateOf(cluster *local.Cluster) state {
	s := state{Base: cluster.Base}
	if cluster.Jaeger != nil {
		s.JaegerURL = cluster.Jaeger.URL
	}
	for _, server := range slices.Concat(cluster.Servers, cluster.Parts) {
		for _, pid := range server.PIDs() {
			s.Processes = append(s.Processes, process{
				Name: server.Name, PID: pid, Started: local.StartTime(pid), Address: server.Addr, Log: filepath.Join(server.Dir, "log"),
			})
		}
	}
	return s
}

// down stops what the state names, last started first.
func down() error {
	dir, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	running, err := read(dir)
	if errors.Is(err, os.ErrNotExist) {
		fmt.Println("nothing runs")
		return nil
	}
	if err != nil {
		return err
	}
	var faults []error
	for _, p := range slices.Backward(running.Processes) {
		if !p.alive() {
			continue
		}
		fmt.Printf("stopping %s (%d)\n", p.Name, p.PID)
		faults = append(faults, local.Terminate(p.PID, syscall.SIGTERM, grace))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, stateFile))
}

func (p process) alive() bool { return p.Started != "" && local.StartTime(p.PID) == p.Started }

func read(dir string) (state, error) {
	var s state
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(content, &s)
}

func write(dir string, s state) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stateFile), content, 0o644)
}

func show(s state) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nPROCESS\tPID\tADDRESS\tLOG")
	for _, p := range s.Processes {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", p.Name, p.PID, p.Address, p.Log)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Printf("\nGateway:  %s (a phone types this machine's address instead)\n", s.Base)
	if s.JaegerURL != "" {
		fmt.Printf("Jaeger:   %s\n", s.JaegerURL)
		if local.OwnJaeger() {
			fmt.Printf("          a build from source, whose page is a placeholder; the query API is real:\n          curl '%s/api/traces?service=gateway&limit=5'\n", s.JaegerURL)
		}
	}
	fmt.Println("Stop it with `make cluster-down`.")
	return nil
}
