package config

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"
	// Zones are known wherever sinkfs runs.
	_ "time/tzdata"
	"unicode"
	"unicode/utf8"

	"github.com/sinkfs/sinkfs/lifecycle"
)

// maxMaxRecord bounds max_record: a record is held in memory when a format
// has to look into it.
const maxMaxRecord = 1 << 30

// complete fills in what depends on other keys and checks what a single value
// cannot show.
func (c *Config) complete() error {
	var errs Errors
	c.completeTarget(&errs)
	c.completePaths(&errs)
	c.completeSinks(&errs)
	c.completeS3(&errs)
	c.completeOSS(&errs)
	c.positive(&errs, "source_ttl", c.SourceTTL)
	c.positive(&errs, "checkpoint.timeout", c.Checkpoint.Timeout)
	c.positive(&errs, "checkpoint.commit_timeout", c.Checkpoint.CommitTimeout)
	if c.Checkpoint.Retain < 1 {
		errs.at(c.origin, "checkpoint.retain", "%d is too few, remember at least 1", c.Checkpoint.Retain)
	}
	if c.Control.Mode&^0o666 != 0 {
		errs.at(c.origin, "control.mode", "%v lets files be executed, use the bits of 0666", c.Control.Mode)
	}
	if _, widened := c.origin["control.mode"]; !widened && c.Control.Group != "" {
		c.Control.Mode = 0o660
	}
	if _, err := c.ControlGID(); err != nil {
		errs.at(c.origin, "control.group", "%v", err)
	}
	return errs.orNil()
}

func (c *Config) positive(errs *Errors, key string, d Duration) {
	if d <= 0 {
		errs.at(c.origin, key, "0 is not a time to wait, write for example 60s")
	}
}

func (c *Config) completeTarget(errs *Errors) {
	if c.Target == "" {
		return
	}
	t, err := ParseTarget(c.Target)
	if err != nil {
		errs.at(c.origin, "target", "%v", err)
		return
	}
	c.Target = t.String()
}

// completePaths makes local paths absolute: the worker of a mount reads the
// same file from another working directory.
func (c *Config) completePaths(errs *Errors) {
	c.StateDir = c.absolute(errs, "state_dir", c.StateDir)
	c.SpoolDir = c.absolute(errs, "spool_dir", c.SpoolDir)
}

func (c *Config) absolute(errs *Errors, key, p string) string {
	if p == "" {
		return ""
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		errs.at(c.origin, key, "%v", err)
	}
	return abs
}

func (c *Config) completeSinks(errs *Errors) {
	seen := map[string]int{}
	for i := range c.SinkList {
		s, at := &c.SinkList[i], fmt.Sprintf("sinks[%d]", i)
		if !c.completeSinkPath(errs, s, at) {
			continue
		}
		if j, twice := seen[s.Path]; twice {
			errs.at(c.origin, at+".path", "%s is the path of sinks[%d] too, a path is one sink", s.Path, j)
		}
		seen[s.Path] = i
		c.completeBucket(errs, s, at)
		c.checkSink(errs, s, at)
	}
	if _, ok := seen["/"]; !ok {
		root := defaultSink()
		root.Path = "/"
		c.completeBucket(errs, &root, "sinks[]")
		c.SinkList = append(c.SinkList, root)
	}
}

func (c *Config) completeSinkPath(errs *Errors, s *Sink, at string) bool {
	if s.Path == "" {
		if c.origin[at+".path"] == "" {
			c.origin[at+".path"] = c.origin[at]
		}
		errs.at(c.origin, at+".path", "it is missing, write the directory in the mount, for example /events")
		return false
	}
	for name := range strings.SplitSeq(s.Path, "/") {
		if name == ".sinkfs" || name == "_sinkfs" || name == ".." || !utf8.ValidString(name) {
			errs.at(c.origin, at+".path", "%q cannot be in it, name a directory of the mount", name)
			return false
		}
	}
	s.Path = path.Clean("/" + s.Path)
	return true
}

func (c *Config) completeBucket(errs *Errors, s *Sink, at string) {
	if s.Bucket.Assigner == "" {
		s.Bucket.Assigner = "datetime"
		if s.Kind == "file" {
			s.Bucket.Assigner = "base-path"
		}
	}
	if s.Bucket.Assigner != "datetime" {
		const text = "only the datetime assigner has it, write assigner: datetime beside it"
		if s.Bucket.Pattern != "" {
			errs.at(c.origin, at+".bucket.pattern", text)
		}
		if s.Bucket.Zone != "" {
			errs.at(c.origin, at+".bucket.zone", text)
		}
		return
	}
	if s.Bucket.Pattern == "" {
		s.Bucket.Pattern = lifecycle.DefaultPattern
	}
	if s.Bucket.Zone == "" {
		s.Bucket.Zone = "UTC"
	}
	zone, err := time.LoadLocation(s.Bucket.Zone)
	if err != nil || s.Bucket.Zone == "Local" {
		errs.at(c.origin, at+".bucket.zone", "%q is not a time zone known here, write for example UTC or Asia/Singapore", s.Bucket.Zone)
		return
	}
	if _, err := lifecycle.NewDateTime(s.Bucket.Pattern, zone); err != nil {
		errs.at(c.origin, at+".bucket.pattern", "%v", err)
	}
}

func (c *Config) checkGlobs(errs *Errors, key string, globs []string) {
	for i, g := range globs {
		if _, err := path.Match(g, "x"); err != nil || g == "" || strings.Contains(g, "/") {
			errs.at(c.origin, fmt.Sprintf("%s[%d]", key, i), "%q is not a pattern of a name, write for example *.tmp", g)
		}
	}
}

func (c *Config) checkSink(errs *Errors, s *Sink, at string) {
	c.checkGlobs(errs, at+".temporary", s.Temporary)
	c.checkGlobs(errs, at+".rotated", s.Rotated)
	c.checkGlobs(errs, at+".whole", s.Whole)
	if s.Rolling.MaxPartSize <= 0 {
		errs.at(c.origin, at+".rolling.max_part_size", "a part holds at least 1 byte")
	}
	c.positive(errs, at+".rolling.rollover_interval", s.Rolling.RolloverInterval)
	c.positive(errs, at+".rolling.inactivity_interval", s.Rolling.InactivityInterval)
	c.positive(errs, at+".rolling.check_interval", s.Rolling.CheckInterval)
	if s.MaxRecord <= 0 || s.MaxRecord > maxMaxRecord {
		errs.at(c.origin, at+".max_record", "%v is out of bounds, write from 1B to %v", s.MaxRecord, Size(maxMaxRecord))
	}
	c.checkNames(errs, s.Names, at+".names")
}

// longestNames bounds prefix and suffix together: with instance, number and
// bucket they have to fit into the room that a source's key keeps for them.
const longestNames = 40

// checkNames refuses what would make parts that nobody finds: most readers
// skip names that begin with a dot.
func (c *Config) checkNames(errs *Errors, n Names, at string) {
	switch {
	case n.Prefix == "" || !plainName(n.Prefix):
		errs.at(c.origin, at+".prefix", "%q cannot begin a file name, write letters and digits, for example part", n.Prefix)
	case strings.HasPrefix(n.Prefix, "."):
		errs.at(c.origin, at+".prefix", "%q would hide every part from readers, write it without the dot", n.Prefix)
	}
	switch {
	case !plainName(n.Suffix):
		errs.at(c.origin, at+".suffix", "%q cannot end a file name, write for example .log", n.Suffix)
	case len(n.Prefix)+len(n.Suffix) > longestNames:
		errs.at(c.origin, at+".suffix", "with the prefix it has %d bytes, write at most %d", len(n.Prefix)+len(n.Suffix), longestNames)
	}
}

// plainName says whether s can stand in a file name on one line of a listing.
func plainName(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsControl(r) })
}
