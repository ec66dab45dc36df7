package local

import (
	"context"
	"os/exec"
)

// Jaeger is a Jaeger all-in-one that keeps traces in memory.
type Jaeger struct {
	*Server
	// Collector is the HTTP URL that spans are sent to.
	Collector string
	// Agent is the HOST:PORT of the UDP agent (compact Thrift).
	Agent string
}

// StartJaeger starts a Jaeger whose URL is the query API and the page. It is
// the program that the variable JAEGER names, or jaeger-all-in-one in PATH, or
// a build of our own (see Tool), in which the page is only a placeholder.
func StartJaeger(ctx context.Context, dir string, opts Options) (*Jaeger, error) {
	program, err := Tool(ctx, "all-in-one")
	if err != nil {
		return nil, err
	}
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(len(jaegerPorts))
	if err != nil {
		return nil, err
	}
	args := []string{"--query.http-server.host-port=" + loopback(port), "--collector.otlp.enabled=false"}
	at := map[string]string{}
	for i, flag := range jaegerPorts {
		at[flag] = loopback(ports[i])
		args = append(args, "--"+flag+"="+at[flag])
	}
	j := &Jaeger{
		Server: &Server{
			Name: "jaeger", Addr: loopback(port), URL: "http://" + loopback(port), Metrics: "http://" + at["admin.http.host-port"],
			Dir: dir, opts: opts,
		},
		Collector: "http://" + at["collector.http-server.host-port"] + "/api/traces",
		Agent:     at["processor.jaeger-compact.server-host-port"],
	}
	j.spec = spec{
		commands: func() []*exec.Cmd {
			cmd := j.command(program, append(args, opts.Args...)...)
			cmd.Env = j.environment("SPAN_STORAGE_TYPE=memory")
			return []*exec.Cmd{cmd}
		},
		ready: func(ctx context.Context) error {
			// The collector refuses the method, which shows that it listens.
			if err := answers(ctx, j.Collector); err != nil {
				return err
			}
			return answers(ctx, j.URL+"/api/services")
		},
	}
	return j, start(ctx, j.Server)
}

var jaegerPorts = []string{
	"admin.http.host-port",
	"collector.http-server.host-port",
	"collector.grpc-server.host-port",
	"http-server.host-port",
	"processor.jaeger-binary.server-host-port",
	"processor.jaeger-compact.server-host-port",
	"processor.zipkin-compact.server-host-port",
	"query.grpc-server.host-port",
}

// OwnJaeger reports whether StartJaeger uses a build of our own, whose page is
// only a placeholder.
func OwnJaeger() bool {
	path, err := givenTool("all-in-one")
	return path == "" && err == nil
}
