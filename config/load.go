package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// EnvPrefix starts the name of every environment variable that sets a key.
const EnvPrefix = "BACKBEAT_"

// Not keys: FileVariable names the YAML file, those with testPrefix belong to
// the project's own tests.
const (
	FileVariable = EnvPrefix + "CONFIG"
	testPrefix   = EnvPrefix + "TEST_"
	fileSuffix   = "_FILE"
)

// Load returns the defaults, overridden by the YAML file at path unless path is
// empty, overridden by environ (as of os.Environ). It reports all faults at once.
func Load(path string, environ []string) (*Config, error) {
	var content []byte
	var err error
	if path != "" {
		content, err = os.ReadFile(path)
	}
	cfg, faults := parse(path, content, environ)
	if err := errors.Join(append([]error{err}, faults...)...); err != nil {
		return nil, err
	}
	return cfg, nil
}

// Parse is Load of a file of the given name that holds content.
func Parse(name string, content []byte, environ []string) (*Config, error) {
	cfg, faults := parse(name, content, environ)
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return cfg, nil
}

func parse(name string, content []byte, environ []string) (*Config, []error) {
	cfg := Default()
	var faults []error
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(cfg); err != nil && !errors.Is(err, io.EOF) { // EOF: an empty file
		faults = append(faults, fmt.Errorf("%s: %w", name, err))
	}
	faults = append(faults, cfg.readEnviron(environ)...)
	return cfg, append(faults, cfg.Validate()...)
}

// readEnviron sets every key that a variable names and returns what was wrong.
func (c *Config) readEnviron(environ []string) []error {
	var faults []error
	keys := map[string]key{}
	for _, k := range c.keys() {
		keys[k.variable()] = k
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, EnvPrefix) || name == FileVariable || strings.HasPrefix(name, testPrefix) {
			continue
		}
		k, known := keys[name]
		if base, isFile := strings.CutSuffix(name, fileSuffix); !known && isFile && keys[base].secret {
			content, err := os.ReadFile(value)
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", name, err))
				continue
			}
			k, known, value = keys[base], true, strings.TrimSpace(string(content))
		}
		if !known {
			faults = append(faults, fmt.Errorf("%s: there is no such key", name))
			continue
		}
		if err := k.set(value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	return faults
}

// key is one leaf of the configuration.
type key struct {
	// path is its place, such as [http listen].
	path         []string
	secret, live bool
	value        reflect.Value
}

// keys returns every leaf in the order of the struct.
func (c *Config) keys() []key {
	var found []key
	var walk func(path []string, v reflect.Value)
	walk = func(path []string, v reflect.Value) {
		for i := range v.NumField() {
			field := v.Type().Field(i)
			at := append(append([]string(nil), path...), field.Tag.Get("yaml"))
			if field.Type.Kind() == reflect.Struct {
				walk(at, v.Field(i))
				continue
			}
			found = append(found, key{at, field.Tag.Get("secret") == "true", field.Tag.Get("live") == "true", v.Field(i)})
		}
	}
	walk(nil, reflect.ValueOf(c).Elem())
	return found
}

func (k key) String() string { return strings.Join(k.path, ".") }

// variable returns the environment variable that sets the key.
func (k key) variable() string { return EnvPrefix + strings.ToUpper(strings.Join(k.path, "_")) }

// set parses text as YAML would; a list is separated by commas.
func (k key) set(text string) error {
	switch target := k.value.Addr().Interface().(type) {
	case *string:
		*target = text
		return nil
	case *[]string:
		*target = nil
		for _, item := range strings.Split(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*target = append(*target, item)
			}
		}
		return nil
	case *time.Duration:
		return parseAs(target, text, time.ParseDuration)
	case *bool:
		return parseAs(target, text, strconv.ParseBool)
	case *float64:
		return parseAs(target, text, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
	case *int:
		return parseAs(target, text, strconv.Atoi)
	case *int64:
		return parseAs(target, text, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
	default:
		return fmt.Errorf("a key of type %T cannot be set", target)
	}
}

// text returns the value in the form that set reads.
func (k key) text() string {
	switch value := k.value.Interface().(type) {
	case []string:
		return strings.Join(value, ",")
	default: // prints the rest as its parser reads it
		return fmt.Sprint(value)
	}
}

// shown is text for people to see: a secret is masked, each of a list by itself.
func (k key) shown() string {
	if !k.secret || k.text() == "" {
		return k.text()
	}
	if list, ok := k.value.Interface().([]string); ok {
		shown := make([]string, len(list))
		for i, secret := range list {
			shown[i] = masked(secret)
		}
		return strings.Join(shown, ",")
	}
	return masked(k.text())
}

func parseAs[T any](target *T, text string, read func(string) (T, error)) error {
	value, err := read(text)
	if err != nil {
		return fmt.Errorf("%q is no %T", text, *target)
	}
	*target = value
	return nil
}

const mask = "******"

// Show returns the configuration as YAML with its secrets masked.
func (c *Config) Show() (string, error) {
	shown := *c
	for _, k := range shown.keys() {
		if k.secret {
			if err := k.set(k.shown()); err != nil { // cannot be: masked text is text
				return "", err
			}
		}
	}
	out, err := yaml.Marshal(&shown)
	return string(out), err
}

// masked hides a secret; of an address with a password only the password, since
// the rest is what an operator looks for.
func masked(secret string) string {
	u, err := url.Parse(secret)
	if err != nil || u.Host == "" && u.Scheme != "sqlite" {
		return mask
	}
	dropped := u.RawQuery + u.Fragment
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), mask)
	}
	// A parameter may hold a password too; none of ours needs showing. Where an @
	// is left over, a # or / that nobody escaped has cut the password in two.
	u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
	if strings.Contains(u.Path+dropped, "@") {
		return mask
	}
	return u.String()
}
