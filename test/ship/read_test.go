package ship

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"backbeat/app/boot"
	"backbeat/config"
	"backbeat/deploy/local"
)

// deploy is the folder, seen from this package's.
const deploy = "../../deploy"

// read has the tool read a file or folder of deploy/ and decodes what it prints.
func read[T any](t *testing.T, kind, path string) T {
	t.Helper()
	tool, err := local.Tool(t.Context(), "manifests")
	if err != nil {
		t.Fatal(err)
	}
	var printed, faults bytes.Buffer
	command := exec.CommandContext(t.Context(), tool, kind, filepath.Join(deploy, path))
	command.Stdout, command.Stderr = &printed, &faults
	if err := command.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, &faults)
	}
	var decoded T
	if err := json.Unmarshal(printed.Bytes(), &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func file(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(deploy, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// instructions returns the arguments of a Dockerfile's instruction of this name,
// of its last stage.
func instructions(t *testing.T, name string) []string {
	t.Helper()
	joined := strings.ReplaceAll(file(t, "Dockerfile"), "\\\n", " ")
	last := joined[strings.LastIndex(joined, "\nFROM "):]
	var found []string
	for _, line := range regexp.MustCompile(`(?m)^`+name+`\s+(.*)$`).FindAllStringSubmatch(last, -1) {
		found = append(found, line[1])
	}
	if len(found) == 0 {
		t.Fatalf("the Dockerfile has no %s", name)
	}
	return found
}

// words decodes the list that an instruction has: ["a", "b"].
func words(t *testing.T, list string) []string {
	t.Helper()
	var decoded []string
	if err := json.Unmarshal([]byte(list[strings.Index(list, "["):]), &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

// imageEnv are the variables that the image sets.
func imageEnv(t *testing.T) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, line := range instructions(t, "ENV") {
		for _, entry := range strings.Fields(line) {
			name, value, _ := strings.Cut(entry, "=")
			env[name] = value
		}
	}
	return env
}

// secrets runs deploy/secrets.sh, once, and returns the folder it fills.
func secrets(t *testing.T) string {
	t.Helper()
	dir, err := madeSecrets()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var madeSecrets = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "backbeat-ship-")
	if err != nil {
		return "", err
	}
	script, err := os.ReadFile(filepath.Join(deploy, "secrets.sh"))
	if err != nil {
		return "", err
	}
	copied := filepath.Join(dir, "secrets.sh")
	if err := os.WriteFile(copied, script, 0o755); err != nil {
		return "", err
	}
	if out, err := exec.Command(copied).CombinedOutput(); err != nil {
		return "", fmt.Errorf("secrets.sh: %w\n%s", err, out)
	}
	return filepath.Join(dir, "secrets"), nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := madeSecrets(); err == nil {
		_ = os.RemoveAll(filepath.Dir(dir)) // in the system's temporary folder
	}
	os.Exit(code)
}

// load is what a container with these variables has for a configuration. Secrets
// are looked for where secrets.sh puts them.
func load(t *testing.T, env map[string]string) *config.Config {
	t.Helper()
	var environ []string
	for name, value := range env {
		if path, isSecret := strings.CutPrefix(value, "/run/secrets/"); isSecret {
			value = filepath.Join(secrets(t), path)
		}
		environ = append(environ, name+"="+value)
	}
	cfg, err := config.Load("", environ)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(slices.Sorted(maps.Keys(env)), " "))
	}
	return cfg
}

// roles are the names of all of them.
func roles() []string {
	var names []string
	for _, r := range boot.Roles() {
		names = append(names, r.Role)
	}
	return names
}

// mounted are the secrets that variables name.
func mounted(env map[string]string) []string {
	var paths []string
	for _, value := range env {
		if strings.HasPrefix(value, "/run/secrets/") {
			paths = append(paths, value)
		}
	}
	slices.Sort(paths)
	return paths
}

// pinned reports an image whose name leaves open what is run: its tag must hold a
// number.
func pinned(t *testing.T, image string) {
	t.Helper()
	_, tag, _ := strings.Cut(filepath.Base(image), ":")
	if !strings.ContainsAny(tag, "0123456789") && image != "backbeat:dev" {
		t.Errorf("the image %s is not pinned", image)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}
