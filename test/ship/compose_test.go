package ship

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"backbeat/app/boot"
	"backbeat/config"
)

// composed is what is looked at of compose.yaml.
type composed struct {
	Services map[string]container
	Secrets  map[string]struct{ File string }
}

type container struct {
	Image       string
	Command     []string
	User        string
	Environment map[string]string
	Secrets     []struct{ Source, Target string }
	DependsOn   map[string]struct{ Condition string } `json:"depends_on"`
	HealthCheck *struct {
		Test    []string
		Disable bool
	}
	ReadOnly    bool     `json:"read_only"`
	CapDrop     []string `json:"cap_drop"`
	SecurityOpt []string `json:"security_opt"`
	Grace       string   `json:"stop_grace_period"`
	Tmpfs       []string
	Volumes     []struct{ Type, Source, Target string }
	Networks    map[string]*struct {
		Address string `json:"ipv4_address"`
	}
	Ports []struct {
		HostIP    string `json:"host_ip"`
		Target    int
		Published string
	}
	Deploy struct {
		Resources struct{ Limits map[string]any }
	}
}

func compose(t *testing.T) composed {
	t.Helper()
	return read[composed](t, "compose", "compose.yaml")
}

// ours are the containers of our own image.
func (c composed) ours() map[string]container {
	ours := map[string]container{}
	for name, service := range c.Services {
		if strings.HasPrefix(service.Image, "backbeat:") {
			ours[name] = service
		}
	}
	return ours
}

// environment is what the process sees: the image's and the container's own.
func (c container) environment(t *testing.T) map[string]string {
	env := imageEnv(t)
	for name, value := range c.Environment {
		env[name] = value
	}
	return env
}

func TestComposeRunsEveryRoleOnce(t *testing.T) {
	project := compose(t)
	var run []string
	for name, service := range project.ours() {
		if name == "migrate" {
			equal(t, "what migrate runs", strings.Join(service.Command, " "), "migrate up")
			continue
		}
		equal(t, "what "+name+" runs", strings.Join(service.Command, " "), name)
		run = append(run, name)
	}
	slices.Sort(run)
	equal(t, "roles that run", strings.Join(run, " "), strings.Join(slices.Sorted(slices.Values(roles())), " "))
}

// Every variable is a key, each role has what it needs, and no secret beyond that.
func TestComposeConfiguration(t *testing.T) {
	project := compose(t)
	for name, service := range project.ours() {
		t.Run(name, func(t *testing.T) {
			env := service.environment(t)
			cfg := load(t, env)
			if name != "migrate" {
				if err := boot.Check(cfg, name); err != nil {
					t.Error(err)
				}
			}
			var targets []string
			for _, secret := range service.Secrets {
				targets = append(targets, secret.Target)
			}
			slices.Sort(targets)
			equal(t, "secrets mounted", strings.Join(targets, " "), strings.Join(mounted(env), " "))
			for _, host := range servers(t, cfg) {
				equal(t, "it waits for "+host, service.DependsOn[host].Condition, "service_healthy")
			}
			if grace, err := time.ParseDuration(service.Grace); err != nil || grace <= boot.Grace(cfg) {
				t.Errorf("it is killed after %s (%v), but may take %v", service.Grace, err, boot.Grace(cfg))
			}
			if advertised := cfg.RPC.Advertise; cfg.RPC.Listen == ":7000" && advertised != name {
				t.Errorf("it tells others to look at %q", advertised)
			}
			if cfg.DB.DSN != "" {
				equal(t, "MariaDB's database", strings.TrimPrefix(dsn(t, cfg).Path, "/"), project.Services["mariadb"].Environment["MARIADB_DATABASE"])
				equal(t, "MariaDB's user", dsn(t, cfg).User.Username(), project.Services["mariadb"].Environment["MARIADB_USER"])
			}
		})
	}
	for name, secret := range project.Secrets {
		made := filepath.Join(secrets(t), filepath.Base(secret.File))
		if info, err := os.Stat(made); err != nil || info.Size() < 8 || info.Mode().Perm() != 0o444 {
			t.Errorf("secret %s: secrets.sh made %v (%v)", name, info, err)
		}
	}
}

func dsn(t *testing.T, cfg *config.Config) *url.URL {
	t.Helper()
	parsed, err := url.Parse(cfg.DB.DSN)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// servers are the hosts that a configuration names and that a role must have to
// start. Without Jaeger it would do.
func servers(t *testing.T, cfg *config.Config) []string {
	t.Helper()
	addresses := slices.Clone(cfg.Etcd.Endpoints)
	addresses = append(addresses, cfg.Redis.Addr, cfg.S3.Endpoint)
	for _, link := range []string{cfg.DB.DSN, cfg.AMQP.URL} {
		parsed, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, parsed.Host)
	}
	var hosts []string
	for _, address := range addresses {
		if host, _, err := net.SplitHostPort(address); err == nil {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func TestComposeContainersAreConfined(t *testing.T) {
	project := compose(t)
	for name, service := range project.Services {
		t.Run(name, func(t *testing.T) {
			pinned(t, service.Image)
			for _, limit := range []string{"cpus", "memory"} {
				if service.Deploy.Resources.Limits[limit] == nil {
					t.Errorf("%s has no limit", limit)
				}
			}
			ours := strings.HasPrefix(service.Image, "backbeat:")
			if !ours && service.HealthCheck == nil {
				t.Error("nobody asks how it is")
			}
			if ours || name == "nginx" {
				equal(t, "read_only", service.ReadOnly, true)
				equal(t, "cap_drop", strings.Join(service.CapDrop, " "), "ALL")
				equal(t, "security_opt", strings.Join(service.SecurityOpt, " "), "no-new-privileges:true")
				equal(t, "mounts on /tmp", mounts(service, "/tmp"), 1)
			}
			if ours {
				equal(t, "user", service.User, "") // the image's
				if service.HealthCheck != nil && !service.HealthCheck.Disable {
					t.Error("it has a health check other than the image's")
				}
			}
			for network := range service.Networks {
				if ours && network != "inner" {
					t.Errorf("strangers reach it through the network %s", network)
				}
			}
			for _, port := range service.Ports {
				if name != "nginx" && port.HostIP != "127.0.0.1" {
					t.Errorf("port %s is open to strangers", port.Published)
				}
			}
		})
	}
}

func mounts(service container, target string) int {
	n := 0
	for _, entry := range service.Tmpfs {
		if path, _, _ := strings.Cut(entry, ":"); path == target {
			n++
		}
	}
	for _, volume := range service.Volumes {
		if volume.Target == target {
			n++
		}
	}
	return n
}

// What one file says of another file's ports, addresses and bounds.
func TestFilesAgree(t *testing.T) {
	project, conf := compose(t), file(t, "nginx.conf")
	gateway := load(t, project.Services["gateway"].environment(t))
	said := func(pattern string) string {
		t.Helper()
		found := regexp.MustCompile(pattern).FindStringSubmatch(conf)
		if found == nil {
			t.Fatalf("nginx.conf has no %s", pattern)
		}
		return found[1]
	}
	equal(t, "nginx's upstream", said(`server (\S+) max_fails`), "gateway"+gateway.HTTP.Listen)
	nginx := project.Services["nginx"]
	equal(t, "nginx's port", said(`listen (\d+) default_server`), strconv.Itoa(nginx.Ports[0].Target))
	equal(t, "the trusted proxy", strings.Join(gateway.HTTP.TrustedProxies, " "), nginx.Networks["inner"].Address+"/32")
	const envelope = 1 << 20 // of a form besides its file, see app/gateway/upload.go
	equal(t, "client_max_body_size", said(`client_max_body_size (\d+)m;`), strconv.FormatInt((gateway.Media.MaxBytes+envelope)>>20, 10))
	equal(t, "the text about it", said(`视频不能超过(\d+)MB`), strconv.FormatInt(gateway.Media.MaxBytes>>20, 10))

	exposed := strings.Fields(instructions(t, "EXPOSE")[0])
	scraped := regexp.MustCompile(`[a-z-]+:9000`).FindAllString(file(t, "prometheus/prometheus.yml"), -1)
	for _, role := range roles() {
		cfg := load(t, project.Services[role].environment(t))
		if !slices.Contains(scraped, role+cfg.Admin.Listen) {
			t.Errorf("Prometheus does not ask %s at %s", role, cfg.Admin.Listen)
		}
		for _, listen := range []string{cfg.Admin.Listen, cfg.HTTP.Listen} {
			if !slices.Contains(exposed, strings.TrimPrefix(listen, ":")) {
				t.Errorf("%s listens on %s, which the image does not expose", role, listen)
			}
		}
	}
	equal(t, "services asked by Prometheus", len(scraped), len(roles()))
	equal(t, "the image's health check", strings.Join(words(t, instructions(t, "HEALTHCHECK")[0]), " "), "backbeat health")
	build := regexp.MustCompile(`FROM golang:(\S+)-bookworm`).FindStringSubmatch(file(t, "Dockerfile"))
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(file(t, "../go.mod"))
	if build == nil || !strings.HasPrefix(build[1], wanted[1]) {
		t.Errorf("the image is built with Go %v, go.mod wants %v", build, wanted)
	}
}
