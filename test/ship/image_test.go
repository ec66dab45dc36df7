package ship

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// imageScript runs a command as a container of the image would: its root is the
// folder, read-only, with the programs of this Debian machine in place of those that
// the image installs; /tmp and what else may be written are memory; the user is an
// ordinary one and can't become another. Where root is not at hand, a namespace of
// users stands in, in which the ordinary user is one's own.
const imageScript = `#!/bin/sh
set -eu
if [ "${1-}" != inside ]; then
	if [ "$(id -u)" = 0 ]; then exec unshare --mount "$0" inside "$@"; fi
	exec unshare --user --map-root-user --mount "$0" inside "$@"
fi
shift
root='%[1]s' secrets='%[2]s' user='%[3]s'
mount --rbind "$root" "$root"
for folder in usr/bin usr/lib usr/lib64 usr/share etc; do
	mount --bind "/$folder" "$root/$folder"
	mount -o remount,bind,ro "$root/$folder"
done
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount --bind "$secrets" "$root/run/secrets"
mount -o remount,bind,ro "$root/run/secrets"
for folder in tmp %[4]s; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
mount -o remount,bind,ro "$root"
become=
if [ "$(cat /proc/self/uid_map | tr -s ' ' | cut -d ' ' -f 4)" != 1 ]; then
	become="--reuid=${user%%:*} --regid=${user#*:} --clear-groups"
fi
exec chroot "$root" setpriv $become --bounding-set=-all --inh-caps=-all --no-new-privs --pdeathsig=KILL "$@"
`

// image is a folder like the image's root.
type image struct {
	dir     string
	secrets string
	user    string
}

// newImage builds the program as the Dockerfile does and lays out the root.
func newImage(t *testing.T) image {
	t.Helper()
	dir := harness.Folder(t)
	for _, folder := range []string{"usr/local/bin", "usr/bin", "usr/lib", "usr/lib64", "usr/share", "etc", "dev", "proc", "run/secrets", "tmp", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, "root", folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"} {
		if err := os.Symlink(target, filepath.Join(dir, "root", link)); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(dir, "root/usr/local/bin/backbeat"), "backbeat/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return image{dir, filepath.Join(dir, "secrets"), instructions(t, "USER")[0]}
}

// container writes a program that runs the command it gets in the image, with these
// folders besides /tmp writable, and returns its path.
func (i image) container(t *testing.T, name string, writable []string) string {
	t.Helper()
	path := filepath.Join(i.dir, name+".sh")
	script := fmt.Sprintf(imageScript, filepath.Join(i.dir, "root"), i.secrets, i.user, strings.Join(writable, " "))
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every container of compose.yaml runs with its own command, variables and secrets
// as the image's user on a read-only root, says that it is well, serves the app
// together with the others, and ends in time when it is asked to. Only addresses
// are this machine's.
func TestContainersRunOnAReadOnlyRoot(t *testing.T) {
	project, img := compose(t), newImage(t)
	at := startServers(t, project, img)
	entry := words(t, instructions(t, "ENTRYPOINT")[0])

	// run starts a command in the container of a service and waits for its end.
	run := func(name string, service container, admin string, command ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), img.container(t, name, writable(service)), command...)
		cmd.Env = at.environ(t, service, admin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("sh", project.Services["user"], "", "sh", "-c", "id -u; touch /x /data/x /usr/local/bin/x; touch /tmp/x && echo written")
	if err != nil || strings.Count(out, "Read-only file system") != 3 || !strings.Contains(out, "written") || os.Geteuid() == 0 && !strings.HasPrefix(out, "10001\n") {
		t.Fatalf("the image's root is not as it should be: %v\n%s", err, out)
	}
	migrate := project.Services["migrate"]
	if out, err := run("migrate", migrate, "", slices.Concat(entry, migrate.Command)...); err != nil || !strings.Contains(out, "0 missing") {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	var running []*local.Server
	var gateway string
	for _, role := range roles() { // the gateway is the last
		service := project.Services[role]
		s, err := local.StartBackbeat(t.Context(), filepath.Join(img.dir, role), role, img.container(t, role, writable(service)),
			slices.Concat(entry, service.Command), at.environ(t, service, ""), local.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Kill(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("%s printed:\n%s", role, s.LogTail())
			}
		})
		running = append(running, s)
		gateway = s.Addr
	}
	for i, role := range roles() {
		admin, err := url.Parse(running[i].Metrics)
		if err != nil {
			t.Fatal(err)
		}
		out, err := run(role+"-health", project.Services[role], admin.Host, words(t, instructions(t, "HEALTHCHECK")[0])...)
		if err != nil {
			t.Errorf("%s is not well: %v\n%s", role, err, out)
		}
	}
	app := harness.NewApp("http://" + gateway)
	author, fan := app.Register(t), app.Register(t)
	video := app.PublishAndAwait(t, author, harness.Clip(t, harness.ClipOptions{Seconds: 1}), "只读")
	harness.OK(t, app.Post(t, "/douyin/favorite/action/", "token", fan.Token, "video_id", video.ID, "action_type", 1))
	harness.Eventually(t, 20*time.Second, func() error {
		for _, v := range app.Get(t, "/douyin/feed/", "token", fan.Token).VideoList {
			if v.ID == video.ID && v.IsFavorite && v.FavoriteCount == 1 {
				return nil
			}
		}
		return fmt.Errorf("the like does not show")
	}, "liking the video")
	for _, s := range slices.Backward(running) {
		// Stop kills after 15 seconds what has not ended by itself.
		if err := harness.End(s); err != nil {
			t.Error(err)
		}
		if log, err := s.Log(); err != nil || strings.Contains(log, "read-only") || strings.Contains(log, "permission denied") {
			t.Errorf("%s could not do something: %v\n%s", s.Name, err, s.LogTail())
		}
	}
}

// writable are the folders that a service's volumes make so.
func writable(service container) []string {
	var folders []string
	for _, volume := range service.Volumes {
		if volume.Type == "volume" && volume.Target != "/tmp" {
			folders = append(folders, strings.TrimPrefix(volume.Target, "/"))
		}
	}
	return folders
}

// addresses are where this machine has what compose.yaml has as host:port.
type addresses map[string]string

// startServers starts what the roles need and fills the image's folder of secrets.
func startServers(t *testing.T, project composed, img image) addresses {
	t.Helper()
	mariadb, err := url.Parse(harness.MariaDB(t))
	if err != nil {
		t.Fatal(err)
	}
	rabbit, err := url.Parse(harness.RabbitMQ(t))
	if err != nil {
		t.Fatal(err)
	}
	bucket := harness.S3(t)
	if err := os.Mkdir(img.secrets, 0o755); err != nil {
		t.Fatal(err)
	}
	password, _ := rabbit.User.Password()
	ours := map[string]string{
		"db_dsn": mariadb.String(), "amqp_password": password, "redis_password": "",
		"s3_access_key": bucket.AccessKey, "s3_secret_key": bucket.SecretKey,
	}
	for name := range project.Secrets {
		content, err := os.ReadFile(filepath.Join(secrets(t), name))
		if err != nil {
			t.Fatal(err)
		}
		if value, replaced := ours[name]; replaced {
			content = []byte(value)
		}
		if err := os.WriteFile(filepath.Join(img.secrets, name), content, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	return addresses{
		"etcd:2379": harness.Etcd(t).Addr, "redis:6379": harness.Redis(t).Addr, "minio:9000": strings.TrimPrefix(bucket.Endpoint, "http://"),
		"amqp://rabbitmq:5672/": rabbit.Scheme + "://" + rabbit.Host + rabbit.Path, "http://jaeger:14268/api/traces": harness.Jaeger(t).Collector,
		// The RPC listener takes a free port, and so does the API's.
		":7000": "127.0.0.1:0", ":8080": "127.0.0.1:0",
	}
}

// environ is a container's environment with the addresses of this machine.
func (a addresses) environ(t *testing.T, service container, admin string) []string {
	t.Helper()
	env := service.environment(t)
	delete(env, "BACKBEAT_ADMIN_LISTEN") // local.StartBackbeat chooses
	if admin != "" {
		env["BACKBEAT_ADMIN_LISTEN"] = admin
	}
	delete(env, "BACKBEAT_RPC_ADVERTISE")
	if _, named := env["BACKBEAT_AMQP_USER"]; named {
		env["BACKBEAT_AMQP_USER"] = "guest"
	}
	// 200 ms for a part of a page are too few for this machine under everything else.
	env["BACKBEAT_RPC_READ_BUDGET"], env["BACKBEAT_RPC_WRITE_BUDGET"] = "3s", "5s"
	environ := []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		value := env[name]
		for shipped, here := range a {
			value = strings.ReplaceAll(value, shipped, here)
		}
		environ = append(environ, name+"="+value)
	}
	return environ
}
