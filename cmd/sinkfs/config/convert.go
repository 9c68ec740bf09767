package config

import (
	"context"
	"log/slog"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// Sinks are the sinks as the lifecycle takes them.
func (c *Config) Sinks() ([]lifecycle.Sink, error) { return nil, ErrInvalid }

// Lifecycle is all that the file says of an instance; Store, Log and Observer
// are the caller's to fill in, and UID and GID, which are the mount's.
func (c *Config) Lifecycle() (lifecycle.Config, error) { return lifecycle.Config{}, ErrInvalid }

// OpenStore opens the store of the target without asking it anything.
func OpenStore(ctx context.Context, c *Config, log *slog.Logger) (backend.Store, error) {
	return nil, ErrNotBuilt
}

// Separate refuses a target, state directory, spool directory and mountpoint
// of which one lies inside another.
func (c *Config) Separate(mountpoint string) error { return nil }

// Show is the effective configuration as YAML, secrets removed.
func (c *Config) Show() []byte { return nil }
