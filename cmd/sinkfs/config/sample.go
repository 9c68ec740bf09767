package config

import _ "embed"

//go:embed sample.yaml
var sample []byte

// Sample is a commented configuration with every key.
func Sample() []byte { return sample }
