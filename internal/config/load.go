package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// Sources is where settings come from: a flag wins over the environment, the
// environment over the file.
type Sources struct {
	// Flag returns the value of a flag (see FlagName) and whether it was given. nil: there are none.
	Flag func(name string) (value string, given bool)
	// Environ is the environment, as os.Environ returns it.
	Environ []string
	// File is the configuration file that is read where none is named, if it
	// exists. Empty: none.
	File string
}

// given is a value that was set, and where.
type given struct {
	text   string
	origin string
	path   bool // the value is the path of a secret's file
}

// Load reads and checks the settings. The error has a line for everything that is
// wrong with them, and no secret.
func Load(s Sources) (*Config, error) {
	c := &Config{origins: map[string]string{}}
	values, err := s.read(c)
	if err != nil {
		return nil, err
	}
	var wrong []error
	for i := range settings {
		wrong = append(wrong, c.apply(&settings[i], values))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	if err := c.complete(s.variables()); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

// apply sets one setting to its default, and then to what was given.
func (c *Config) apply(s *setting, values map[string]given) error {
	v := s.value(c)
	if s.standard != "" {
		if err := v.set(s.standard); err != nil {
			return fmt.Errorf("%s: the default is wrong: %w", s.name, err)
		}
	}
	g, ok := values[s.name]
	if !ok {
		return nil
	}
	c.origins[s.name] = g.origin
	err := g.set(v)
	switch {
	case err == nil:
		return nil
	case s.secret:
		return fmt.Errorf("%s (%s) is wrong: %w", s.name, g.origin, err)
	}
	return fmt.Errorf("%s (%s) is wrong: %w, not %q", s.name, g.origin, err, g.text)
}

func (g *given) set(v value) error {
	if secret, ok := v.(interface{ setFile(path string) error }); ok && g.path {
		return secret.setFile(g.text)
	}
	return v.set(g.text)
}

// read collects what was set anywhere, by setting.
func (s *Sources) read(c *Config) (map[string]given, error) {
	variables := s.variables()
	fromEnvironment, wrong := readEnvironment(variables)
	path, origin, err := s.configFile(variables)
	if err != nil {
		return nil, errors.Join(err, wrong)
	}
	c.file, c.origins[configName] = path, origin
	values := map[string]given{}
	if path != "" {
		var wrongFile error
		values, wrongFile = readFile(path)
		wrong = errors.Join(wrongFile, wrong)
	}
	if wrong != nil {
		return nil, wrong
	}
	maps.Copy(values, fromEnvironment)
	for i := range settings {
		name := settings[i].name
		if text, ok := s.flag(name); ok {
			values[name] = given{text: text, origin: "flag --" + FlagName(name), path: settings[i].secret && !settings[i].onFlag}
		}
	}
	return values, nil
}

func (s *Sources) flag(name string) (string, bool) {
	if s.Flag == nil {
		return "", false
	}
	return s.Flag(FlagName(name))
}

// variables are the environment variables that are meant for us.
func (s *Sources) variables() map[string]string {
	all := map[string]string{}
	for _, line := range s.Environ {
		name, text, _ := strings.Cut(line, "=")
		all[name] = text
	}
	return all
}

// configFile is the file to read, and who named it; a file that was named must exist.
func (s *Sources) configFile(variables map[string]string) (path, origin string, err error) {
	origin = originDefault
	if text, named := s.flag(configName); named {
		path, origin = text, "flag --"+FlagName(configName)
	} else if text, named := variables[EnvironmentName(configName)]; named {
		path, origin = text, "environment "+EnvironmentName(configName)
	} else if _, err := os.Stat(s.File); !errors.Is(err, fs.ErrNotExist) {
		path = s.File
	}
	if path == "" {
		return "", origin, nil
	}
	if _, err := os.Stat(path); err != nil {
		return "", "", fmt.Errorf("config: the file cannot be read: %w", err)
	}
	return path, origin, nil
}

// foreign are variables that begin like ours and are no settings: Kubernetes makes them
// for services, cobra for completion, and `counterfoil bench` has some of its own.
var foreign = regexp.MustCompile(`^COUNTERFOIL_((\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)|BENCH_\w+|ACTIVE_HELP|COMPLETION_DESCRIPTIONS)$`)

func readEnvironment(variables map[string]string) (map[string]given, error) {
	values := map[string]given{}
	var wrong []error
	for _, variable := range slices.Sorted(maps.Keys(variables)) {
		name, ours := strings.CutPrefix(variable, environmentPrefix)
		if !ours || foreign.MatchString(variable) || variable == EnvironmentName(configName) {
			continue
		}
		s, path := lookUp(strings.ToLower(name))
		if s == nil || name != strings.ToUpper(name) {
			wrong = append(wrong, fmt.Errorf("there is no setting for the environment variable %s%s", variable, suggest(strings.ToLower(name), EnvironmentName)))
			continue
		}
		wrong = append(wrong, put(values, s, given{text: variables[variable], origin: "environment " + variable, path: path}))
	}
	return values, errors.Join(wrong...)
}

func readFile(path string) (map[string]given, error) {
	k := koanf.New(".")
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		return nil, fmt.Errorf("config: the file %s cannot be read: %w", path, err)
	}
	raw := k.Raw()
	values := map[string]given{}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		s, isPath := lookUp(key)
		if s == nil {
			wrong = append(wrong, fmt.Errorf("there is no setting %s (file %s)%s", key, path, suggest(key, func(name string) string { return name })))
			continue
		}
		text, err := scalar(raw[key])
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s (file %s) is wrong: %w", key, path, err))
			continue
		}
		wrong = append(wrong, put(values, s, given{text: text, origin: "file " + path + ":" + key, path: isPath}))
	}
	return values, errors.Join(wrong...)
}

// put remembers a value; a secret and its file cannot both be set in one place.
func put(values map[string]given, s *setting, g given) error {
	if other, twice := values[s.name]; twice {
		return fmt.Errorf("%s is set twice: %s and %s", s.name, other.origin, g.origin)
	}
	values[s.name] = g
	return nil
}

// scalar turns a value of the file into text: a list becomes comma-separated.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", errors.New(`it has no value; write "" for an empty one`)
	case string:
		return v, nil
	case bool, int, int64, uint64:
		return fmt.Sprint(v), nil
	case []any:
		return sequence(v)
	}
	return "", errors.New("want a text, a number, true or false, or a sequence of texts")
}

func sequence(items []any) (string, error) {
	var all []string
	for _, item := range items {
		text, isText := item.(string)
		if !isText || strings.Contains(text, ",") {
			return "", errors.New("want a sequence of texts without commas")
		}
		all = append(all, text)
	}
	return strings.Join(all, ","), nil
}

// lookUp finds a setting by its name, or by the name of a secret's file.
func lookUp(name string) (s *setting, path bool) {
	for i := range settings {
		switch {
		case settings[i].name == name:
			return &settings[i], false
		case settings[i].secret && settings[i].name+fileSuffix == name:
			return &settings[i], true
		}
	}
	return nil, false
}

// complete computes the defaults that depend on the machine or on other settings.
func (c *Config) complete(variables map[string]string) error {
	set := func(name string) bool { return c.Origin(name) != originDefault }
	if !set("data") {
		data, err := defaultData(variables)
		if err != nil {
			return err
		}
		c.Data = data
	}
	if c.Issuer == "" {
		delete(c.origins, "issuer")
		c.Issuer = c.defaultIssuer()
	}
	if !set("password_concurrency") {
		c.PasswordConcurrency = runtime.GOMAXPROCS(0)
	}
	if !set("password_queue") {
		c.PasswordQueue = 2 * c.PasswordConcurrency
	}
	return nil
}

// defaultData is /var/lib/counterfoil where that is, or can become, a directory to
// write to; else a directory of the user's (XDG base directory specification).
func defaultData(variables map[string]string) (string, error) {
	const system, parent = "/var/lib/counterfoil", "/var/lib"
	if writable(system) {
		return system, nil
	}
	if _, err := os.Lstat(system); errors.Is(err, fs.ErrNotExist) && writable(parent) {
		return system, nil
	}
	if state := variables["XDG_STATE_HOME"]; filepath.IsAbs(state) {
		return filepath.Join(state, "counterfoil"), nil
	}
	if home := variables["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "counterfoil"), nil
	}
	return "", errors.New("data is not set, and there is no default: /var/lib/counterfoil cannot be written, and neither XDG_STATE_HOME nor HOME is an absolute path")
}
