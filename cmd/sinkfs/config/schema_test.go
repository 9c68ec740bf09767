package config_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
)

// schema is as much of JSON schema as ours uses.
type schema struct {
	Type        any               `json:"type"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
	Enum        []string          `json:"enum"`
	Pattern     string            `json:"pattern"`
	Required    []string          `json:"required"`
	Additional  *bool             `json:"additionalProperties"`
	Description string            `json:"description"`
	Default     any               `json:"default"`
}

func readSchema(t *testing.T) schema {
	t.Helper()
	data, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// check returns the first thing that v has wrong.
func (s schema) check(v any, at string) error {
	types := fmt.Sprint(s.Type)
	switch v := v.(type) {
	case map[string]any:
		for _, key := range s.Required {
			if _, ok := v[key]; !ok {
				return fmt.Errorf("%s: %s is required", at, key)
			}
		}
		for key, value := range v {
			p, known := s.Properties[key]
			if !known && (s.Additional == nil || !*s.Additional) {
				return fmt.Errorf("%s: %s is not known", at, key)
			}
			if err := p.check(value, at+"."+key); err != nil {
				return err
			}
		}
		return want(types, "object", at)
	case []any:
		for i, item := range v {
			if err := s.Items.check(item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return want(types, "array", at)
	case string:
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			return fmt.Errorf("%s: %q does not match %s", at, v, s.Pattern)
		}
		if s.Enum != nil && !strings.Contains(" "+strings.Join(s.Enum, " ")+" ", " "+v+" ") {
			return fmt.Errorf("%s: %q is not in %v", at, v, s.Enum)
		}
		return want(types, "string", at)
	case bool:
		return want(types, "boolean", at)
	case uint64:
		return want(types, "integer", at)
	}
	return fmt.Errorf("%s: %T", at, v)
}

func want(types, name, at string) error {
	if !strings.Contains(types, name) {
		return fmt.Errorf("%s: %s, want %s", at, name, types)
	}
	return nil
}

func TestSchemaTakesTheSample(t *testing.T) {
	var sample any
	if err := yaml.Unmarshal(config.Sample(), &sample); err != nil {
		t.Fatal(err)
	}
	if err := readSchema(t).check(sample, "sample"); err != nil {
		t.Error(err)
	}
}

func TestSchemaRefuses(t *testing.T) {
	for _, text := range []string{
		"chekpoint: {}", "checkpoint: {interval: soon}", "mode: fast", "sinks: [{kind: file}]", "sinks: [{path: /, rolling: {max_part_size: big}}]",
		"manifests: 1", "control: {mode: rw}", "store: {gcs: {}}",
	} {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if err := readSchema(t).check(v, "file"); err == nil {
			t.Errorf("%s: got no error", text)
		}
	}
}

func TestSchemaDescribesEveryKey(t *testing.T) {
	var walk func(at string, s schema)
	walk = func(at string, s schema) {
		for key, p := range s.Properties {
			if p.Description == "" {
				t.Errorf("%s.%s has no description", at, key)
			}
			walk(at+"."+key, p)
		}
		if s.Items != nil {
			walk(at+"[]", *s.Items)
		}
	}
	walk("", readSchema(t))
}

// TestSampleShowsEveryKey keeps the sample whole: each key of the schema
// stands in it, and the first sink and the rest are the defaults.
func TestSampleShowsEveryKey(t *testing.T) {
	var sample map[string]any
	if err := yaml.Unmarshal(config.Sample(), &sample); err != nil {
		t.Fatal(err)
	}
	var walk func(at string, s schema, v any)
	walk = func(at string, s schema, v any) {
		for key, p := range s.Properties {
			m, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("%s is %T", at, v)
			}
			value, ok := m[key]
			if !ok {
				t.Errorf("the sample lacks %s.%s", at, key)
				continue
			}
			walk(at+"."+key, p, value)
			if list, ok := value.([]any); ok && p.Items.Properties != nil {
				walk(at+"."+key+"[0]", *p.Items, list[0])
			}
		}
	}
	walk("", readSchema(t), sample)
}

func TestSampleIsTheDefaults(t *testing.T) {
	c, err := load(t, string(config.Sample()))
	if err != nil {
		t.Fatal(err)
	}
	none, err := config.Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	root := c.SinkList[0]
	root.Temporary = root.Temporary[:len(root.Temporary)-1] // the example of one more
	a, b := *c, *none
	a.Target, a.StateDir, a.SpoolDir, a.SinkList = "", "", "", []config.Sink{root}
	x, err := a.Show()
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Show()
	if err != nil {
		t.Fatal(err)
	}
	if string(x) != string(y) {
		t.Errorf("the sample says\n%s\nthe defaults are\n%s", x, y)
	}
}
