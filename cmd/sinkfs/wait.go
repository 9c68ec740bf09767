package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs/mount"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// pollWait is how often a path is looked at: one getxattr, answered from
// memory.
const pollWait = 100 * time.Millisecond

func newWaitCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait PATH",
		Short: "Wait until what was written to a path is finished",
		Long: `Wait until every byte that was written to PATH before the command is in a
finished part file. It triggers nothing: the timer, the rolling policies or
'sinkfs checkpoint' publish. A record without its end keeps it waiting.`,
		Example: `  pg_dump db > /mnt/sink/dumps/db.dump && sinkfs wait --timeout 10m /mnt/sink/dumps/db.dump`,
		Args:    exactArgs("PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout < 0 {
				return usagef("--timeout %v is negative", timeout)
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, timeout,
					fmt.Errorf("%s is not finished after %v: 'sinkfs checkpoint' publishes it, 'sinkfs status' says what waits", args[0], timeout))
				defer cancel()
			}
			return waitFor(ctx, args[0])
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait (default: for ever)")
	return cmd
}

// waitFor returns when the bytes that path holds now are finished.
func waitFor(ctx context.Context, path string) error {
	c := controlOf(path)
	if _, err := c.read("status"); err != nil {
		return err
	}
	first := true
	var want int64
	at := path
	if fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
		defer func() { _ = unix.Close(fd) }()    // a path only
		at = fmt.Sprintf("/proc/self/fd/%d", fd) // the file that it is now, whatever it is called later
	}
	ticker := time.NewTicker(pollWait)
	defer ticker.Stop()
	return each(ctx, ticker.C, func() (bool, error) {
		now, err := attributesOf(at)
		if errors.Is(err, unix.ESTALE) { // a file goes with its part: it is what has the name now
			at = path
			now, err = attributesOf(at)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return true, c.gone(path, first)
		case errors.Is(err, unix.ENODATA):
			return true, fail(codeFailed, fmt.Errorf("%s is not a file that was written here, name one", path))
		case err != nil:
			return true, c.explain(err)
		case now.state == "scratch":
			return true, fail(codeFailed, fmt.Errorf("%s is a temporary name and never published, rename it", path))
		case now.state == "quarantined":
			return true, fail(codeFailed, fmt.Errorf("%s cannot be published: %s", path, now.reason))
		}
		if first {
			want, first = now.bytes, false
		}
		if now.state == "finished" && now.published >= now.bytes || want > 0 && now.published >= want {
			return true, nil
		}
		if want > 0 {
			return false, nil
		}
		waits, err := c.waits(path) // an empty file is a part, an empty stream is none
		return !waits, err
	})
}

// attributes are the user.sinkfs.* of a path.
type attributes struct {
	state            string
	bytes, published int64
	reason           string
}

func attributesOf(path string) (a attributes, err error) {
	get := func(name string) string {
		value := make([]byte, 4096)
		n, e := unix.Getxattr(path, "user.sinkfs."+name, value)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: user.sinkfs.%s: %w", path, name, e))
			return ""
		}
		return string(value[:n])
	}
	number := func(name string) int64 {
		text := get(name)
		if err != nil {
			return 0
		}
		n, e := strconv.ParseInt(text, 10, 64)
		err = errors.Join(err, e)
		return n
	}
	if a.state = get("state"); err != nil {
		return a, err
	}
	// What was written is read first: published may only grow meanwhile.
	a.bytes, a.published = number("bytes"), number("published")
	if a.state == "quarantined" {
		a.reason = get("error")
	}
	return a, err
}

// gone decides about a name that does not exist (any more): a file whose part
// went to another directory, or nothing that this mount knows.
func (c control) gone(path string, never bool) error {
	rel, err := pathInMount(path)
	if err != nil {
		return err
	}
	published := false
	err = c.parts(func(_ []byte, p lifecycle.PartStatus) error {
		for _, s := range p.Sources {
			published = published || s.Path == rel && p.State == "finished"
		}
		return nil
	})
	switch {
	case err != nil || published:
		return err
	case never:
		return fail(codeFailed, fmt.Errorf("%s does not exist, name a file of the mount", path))
	}
	return fail(codeFailed, fmt.Errorf("%s was renamed or removed before it was finished", path))
}

// waits says whether a part of the path is not finished.
func (c control) waits(path string) (bool, error) {
	rel, err := pathInMount(path)
	if err != nil {
		return false, err
	}
	waits := false
	err = c.parts(func(_ []byte, p lifecycle.PartStatus) error {
		for _, s := range p.Sources {
			waits = waits || s.Path == rel && s.Length == 0 && p.State != "finished"
		}
		return nil
	})
	return waits, err
}

// pathInMount is the path below the mountpoint, as the parts file has it.
func pathInMount(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	table, err := mount.Table()
	if err != nil {
		return "", err
	}
	at, ok := mount.Containing(table, dir)
	if !ok {
		return "", fail(codeMount, fmt.Errorf("%s is in no mount: %w", path, os.ErrNotExist))
	}
	rel := strings.TrimPrefix(filepath.Join(dir, filepath.Base(abs)), at.Path)
	return strings.TrimPrefix(filepath.Join(at.Root, rel), "/"), nil
}
