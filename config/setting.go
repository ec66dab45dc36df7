package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Setting is one key of a configuration for people to look at.
type Setting struct {
	// Name is its place, such as limits.user_rate.
	Name string
	// Value is the text that sets it, masked where it is a secret.
	Value string
	// Live is true when it may change while a process runs.
	Live bool
}

// Settings returns every key in the order of config.yaml.
func (c *Config) Settings() []Setting {
	keys := c.keys()
	all := make([]Setting, len(keys))
	for i, k := range keys {
		all[i] = Setting{Name: k.String(), Value: k.shown(), Live: k.live}
	}
	return all
}

// Setting returns the key of the name. Its error names the one that was meant, if
// there is one like it.
func (c *Config) Setting(name string) (Setting, error) {
	var like []string
	for _, s := range c.Settings() {
		if s.Name == name {
			return s, nil
		}
		if _, last, _ := strings.Cut(s.Name, "."); strings.HasSuffix(s.Name, "."+name) || strings.HasSuffix(name, last) {
			like = append(like, s.Name)
		}
	}
	err := fmt.Errorf("%s: there is no such key", name)
	if len(like) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(like, " or "))
	}
	return Setting{}, err
}

// LiveSetting returns the live key of the name. The error of one that is read at the
// start only says how it changes.
func (c *Config) LiveSetting(name string) (Setting, error) {
	s, err := c.Setting(name)
	if err == nil && !s.Live {
		err = fmt.Errorf("%s: is read at the start only: change it in the file or by a variable, and start again", name)
	}
	return s, err
}

// With returns a copy in which live keys have the values given as text. The error
// names every key that there is not, that is read at the start only, or whose value
// is unsound; then there is no copy.
func (c *Config) With(values map[string]string) (*Config, error) {
	changed := *c
	keys := map[string]key{}
	for _, k := range changed.keys() {
		keys[k.String()] = k
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, err := c.LiveSetting(name); err != nil {
			faults = append(faults, err)
		} else if err := keys[name].set(values[name]); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	if err := errors.Join(append(faults, faultsOf(changed.validateLive)...)...); err != nil {
		return nil, err
	}
	return &changed, nil
}

// WithLiveOf returns a copy with the live keys of another configuration.
func (c *Config) WithLiveOf(other *Config) *Config {
	changed := *c
	from := other.keys()
	for i, k := range changed.keys() {
		if k.live {
			k.value.Set(from[i].value)
		}
	}
	return &changed
}

// Change is one key whose value is another than before. Secrets are masked.
type Change struct {
	Name, Old, New string
	Live           bool
}

// Changes returns what differs in a configuration from the one before.
func Changes(before, after *Config) []Change {
	var all []Change
	from, to := before.keys(), after.keys()
	for i, k := range to {
		if from[i].text() != k.text() {
			all = append(all, Change{Name: k.String(), Old: from[i].shown(), New: k.shown(), Live: k.live})
		}
	}
	return all
}

// Origins returns where Load of the same takes each key from: "default", "file" or
// "variable". It does not say whether that is sound.
func Origins(path string, environ []string) (map[string]string, error) {
	written := map[string]any{}
	if path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := yaml.Unmarshal(content, &written); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	set := map[string]bool{}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		set[name] = true
	}
	origins := map[string]string{}
	for _, k := range Default().keys() {
		switch {
		case set[k.variable()], k.secret && set[k.variable()+fileSuffix]:
			origins[k.String()] = "variable"
		case holds(written, k.path):
			origins[k.String()] = "file"
		default:
			origins[k.String()] = "default"
		}
	}
	return origins, nil
}

// holds reports whether a document has a value at the path.
func holds(document map[string]any, path []string) bool {
	value, found := document[path[0]]
	if len(path) == 1 || !found {
		return found
	}
	section, _ := value.(map[string]any)
	return holds(section, path[1:])
}
