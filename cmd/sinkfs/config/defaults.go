package config

import (
	"time"

	"github.com/sinkfs/sinkfs/lifecycle"
)

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
		Store: Store{
			S3:  S3{Checksum: "crc32c", PartSize: 8 << 20, PartMemory: 48 << 20, Connections: 32},
			OSS: OSS{Signature: "v4", PartSize: 8 << 20, PartMemory: 48 << 20, Connections: 32},
		},
	}
}

// defaultSink is a sink without keys. What depends on its kind is filled in
// by complete.
func defaultSink() Sink {
	return Sink{
		Kind:   "stream",
		Format: "raw",
		Rolling: Rolling{
			MaxPartSize:        lifecycle.DefaultMaxPartSize,
			RolloverInterval:   Duration(lifecycle.DefaultInterval),
			InactivityInterval: Duration(lifecycle.DefaultInterval),
			CheckInterval:      Duration(lifecycle.DefaultInterval),
		},
		Names:     Names{Prefix: "part"},
		Coalesce:  true,
		Temporary: lifecycle.DefaultTemporary(),
		Rotated:   lifecycle.DefaultRotated(),
		Whole:     lifecycle.DefaultWhole(),
		MaxRecord: lifecycle.DefaultMaxRecord,
		Torn:      "publish",
		OnUnknown: "restage",
	}
}
