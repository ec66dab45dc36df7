package local

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	_ "gorm.io/driver/mysql"    // registers "mysql" with database/sql
	_ "gorm.io/driver/postgres" // registers "pgx" with database/sql
)

// StartMariaDB starts a MariaDB with its data in dir. Its URL names the empty
// database backbeat and a user who may create others.
func StartMariaDB(ctx context.Context, dir string, opts Options) (*Server, error) {
	s, err := mariaDB(dir, opts)
	if err != nil {
		return nil, err
	}
	return s, start(ctx, s)
}

func mariaDB(dir string, opts Options) (*Server, error) {
	install, err := find("mariadb-install-db", "mariadb-server")
	if err != nil {
		return nil, err
	}
	program, err := find("mariadbd", "mariadb-server")
	if err != nil {
		return nil, err
	}
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "mariadb", Addr: loopback(port), Dir: dir, opts: opts}
	s.URL = "mysql://backbeat:backbeat@" + s.Addr + "/backbeat"
	// A starting MariaDB deletes what looks like its own in the temporary folder,
	// also what another one is using.
	temporary := func() string { return "TMPDIR=" + s.path("tmp") }
	s.spec = spec{
		prepare: func(ctx context.Context) error {
			args := []string{"--no-defaults", "--datadir=" + s.data(), "--auth-root-authentication-method=normal", "--skip-test-db"}
			if err := os.MkdirAll(s.path("tmp"), 0o755); err != nil {
				return err
			}
			cmd := exec.CommandContext(ctx, install, asRoot(args)...)
			cmd.Env = append(os.Environ(), temporary())
			if err := run(cmd); err != nil {
				return err
			}
			return os.WriteFile(s.path("init.sql"), []byte(mariaDBAccount), 0o644)
		},
		commands: func() []*exec.Cmd {
			args := []string{"--no-defaults", "--datadir=" + s.data(), "--port=" + strconv.Itoa(port), "--bind-address=127.0.0.1",
				// Relative to the data folder: a socket's path has to be short.
				"--socket=my.sock", "--pid-file=my.pid", "--init-file=" + s.path("init.sql"),
				"--skip-log-bin", "--skip-name-resolve", "--character-set-server=utf8mb4"}
			cmd := s.command(program, append(asRoot(args), opts.Args...)...)
			cmd.Env = s.environment(temporary())
			return []*exec.Cmd{cmd}
		},
		ready: func(ctx context.Context) error {
			return queryMariaDB(ctx, s.Addr, "SELECT 1")
		},
	}
	return s, nil
}

const mariaDBAccount = `CREATE DATABASE IF NOT EXISTS backbeat CHARACTER SET utf8mb4;
GRANT ALL ON *.* TO backbeat@'127.0.0.1' IDENTIFIED BY 'backbeat' WITH GRANT OPTION;
`

func queryMariaDB(ctx context.Context, addr, statement string) error {
	return query(ctx, "mysql", "backbeat:backbeat@tcp("+addr+")/backbeat", statement)
}

// asRoot adds what MariaDB wants to hear before it runs as root.
func asRoot(args []string) []string {
	if os.Geteuid() == 0 {
		return append(args, "--user=root")
	}
	return args
}

// StartPostgres starts a PostgreSQL with its data in dir. Its URL names the
// empty database backbeat and a user who may create others. PostgreSQL refuses
// to run as root; then it runs as the user postgres, who must be able to enter
// dir's parents.
func StartPostgres(ctx context.Context, dir string, opts Options) (*Server, error) {
	initdb, err := find("initdb", "postgresql")
	if err != nil {
		return nil, err
	}
	s, err := postgres(dir, opts, func(data string) []string {
		return []string{initdb, "-D", data, "-A", "trust", "-U", "backbeat", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"}
	})
	if err != nil {
		return nil, err
	}
	s.spec.ready = func(ctx context.Context) error { return createPostgresDatabase(ctx, s.Addr, s.URL) }
	return s, start(ctx, s)
}

// postgres returns a PostgreSQL whose data folder fill, a command, fills.
func postgres(dir string, opts Options, fill func(data string) []string) (*Server, error) {
	program, err := find("postgres", "postgresql")
	if err != nil {
		return nil, err
	}
	account, err := postgresAccount()
	if err != nil {
		return nil, err
	}
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "postgres", Addr: loopback(port), Dir: dir, opts: opts}
	s.URL = "postgres://backbeat:backbeat@" + s.Addr + "/backbeat?sslmode=disable"
	as := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Dir, cmd.SysProcAttr = s.data(), &syscall.SysProcAttr{Credential: account}
		return cmd
	}
	s.spec = spec{
		prepare: func(ctx context.Context) error {
			if err := handOver(s.data(), account); err != nil {
				return err
			}
			command := fill(s.data())
			return run(as(exec.CommandContext(ctx, command[0], command[1:]...)))
		},
		commands: func() []*exec.Cmd {
			args := []string{"-D", s.data(), "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="}
			return []*exec.Cmd{as(s.command(program, append(args, opts.Args...)...))}
		},
		ready: func(ctx context.Context) error { return query(ctx, "pgx", s.URL, "SELECT 1") },
		quit:  syscall.SIGINT, // SIGTERM would wait until the last client has gone
	}
	return s, nil
}

// postgresAccount is whom PostgreSQL runs as: nil for the current user.
func postgresAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL doesn't run as root: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// handOver gives a folder to an account and makes sure that it can be reached.
func handOver(dir string, to *syscall.Credential) error {
	if to == nil {
		return os.Chmod(dir, 0o700)
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("the user postgres can't enter %s: choose a folder below another, for example below %s", parent, os.TempDir())
		}
		if parent == filepath.Dir(parent) {
			break
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	return os.Chown(dir, int(to.Uid), int(to.Gid))
}

func createPostgresDatabase(ctx context.Context, addr, url string) error {
	if query(ctx, "pgx", url, "SELECT 1") == nil {
		return nil
	}
	return query(ctx, "pgx", "postgres://backbeat@"+addr+"/postgres?sslmode=disable", "CREATE DATABASE backbeat")
}

func query(ctx context.Context, driver, dsn, statement string) error {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, statement)
	return err
}
