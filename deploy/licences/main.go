// Command licences writes .github/LICENCES.md: the modules of which parts are in the
// program, each with its licence as its own file has it. A module whose licence it
// can't read, or that is not among those it knows to be fit for a program under MIT,
// is an error. Run it from the module's root (make generate).
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

const target = ".github/LICENCES.md"

// fit are licences that ask for no more than to be named.
var fit = []string{"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "MPL-2.0"}

// names are those of licence files, without extension and in lower case.
var names = []string{"license", "licence", "copying"}

// covers is how much of a licence file its licence has to be, in percent: files name
// authors beside it.
const covers = 75

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run() error {
	modules, err := list()
	if err != nil {
		return err
	}
	var faults []error
	page := bytes.NewBufferString("# Licences of what Backbeat is made of\n\nWritten by `make generate`. Backbeat itself is under the MIT licence; " +
		"the program holds parts of the Go library (BSD-3-Clause) and of these modules:\n\n| module | version | licence |\n|---|---|---|\n")
	for _, m := range modules {
		licences, err := m.licences()
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", m.path, err))
			continue
		}
		fmt.Fprintf(page, "| %s | %s | %s |\n", m.path, m.version, strings.Join(licences, ", "))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return os.WriteFile(target, page.Bytes(), 0o644)
}

// module is what a part of the program comes from.
type module struct{ path, version, dir string }

// list returns the modules of the packages in the program, by path, and not our own.
func list() ([]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if .Version}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}", "./app")
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	printed, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	lines := strings.FieldsFunc(string(printed), func(r rune) bool { return r == '\n' })
	slices.Sort(lines)
	var modules []module
	for _, line := range slices.Compact(lines) {
		fields := strings.SplitN(line, " ", 3)
		modules = append(modules, module{fields[0], fields[1], fields[2]})
	}
	return modules, nil
}

// licences returns the names of the licences in the module's folder.
func (m module) licences() ([]string, error) {
	var found []string
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		stem, _, _ := strings.Cut(strings.ToLower(entry.Name()), ".")
		if entry.IsDir() || !slices.Contains(names, stem) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		coverage := licensecheck.Scan(text)
		if coverage.Percent < covers {
			return nil, fmt.Errorf("%s is no licence that is known: %.0f %% of it are", entry.Name(), coverage.Percent)
		}
		for _, match := range coverage.Match {
			if !slices.Contains(fit, match.ID) {
				return nil, fmt.Errorf("%s has %s", entry.Name(), match.ID)
			}
			if !slices.Contains(found, match.ID) {
				found = append(found, match.ID)
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.New("it has no licence")
	}
	return found, nil
}
