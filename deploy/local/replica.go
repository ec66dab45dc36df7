package local

import (
	"context"
	"fmt"
	"net"
)

// Primary are the Args that a MariaDB needs to have replicas; a PostgreSQL needs none.
var Primary = []string{"--log-bin=binlog", "--binlog-format=ROW", "--server-id=1"}

// StartMariaDBReplica starts a MariaDB with its data in dir that copies primary, which
// was started with the Args of Primary, from its beginning. Of one primary there is one
// such replica. Its URL names primary's database and a user who may only read.
func StartMariaDBReplica(ctx context.Context, dir string, primary *Server, opts Options) (*Server, error) {
	opts.Args = append([]string{"--server-id=2", "--read-only"}, opts.Args...)
	s, err := mariaDB(dir, opts)
	if err != nil {
		return nil, err
	}
	s.Name = "mariadb-replica"
	s.URL = "mysql://reader:reader@" + s.Addr + "/backbeat"
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		return nil, err
	}
	if err := queryMariaDB(ctx, primary.Addr, "GRANT SELECT ON *.* TO reader@'127.0.0.1' IDENTIFIED BY 'reader'"); err != nil {
		return nil, fmt.Errorf("making a reader for %s: %w", s.Name, err)
	}
	if err := start(ctx, s); err != nil {
		return nil, err
	}
	// It keeps this in its data folder and goes on by itself when it starts again.
	for _, statement := range []string{
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%s, MASTER_USER='backbeat', MASTER_PASSWORD='backbeat', "+
			"MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos", host, port),
		"START SLAVE",
	} {
		if err := queryMariaDB(ctx, s.Addr, statement); err != nil {
			return s, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return s, nil
}

// StartPostgresReplica starts a PostgreSQL with its data in dir that copies primary, as
// it is now and from then on. Args that bound connections are those of primary. Its URL
// names primary's database.
func StartPostgresReplica(ctx context.Context, dir string, primary *Server, opts Options) (*Server, error) {
	basebackup, err := find("pg_basebackup", "postgresql")
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		return nil, err
	}
	s, err := postgres(dir, opts, func(data string) []string {
		return []string{basebackup, "-D", data, "-h", host, "-p", port, "-U", "backbeat", "-X", "stream", "-c", "fast", "-R", "--no-sync"}
	})
	if err != nil {
		return nil, err
	}
	s.Name = "postgres-replica"
	return s, start(ctx, s)
}
