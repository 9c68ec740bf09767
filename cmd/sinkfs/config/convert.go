package config

import (
	"fmt"
	"math"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/format"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// Resolve says whether a mount could be made of it: only the target can be
// missing. It fills in the state directory.
func (c *Config) Resolve() error {
	if c.Target == "" {
		return Errors{{Text: "the target is missing, set target in the file, " + EnvName("target") + ", or name it on the command line"}}
	}
	if c.StateDir != "" {
		return nil
	}
	dir, err := DefaultStateDir(c.Target)
	c.StateDir = dir
	return err
}

// Sinks are the sinks as the lifecycle takes them.
func (c *Config) Sinks() ([]lifecycle.Sink, error) {
	sinks := make([]lifecycle.Sink, 0, len(c.SinkList))
	for _, s := range c.SinkList {
		assigner, err := s.Bucket.assigner()
		if err != nil {
			return nil, fmt.Errorf("%w: sink %s: %w", ErrInvalid, s.Path, err)
		}
		sinks = append(sinks, lifecycle.Sink{
			Path:     strings.TrimPrefix(s.Path, "/"),
			File:     s.Kind == "file",
			Format:   format.Raw(int64(s.MaxRecord)),
			Assigner: assigner,
			Rolling: lifecycle.Rolling{
				MaxPartSize:        int64(s.Rolling.MaxPartSize),
				RolloverInterval:   time.Duration(s.Rolling.RolloverInterval),
				InactivityInterval: time.Duration(s.Rolling.InactivityInterval),
				CheckInterval:      time.Duration(s.Rolling.CheckInterval),
				OnCheckpoint:       s.Rolling.OnCheckpoint,
			},
			Prefix:      s.Names.Prefix,
			Suffix:      s.Names.Suffix,
			Coalesce:    s.Coalesce,
			Temporary:   s.Temporary,
			Rotated:     s.Rotated,
			Whole:       s.Whole,
			HoldUnknown: s.OnUnknown == "hold",
			AllowDelete: s.AllowDelete,
		})
	}
	return sinks, nil
}

func (b Bucket) assigner() (lifecycle.Assigner, error) {
	if b.Assigner == "base-path" {
		return lifecycle.BasePath{}, nil
	}
	zone, err := time.LoadLocation(b.Zone)
	if err != nil {
		return nil, err
	}
	return lifecycle.NewDateTime(b.Pattern, zone)
}

// Lifecycle is all that the file says of an instance; Store, Log and Observer
// are the caller's to fill in, and UID and GID, which are the mount's.
func (c *Config) Lifecycle() (lifecycle.Config, error) {
	if err := c.Resolve(); err != nil {
		return lifecycle.Config{}, err
	}
	sinks, err := c.Sinks()
	return lifecycle.Config{
		StateDir:          c.StateDir,
		SpoolDir:          c.SpoolDir,
		Target:            c.Target,
		Sinks:             sinks,
		Batch:             c.Mode == "batch",
		Interval:          time.Duration(c.Checkpoint.Interval),
		CheckpointTimeout: time.Duration(c.Checkpoint.Timeout),
		CommitTimeout:     time.Duration(c.Checkpoint.CommitTimeout),
		AlarmAfter:        time.Duration(c.Checkpoint.AlarmAfter),
		Retain:            c.Checkpoint.Retain,
		Manifests:         c.Manifests,
		SourceTTL:         time.Duration(c.SourceTTL),
		ReadUnfinished:    lifecycle.ReadUnfinished(c.ReadUnfinished),
	}, err
}

// ControlGID is the group of the control files, nil when none is configured.
func (c *Config) ControlGID() (*uint32, error) {
	name := c.Control.Group
	if name == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		g, lookup := user.LookupGroup(name)
		if lookup != nil {
			return nil, fmt.Errorf("there is no group %q, write a name or number of this machine's", name)
		}
		n, err = strconv.ParseUint(g.Gid, 10, 32)
	}
	if err != nil || n == math.MaxUint32 {
		return nil, fmt.Errorf("group %q has no number that can be used", name)
	}
	gid := uint32(n)
	return &gid, nil
}
