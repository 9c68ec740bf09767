package config

import (
	"github.com/goccy/go-yaml"
)

// Show is the effective configuration as YAML that Load reads again. There is
// no secret in it because no key takes one.
func (c *Config) Show() ([]byte, error) {
	return yaml.MarshalWithOptions(c, yaml.IndentSequence(true), yaml.Flow(false))
}
