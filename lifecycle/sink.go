package lifecycle

import (
	"log/slog"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/format"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// Sink is a subtree of the mount with its own kind, format, bucket assigner,
// rolling policy and names. It owns the counter of its part names.
type Sink struct {
	Path        string // clean, relative; "" is the whole mount
	File        bool   // each closed file becomes one part; else streams of records
	Format      format.Format
	Assigner    Assigner
	Rolling     Rolling
	Prefix      string
	Suffix      string
	Coalesce    bool     // pack segments of several sources into one part
	Temporary   []string // globs of names that are never published
	Rotated     []string
	Whole       []string // globs of names that are files in a stream sink
	HoldUnknown bool     // stop and ask when a committed upload is unknown
	AllowDelete bool     // finished files may be unlinked
}

// kindOf is the kind of a name at its creation: temporary, rotated, whole,
// then the kind of the sink.
func (s *Sink) kindOf(name string) spool.Kind {
	switch {
	case matches(s.Temporary, name), matches(s.Rotated, name):
		return spool.Scratch
	case s.File, matches(s.Whole, name):
		return spool.File
	}
	return spool.Stream
}

func matches(globs []string, name string) bool {
	for _, g := range globs {
		if tail := g[strings.LastIndexAny(g, `*?[]\`)+1:]; !strings.HasSuffix(name, tail) {
			continue // most names, at each create
		}
		// The configuration refuses malformed globs.
		if ok, err := path.Match(g, name); ok && err == nil {
			return true
		}
	}
	return false
}

// dirBelow is the directory of a source below the sink.
func (s *Sink) dirBelow(dir string) string {
	return strings.TrimPrefix(strings.TrimPrefix(dir, s.Path), "/")
}

// partKey is the key of the n-th part.
func (s *Sink) partKey(dir, bucket, uid string, n uint64) string {
	return path.Join(s.Path, dir, bucketDir(bucket), s.partName(uid, n))
}

// partName is the name of the n-th part in its directory.
func (s *Sink) partName(uid string, n uint64) string {
	return s.Prefix + "-" + uid + "-" + strconv.FormatUint(n, 10) + s.Suffix
}

// fileKey is the key of a whole file.
func (s *Sink) fileKey(dir, bucket, name string) string {
	return path.Join(s.Path, dir, bucketDir(bucket), name)
}

// besides is the key for a whole file whose own name is taken in its bucket.
func besides(key, uid string, n uint64) string {
	dir, name := path.Split(key)
	stem, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		stem, ext = name[:i], name[i:]
		if s, ok := strings.CutSuffix(stem, ".tar"); ok && s != "" {
			stem, ext = s, ".tar"+ext
		}
	}
	return dir + stem + "-" + uid + "-" + strconv.FormatUint(n, 10) + ext
}

// sinkOf is the sink that a path belongs to: the longest one that matches.
func (in *Instance) sinkOf(p string) *Sink {
	var best *Sink
	for _, s := range in.sinks {
		if below(p, s.Path) && (best == nil || len(s.Path) > len(best.Path)) {
			best = s
		}
	}
	return best
}

// ListedWhole says whether a listing told all there is to know of an object.
// Mode and owner of a file's part are its writer's, and known to Stat only;
// where that is cheap, it is asked for all.
func (in *Instance) ListedWhole(i backend.Info) bool {
	if i.Dir || i.Owned {
		return true
	}
	s := in.sinkOf(string(i.Key))
	return !in.store.Properties().Local && !s.File && !matches(s.Whole, path.Base(string(i.Key)))
}

func below(p, dir string) bool {
	return dir == "" || p == dir || strings.HasPrefix(p, dir+"/")
}

// makeSinkDirs makes the directories of the sinks, so that a program can write
// into a sink as soon as it is configured. One whose place a source has, from
// before it was configured, comes when that is gone.
func (in *Instance) makeSinkDirs() {
	for _, s := range in.sinks {
		if s.Path == "" {
			continue
		}
		if _, err := in.tree.MkdirAll(s.Path, in.cfg.DirMode, in.cfg.UID, in.cfg.GID); err != nil {
			in.log.Warn("the directory of a sink cannot be made now", slog.String("path", s.Path), slog.Any("error", err))
		}
	}
}

// Defaults of a sink, Flink's where Flink has them.
const (
	DefaultMaxPartSize = 128 << 20
	DefaultInterval    = time.Minute // rollover, inactivity and check
	DefaultMaxRecord   = 16 << 20
)

// DefaultTemporary are the names that are never published.
func DefaultTemporary() []string {
	return strings.Fields(".* *~ *.tmp *.part *.partial *.swp *.lock *.pid " +
		// SQLite writes them in place beside a database, which is a file.
		"*.db-journal *.db-wal *.db-shm *.sqlite*-journal *.sqlite*-wal *.sqlite*-shm")
}

// DefaultRotated are logrotate's names. A date or a long number is a live
// name of rotatelogs or Tomcat.
func DefaultRotated() []string {
	var out []string
	for _, n := range []string{"[1-9]", "[1-9][0-9]"} {
		for _, z := range []string{"", ".gz", ".bz2", ".xz", ".zst"} {
			out = append(out, "*.log."+n+z)
		}
	}
	return out
}

// DefaultWhole are names whose bytes mean nothing cut.
func DefaultWhole() []string {
	return strings.Fields("*.parquet *.orc *.avro *.gz *.zst *.bz2 *.xz *.lz4 *.zip *.tar *.tgz *.dump *.bak *.jar *.db *.sqlite*")
}

// DefaultSink is the stream sink at the root that exists unless another is
// configured there.
func DefaultSink() Sink {
	d, err := NewDateTime(DefaultPattern, time.UTC)
	var assigner Assigner = d
	if err != nil {
		assigner = BasePath{} // cannot be: the pattern is tested
	}
	return Sink{
		Format: format.Raw(DefaultMaxRecord), Assigner: assigner, Prefix: "part", Coalesce: true,
		Rolling: Rolling{
			MaxPartSize: DefaultMaxPartSize, RolloverInterval: DefaultInterval,
			InactivityInterval: DefaultInterval, CheckInterval: DefaultInterval,
		},
		Temporary: DefaultTemporary(), Rotated: DefaultRotated(), Whole: DefaultWhole(),
	}
}
