package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQ is a RabbitMQ node with its own epmd, Erlang's name service.
type RabbitMQ struct {
	*Server
	// Admin is the base URL of the management API, for guest:guest.
	Admin string
}

// StartRabbitMQ starts a RabbitMQ of one node. Its URL logs guest in to the
// default virtual host.
//
// RabbitMQ 3.10 writes the declaration of a queue to disk only a second or two after
// it has confirmed it: a Kill before that loses the queue with the messages it had
// confirmed, or leaves a quorum queue that never answers again. Older queues survive.
func StartRabbitMQ(ctx context.Context, dir string, opts Options) (*RabbitMQ, error) {
	program, err := find("rabbitmq-server", "rabbitmq-server")
	if err != nil {
		return nil, err
	}
	epmd, err := find("epmd", "rabbitmq-server")
	if err != nil {
		return nil, err
	}
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	more, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	admin, peer, names, metrics := more[0], more[1], more[2], more[3]
	s := &Server{Name: "rabbitmq", Addr: loopback(port), Metrics: "http://" + loopback(metrics), Dir: dir, opts: opts}
	s.URL = "amqp://guest:guest@" + s.Addr + "/"
	s.spec = spec{
		configure: func() error {
			if err := os.WriteFile(s.path("enabled_plugins"), []byte("[rabbitmq_management,rabbitmq_prometheus].\n"), 0o644); err != nil {
				return err
			}
			return os.WriteFile(s.path("rabbitmq.conf"), fmt.Appendf(nil, rabbitMQConfig, port, admin, metrics), 0o644)
		},
		commands: func() []*exec.Cmd {
			name := s.command(epmd, "-port", strconv.Itoa(names), "-address", "127.0.0.1")
			node := s.command(program, opts.Args...)
			node.Env = s.rabbitMQEnvironment(peer, names)
			return []*exec.Cmd{name, node}
		},
		ready: func(ctx context.Context) error {
			conn, err := amqp.Dial(s.URL)
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
	return &RabbitMQ{Server: s, Admin: "http://" + loopback(admin)}, start(ctx, s)
}

// The management API is there to make virtual hosts and to close connections;
// its statistics would cost more CPU than the messages do.
const rabbitMQConfig = `listeners.tcp.default = 127.0.0.1:%d
management.tcp.ip = 127.0.0.1
management.tcp.port = %d
management_agent.disable_metrics_collector = true
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = %d
`

// rabbitMQEnvironment keeps the node inside its folder. ALLOW_INPUT makes the
// start script become Erlang instead of waiting for it, so that our child is the
// server itself; -noinput then takes the input away again. An idle Erlang spins
// unless told not to.
func (s *Server) rabbitMQEnvironment(peerPort, namesPort int) []string {
	return s.environment(
		"RABBITMQ_ALLOW_INPUT=1",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-noinput -kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
		"RABBITMQ_NODENAME=backbeat@localhost",
		"RABBITMQ_DIST_PORT="+strconv.Itoa(peerPort),
		"ERL_EPMD_PORT="+strconv.Itoa(namesPort),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_CONF_ENV_FILE="+s.path("rabbitmq-env.conf"),
		"RABBITMQ_CONFIG_FILE="+s.path("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+s.path("advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+s.path("enabled_plugins"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+s.path("generated"),
		"RABBITMQ_MNESIA_BASE="+s.data(),
		"RABBITMQ_LOG_BASE="+s.Dir,
		"RABBITMQ_LOGS=-",
		"RABBITMQ_PID_FILE="+s.path("pid"),
	)
}
