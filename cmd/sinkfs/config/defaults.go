package config

import "time"

// defaults is what a file without keys means.
func defaults() *Config {
	return &Config{
		origin:         origin{},
		Mode:           "streaming",
		ReadUnfinished: "owner",
		SourceTTL:      Duration(24 * time.Hour),
		Checkpoint: Checkpoint{
			Interval:      Duration(time.Minute),
			Timeout:       Duration(10 * time.Minute),
			CommitTimeout: Duration(30 * time.Second),
			Retain:        10,
			AlarmAfter:    Duration(3 * time.Minute),
		},
		Control: Control{Mode: 0o600},
	}
}

// defaultSink is a sink without keys. What depends on its kind is filled in
// by complete.
func defaultSink() Sink {
	return Sink{
		Kind:   "stream",
		Format: "raw",
		Rolling: Rolling{
			MaxPartSize:        128 << 20,
			RolloverInterval:   Duration(time.Minute),
			InactivityInterval: Duration(time.Minute),
			CheckInterval:      Duration(time.Minute),
		},
		Names:     Names{Prefix: "part"},
		Coalesce:  true,
		Temporary: []string{".*", "*~", "*.tmp", "*.part", "*.partial", "*.swp", "*.lock", "*.pid"},
		Rotated:   rotatedGlobs(),
		Whole: []string{
			"*.parquet", "*.orc", "*.avro", "*.gz", "*.zst", "*.bz2", "*.xz", "*.lz4", "*.zip", "*.tar", "*.tgz",
			"*.dump", "*.bak", "*.jar", "*.db", "*.sqlite",
		},
		MaxRecord: 16 << 20,
		Torn:      "publish",
		OnUnknown: "restage",
	}
}

// rotatedGlobs are the names that logrotate gives by default: numbers of one
// or two digits, plain and compressed. Names with a date or a long number are
// left out: rotatelogs and Tomcat write to such names.
func rotatedGlobs() []string {
	var globs []string
	for _, number := range []string{"*.log.[1-9]", "*.log.[1-9][0-9]"} {
		globs = append(globs, number)
		for _, codec := range []string{".gz", ".bz2", ".xz", ".zst", ".lz4"} {
			globs = append(globs, number+codec)
		}
	}
	return globs
}
