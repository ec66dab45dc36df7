package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// packages is which program, or file, shows that a Debian package is installed.
var packages = map[string]string{
	"gcc":             "gcc", // the race detector needs these two
	"libc6-dev":       "/usr/include/stdlib.h",
	"mariadb-server":  "mariadbd",
	"postgresql":      "initdb",
	"redis-server":    "redis-server",
	"rabbitmq-server": "rabbitmq-server",
	"etcd-server":     "etcd",
	"ffmpeg":          "ffmpeg",
	"nginx":           "nginx",
	"prometheus":      "prometheus", // and promtool
	"wrk":             "wrk",
}

// folders are where Debian keeps programs that aren't in every user's PATH.
// RabbitMQ's comes first: the script of that name in /usr/sbin changes the user.
var folders = []string{"/usr/lib/rabbitmq/bin", "/usr/lib/postgresql/*/bin", "/usr/sbin", "/usr/local/sbin", "/sbin"}

// find returns the path of a program of a Debian package, or an error that says
// what to install.
func find(program, pkg string) (string, error) {
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(folder, program))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[len(found)-1], nil // the newest PostgreSQL
		}
	}
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%s is not installed: %s", program, advice(pkg))
}

func advice(packages ...string) string {
	return "sudo apt-get update && sudo apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
}

// Install makes sure that the programs of these Debian packages are there. What
// is missing it installs with apt-get, as root or through a sudo that asks no
// password, and says so on standard error; the machine's own copies of the
// servers are not started. Where it may not, the error says what to install.
func Install(ctx context.Context, names ...string) error {
	missing, err := notInstalled(names)
	if err != nil || len(missing) == 0 {
		return err
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("these are missing, and there is no apt-get to install them: %s", strings.Join(missing, ", "))
	}
	fmt.Fprintf(os.Stderr, "installing Debian packages: %s\n", strings.Join(missing, " "))
	args := append([]string{"sh", "-c", installScript, "install"}, missing...)
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("installing failed (%w); please run: %s", err, advice(missing...))
	}
	if missing, err = notInstalled(missing); len(missing) > 0 {
		return errors.Join(err, fmt.Errorf("still missing after installing: %s", strings.Join(missing, ", ")))
	}
	return err
}

// installScript forbids the packages' own start scripts (policy-rc.d) while they
// install, unless the machine has a policy already.
const installScript = `set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
fi
apt-get -q -o DPkg::Lock::Timeout=300 update
apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
`

func notInstalled(names []string) ([]string, error) {
	var missing []string
	for _, name := range names {
		program, known := packages[name]
		if !known {
			return nil, fmt.Errorf("unknown Debian package %q", name)
		}
		if !present(program, name) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing, nil
}

func present(proof, pkg string) bool {
	var err error
	if filepath.IsAbs(proof) {
		_, err = os.Stat(proof)
	} else {
		_, err = find(proof, pkg)
	}
	return err == nil
}
