package config

// Load reads the file (none when path is ""), below it the SINKFS_* variables
// of environ ("KEY=value"), above it the overrides. What it returns is
// complete: defaults are filled in, a sink at / exists, paths are absolute.
// Errors wrap ErrInvalid and name file, line and column.
func Load(path string, environ []string, over ...Override) (*Config, error) {
	return nil, ErrInvalid
}
