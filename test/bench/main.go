// Command bench measures sinkfs and prints one table: every row is compared
// with something measured in the same run, natively and in turns with it, so
// that a busy machine moves both.
//
// It needs root, /dev/fuse and a few GB on a real disk; the section "store"
// also s3fs, and builds MinIO and rclone, which takes minutes the first time:
//
//	go run ./test/bench [-dir DIR] [-only REGEXP] [-rounds N] [-full]
//
// A missed goal is a line of the table, not an error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == loadCommand {
		os.Exit(loadMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM) //nolint:forbidigo // this is main
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err) //nolint:errcheck // nothing is left to do
		os.Exit(1)
	}
}

// bench is what every row works with.
type bench struct {
	program string // sinkfs
	dir     string // all files are below it
	rounds  int
	full    bool
	labs    []*lab
	mounts  []string // file systems of our own
	peers   []*peer
	out     *table
}

// section measures some rows of the table.
type section struct {
	name string
	run  func(context.Context, *bench) error
}

func sections() []section {
	return []section{
		{"append", benchAppend},
		{"sequential", benchSequential},
		{"small", benchSmallFiles},
		{"daemon", benchDaemonPath},
		{"checkpoint", benchCheckpoint},
		{"memory", benchMemory},
		{"ship", benchShipping},
		{"mount", benchMount},
		{"handover", benchHandOver},
		{"store", benchStore},
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	program := flags.String("sinkfs", "", "the program to measure; it is built when not given")
	parent := flags.String("dir", os.TempDir(), "where to work: spool, target and native files share its file system")
	only := flags.String("only", ".", "regular expression of the sections to run: "+strings.Join(names(), " "))
	rounds := flags.Int("rounds", 7, "how often a pair is measured; its median counts")
	full := flags.Bool("full", false, "full sizes: ship 10 GB, mount with 10 GB of spool")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(*parent, "sinkfs-bench-")
	if err != nil {
		return err
	}
	b := &bench{program: *program, dir: dir, rounds: max(1, *rounds), full: *full, out: newTable(out, dir)}
	defer b.clean()
	if b.program == "" {
		b.program = filepath.Join(dir, "sinkfs")
		cmd := exec.CommandContext(ctx, "go", "build", "-o", b.program, "github.com/sinkfs/sinkfs/cmd/sinkfs")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w: %s", err, out)
		}
	}
	b.out.head()
	for _, s := range sections() {
		if !wanted.MatchString(s.name) {
			continue
		}
		if err := s.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	b.out.foot()
	return nil
}

func names() []string {
	var out []string
	for _, s := range sections() {
		out = append(out, s.name)
	}
	return out
}

// clean removes what was written. Nothing is measured after it: a file system
// is slow to make files shortly after many were removed.
func (b *bench) clean() {
	var errs []error
	for _, l := range b.labs { // those of a section that failed
		errs = append(errs, l.close())
	}
	for _, p := range b.peers {
		errs = append(errs, p.close())
	}
	for _, m := range b.mounts {
		errs = append(errs, unix.Unmount(m, 0))
	}
	if err := errors.Join(append(errs, os.RemoveAll(b.dir))...); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err) //nolint:errcheck // nothing is left to do
	}
}

// fresh is a new directory on the measured file system.
func (b *bench) fresh(name string) (string, error) {
	return os.MkdirTemp(b.dir, name+"-")
}

// newFileSystem moves the bench to an ext4 that was never used, until back is
// called: one in use looks long for an inode that was not removed within the
// last minute (recently_deleted in fs/ext4/ialloc.c), sinkfs or not.
func (b *bench) newFileSystem(ctx context.Context) (back func(), err error) {
	return b.moveTo(ctx, func(point string) [][]string {
		image := point + ".img"
		return [][]string{
			{"truncate", "-s", "8G", image},
			{"mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image},
			{"mount", "-o", "loop", image, point},
		}
	})
}

// inMemory moves the bench to a tmpfs: a disk writes for seconds what it could
// have kept, or the other way round.
func (b *bench) inMemory(ctx context.Context) (back func(), err error) {
	return b.moveTo(ctx, func(point string) [][]string {
		return [][]string{{"mount", "-t", "tmpfs", "-o", "size=80%", "tmpfs", point}}
	})
}

func (b *bench) moveTo(ctx context.Context, mount func(point string) [][]string) (back func(), err error) {
	point, err := b.fresh("fs")
	if err != nil {
		return nil, err
	}
	for _, args := range mount(point) {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	b.mounts = append(b.mounts, point)
	dir := b.dir
	b.dir = point
	return func() { b.dir = dir }, nil
}
