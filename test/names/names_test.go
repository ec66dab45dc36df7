package names

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"backbeat/app/command"
	"backbeat/config"
	"backbeat/test/harness"
)

// root is the repository, seen from here.
const root = "../.."

// kind is one kind of name.
type kind struct {
	what string
	// in finds names in a line, in the last of its groups that matched.
	in *regexp.Regexp
	// exists reports whether there is what a line names.
	exists func(name, line string) bool
}

func TestEveryNameExists(t *testing.T) {
	kinds := []kind{
		{"path", regexp.MustCompile(`(?:^|[^\w./$}-])((?:app|idl|proto|mq|model|config|test|deploy|\.github|\.ci)/[\w.*/<>-]*)`), paths(t)},
		{"make target", regexp.MustCompile("(?:^|[`#:|>] *|=\\S* |run: )make ([a-z][a-z-]*)"), targets(t)},
		{"variable of make", regexp.MustCompile(`\bmake [a-z-]+ (?:[A-Z]+=\S+ )*([A-Z]+=[\w-]*)`), makeVariables(t)},
		{"command", regexp.MustCompile("(?:^|[`#|(\"] *|&& |kubectl exec [^`]*-- )(?:BACKBEAT_\\S+ )*(?:backbeat|go run \\./app|bin/backbeat) ((?:-config \\S+ )?[a-z][\\w-]*(?: [^`#|)\"&>]*)?)"), commands(t)},
		{"key", regexp.MustCompile(`(?:^|[^\w./@-])((?:` + strings.Join(sections(t), "|") + `)\.(?:[a-z0-9_]+(?:\.[a-z0-9_]+)*|\*))(?:[^\w(/:.-]|\.(?:\s|$)|$)`), keys(t)},
		{"variable", regexp.MustCompile(`(?:^|[^\w$])(BACKBEAT_[A-Z0-9_]*[A-Z0-9])`), variable},
		{"metric", regexp.MustCompile(`(?:^|[^\w/:-])(backbeat_[a-z0-9_]+)`), metrics(t)},
	}
	found := map[string]int{}
	for _, path := range texts(t) {
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for number, line := range strings.Split(string(content), "\n") {
			for _, k := range kinds {
				for _, match := range k.in.FindAllStringSubmatch(line, -1) {
					name := strings.TrimRight(match[1], ".: ")
					found[k.what]++
					if !k.exists(name, line) {
						t.Errorf("%s:%d: there is no %s %q", path, number+1, k.what, name)
					}
				}
			}
			for _, name := range completed(line) {
				if !variable(name, line) {
					t.Errorf("%s:%d: there is no variable %q", path, number+1, name)
				}
			}
		}
		if filepath.Ext(path) == ".md" {
			links(t, path, string(content))
		}
	}
	t.Log("names followed:", found)
	for what, least := range map[string]int{"path": 100, "make target": 40, "variable of make": 10, "command": 30, "key": 20, "variable": 50} {
		if found[what] < least {
			t.Errorf("only %d names of the kind %q were found", found[what], what)
		}
	}
}

// texts are the files that are read, by their paths in the repository.
func texts(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md"}
	for _, folder := range []string{".github", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				if entry != nil && entry.Name() == "secrets" {
					return fs.SkipDir
				}
				return err
			}
			// The list of licences is made of other people's words.
			if filepath.Ext(path) != ".go" && entry.Name() != "LICENCES.md" {
				path, err = filepath.Rel(root, path)
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// paths knows what lies in the repository, and what git ignores since it is made.
func paths(t *testing.T) func(name, line string) bool {
	ignored := strings.Fields(read(t, ".gitignore"))
	return func(name, _ string) bool {
		pattern := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(strings.TrimRight(name, "/"), "*")
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err == nil && len(found) > 0 {
			return true
		}
		return slices.ContainsFunc(ignored, func(made string) bool {
			made = strings.Trim(made, "/")
			folders := strings.Split(name, "/")
			depth := strings.Count(made, "/") + 1
			is, err := filepath.Match(made, strings.Join(folders[:min(depth, len(folders))], "/"))
			return is && err == nil
		})
	}
}

// links follows what a page links in the repository, headings included.
func links(t *testing.T, path, content string) {
	t.Helper()
	for number, line := range strings.Split(content, "\n") {
		for _, match := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(line, -1) {
			target, heading, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
			}
			linked, err := os.ReadFile(filepath.Join(root, file))
			if err != nil || heading != "" && !slices.Contains(headings(string(linked)), heading) {
				t.Errorf("%s:%d: the link %q leads nowhere", path, number+1, match[1])
			}
		}
	}
}

// headings returns the anchors that GitHub makes of a page's headings.
func headings(page string) []string {
	var found []string
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N}\s_-]`).ReplaceAllString(strings.ToLower(match[1]), "")
		found = append(found, strings.ReplaceAll(kept, " ", "-"))
	}
	return found
}

// targets knows those of the Makefile.
func targets(t *testing.T) func(name, line string) bool {
	makefile := read(t, "Makefile")
	return func(name, _ string) bool {
		return regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `:`).MatchString(makefile)
	}
}

// makeVariables knows which a target takes, and the cases of make fault.
func makeVariables(t *testing.T) func(name, line string) bool {
	makefile := read(t, "Makefile")
	var cases strings.Builder
	sources, err := filepath.Glob(filepath.Join(root, "test/fault/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		cases.WriteString(read(t, strings.TrimPrefix(source, root+"/")))
	}
	return func(assigned, _ string) bool {
		name, value, _ := strings.Cut(assigned, "=")
		if name == "CASE" && value != "name" && value != "" && !strings.Contains(cases.String(), fmt.Sprintf("%q", value)) {
			return false
		}
		return strings.Contains(makefile, "$("+name+")")
	}
}

// commands knows those of the program and their flags: it asks it for its help.
func commands(t *testing.T) func(name, line string) bool {
	help := help(t, "help")
	flags := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^  ([a-z-]+).*\[-`).FindAllStringSubmatch(help, -1) {
		flags[match[1]] = help + helpOf(t, match[1])
	}
	return func(said, _ string) bool {
		words := strings.Fields(said)
		if words[0] == "-config" {
			words = words[2:]
		}
		if len(words) == 0 {
			return true
		}
		usage := regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(words[0]) + `( .*|$)`).FindString(help)
		if usage == "" {
			return words[0] == "help"
		}
		verbs := regexp.MustCompile(`(?:^  [a-z]+ |\| |\[)([a-z-]+)`).FindAllStringSubmatch(strings.SplitN(usage[2:]+"  ", "  ", 2)[0], -1)
		for n, word := range words[1:] {
			word = strings.TrimRight(word, ".,;…")
			switch {
			case word == "-h", word == "-help":
			case regexp.MustCompile(`^-[a-z]+$`).MatchString(word):
				if !regexp.MustCompile(regexp.QuoteMeta(word) + `\b`).MatchString(flags[words[0]]) {
					return false
				}
			case n == 0 && len(verbs) > 0 && regexp.MustCompile(`^[a-z][a-z-]+$`).MatchString(word):
				if !strings.Contains(usage, word) {
					return false
				}
			}
		}
		return true
	}
}

func help(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := command.Execute(t.Context(), args, nil, &out, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// helpOf returns the flags of a command. That they were asked for is its error.
func helpOf(t *testing.T, name string) string {
	t.Helper()
	var out bytes.Buffer
	_ = command.Execute(t.Context(), []string{name, "-help"}, nil, &out, &out)
	if !strings.Contains(out.String(), "  -") {
		t.Fatalf("%s -help says %q", name, &out)
	}
	return out.String()
}

// tree returns the configuration's keys.
func tree(t *testing.T) map[string]any {
	t.Helper()
	text, err := yaml.Marshal(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := yaml.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	return keys
}

func sections(t *testing.T) []string {
	t.Helper()
	var names []string
	for name := range tree(t) {
		names = append(names, name)
	}
	return names
}

// keys knows those of the configuration's file; redis.conf is a file itself.
func keys(t *testing.T) func(name, line string) bool {
	all := tree(t)
	return func(name, _ string) bool {
		if slices.Contains([]string{".conf", ".yaml"}, filepath.Ext(name)) {
			return true
		}
		var at any = all
		for _, part := range strings.Split(name, ".") {
			section, is := at.(map[string]any)
			if part == "*" && is {
				return true
			}
			if at, is = section[part]; !is {
				return false
			}
		}
		return true
	}
}

// variable asks the configuration. What compose.yaml fills in itself is none of its
// keys.
func variable(name, line string) bool {
	if strings.Contains(line, "${"+name) {
		return true
	}
	_, err := config.Load("", []string{name + "="})
	return err == nil || !strings.Contains(err.Error(), name+": there is no such key")
}

// completed returns the variables of which a line says only how they differ from
// those before: `BACKBEAT_S3_ENDPOINT`, `_BUCKET`.
func completed(line string) []string {
	var names []string
	section := ""
	for _, match := range regexp.MustCompile("`(BACKBEAT_[A-Z0-9]+)?(_[A-Z_]+)`").FindAllStringSubmatch(line, -1) {
		if match[1] != "" {
			section = match[1]
		} else if section != "" {
			names = append(names, section+match[2])
		}
	}
	return names
}

// metrics knows what a process with every role shows. A family that has counted
// nothing yet is not shown: it is looked for where families are declared.
func metrics(t *testing.T) func(name, line string) bool {
	t.Helper()
	declared := map[string]bool{}
	for _, folder := range []string{"app", "mq", "model"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, match := range regexp.MustCompile(`"(backbeat_[a-z_]+)",`).FindAllStringSubmatch(string(source), -1) {
				declared[match[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	shown := scrape(t)
	for family := range shown {
		if !declared[family] {
			t.Errorf("metric %s is shown, but not found where it is declared", family)
		}
	}
	return func(name, _ string) bool {
		family := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		return declared[name] || family != name && (shown[family] == "histogram" || shown[family] == "" && declared[family])
	}
}

// scrape returns the families that everything in one process shows, with their types.
func scrape(t *testing.T) map[string]string {
	t.Helper()
	admin, gateway := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	printed := &harness.Buffer{}
	go func() {
		ended <- command.Execute(ctx, []string{"run"}, []string{
			"BACKBEAT_DATA_DIR=" + t.TempDir(), "BACKBEAT_HTTP_LISTEN=" + gateway, "BACKBEAT_ADMIN_LISTEN=" + admin,
		}, printed, printed)
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	harness.Eventually(t, time.Minute, func() error {
		if !strings.Contains(printed.String(), "Ctrl-C") {
			return fmt.Errorf("it prints %s", printed)
		}
		return nil
	}, "starting everything")
	harness.NewApp("http://"+gateway).Get(t, "/douyin/feed/")
	answer, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (backbeat_\w+) (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		families[match[1]] = match[2]
	}
	if len(families) < 10 {
		t.Errorf("it shows %v", families)
	}
	return families
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
