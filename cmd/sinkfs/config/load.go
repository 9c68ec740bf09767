package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
)

// EnvPrefix begins the variables that set keys: checkpoint.commit_timeout is
// SINKFS_CHECKPOINT_COMMIT_TIMEOUT. Sinks have none. Other variables with the
// prefix mean nothing: Kubernetes sets some for a service named sinkfs.
const EnvPrefix = "SINKFS_"

// Override is one value from a flag; it wins over file and environment.
type Override struct {
	Key   string // as in the file, dots between: checkpoint.interval
	Value string
	Flag  string // for messages: --checkpoint-interval
}

// Load reads the file (none when path is ""), below it the SINKFS_* variables
// of environ ("KEY=value"), above it the overrides. What it returns is
// complete: defaults are filled in, a sink at / exists, local paths are
// absolute. Only the target may be missing, see Resolve. Errors are Errors,
// each with its place.
func Load(path string, environ []string, over ...Override) (*Config, error) {
	c := defaults()
	if err := c.environment(environ); err != nil {
		return nil, err
	}
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if err := decodeFile(c, path, data); err != nil {
			return nil, err
		}
	}
	for _, o := range over {
		if err := c.set(o.Key, o.Value, place(o.Flag)); err != nil {
			return nil, err
		}
	}
	return c, c.complete()
}

func (c *Config) environment(environ []string) error {
	values := map[string]string{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, EnvPrefix) {
			values[name] = value
		}
	}
	for _, key := range everyKey(reflect.TypeFor[Config](), "") {
		name := EnvName(key)
		value, ok := values[name]
		if !ok || value == "" || strings.Contains(key, "[]") {
			continue
		}
		if _, _, ok := find(reflect.ValueOf(c).Elem(), key); !ok {
			continue // a group or a list
		}
		if err := c.set(key, value, place(name)); err != nil {
			return err
		}
	}
	return nil
}

// EnvName is the variable that sets a key.
func EnvName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// set gives one key its value, from a place that is not the file.
func (c *Config) set(key, value string, from place) error {
	v, f, ok := find(reflect.ValueOf(c).Elem(), key)
	if !ok {
		return Errors{{Place: string(from), Text: fmt.Sprintf("key %q cannot be set here, set it in the file", key)}}
	}
	if err := setScalar(v, f, value); err != nil {
		return Errors{{Place: string(from), Text: err.Error()}}
	}
	c.origin[key] = from
	return nil
}

// find is the single value with a key; ok is false for groups and lists.
func find(v reflect.Value, key string) (value reflect.Value, field reflect.StructField, ok bool) {
	first, rest, nested := strings.Cut(key, ".")
	fieldsOf(v.Type(), func(k string, f reflect.StructField) {
		if k == first {
			value, field, ok = v.FieldByIndex(f.Index), f, true
		}
	})
	if !ok || value.Kind() == reflect.Slice || isGroup(value.Type()) != nested {
		return value, field, false
	}
	if nested {
		return find(value, rest)
	}
	return value, field, true
}
