package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// pace is the time between two records of one writer. A mount has a dozen, a
// test several mounts: together they must leave the machine some air, or the
// waits that are measured are those for a processor.
const pace = 15 * time.Millisecond

// Crew is the writers of a lab.
type Crew struct {
	Running []*Running
	// Rest is a longer one that the inquirer takes now and then, in which
	// parts may become large.
	Rest time.Duration

	lab *Lab
}

// Sinks are the sinks of [Config] below the root.
func Sinks() []string { return []string{"eager", "files", "slow"} }

// Config is a configuration with a stream sink whose timer checkpoints
// publish, one that is cut at each checkpoint and not coalesced, a file sink,
// and one whose parts may become large.
func Config() string {
	return `checkpoint: {interval: 1s}
sinks:
  - path: /
    rolling: {max_part_size: 256KiB, rollover_interval: 1s, inactivity_interval: 1s, check_interval: 500ms}
  - path: /eager
    bucket: {assigner: base-path}
    rolling: {on_checkpoint: true}
    coalesce: false
  - path: /files
    kind: file
  - path: /slow
    bucket: {assigner: base-path}
    rolling: {max_part_size: 24MiB, rollover_interval: 1m, inactivity_interval: 1m}
`
}

// Everyone are writers of all kinds, three of them on one path. Those of the
// daemon path write no record longer than a page: a supervisor that dies in
// the midst of a longer one would tear it.
func Everyone(l *Lab) []Writer {
	at := func(path string) string { return filepath.Join(l.Mount, path) }
	return []Writer{
		{ID: "kept", Kind: Append, Path: at("app.log"), Largest: 40_000},
		{ID: "kept-too", Kind: Append, Path: at("app.log")},
		{ID: "reopen", Kind: Reopen, Path: at("app.log")},
		{ID: "eager", Kind: Append, Path: at("eager/kept.log"), Largest: 9000},
		{ID: "plain", Kind: Plain, Path: at("plain.log"), Largest: 3000},
		{ID: "rdwr", Kind: ReadWrite, Path: at("eager/rdwr.log")},
		{ID: "trunc", Kind: Truncate, Path: at("state.log")},
		{ID: "same", Kind: Same, Path: at("same.log")},
		{ID: "same-kept", Kind: SameKept, Path: at("same-kept.log")},
		{ID: "unlink", Kind: Unlink, Path: at("eager/unlink.log")},
		{ID: "sheet", Kind: Files, Path: at("files"), Largest: 200_000},
		{ID: "sh", Kind: Shell, Path: at("sh.log"), Every: 40 * time.Millisecond},
		{ID: "sh-over", Kind: ShellOver, Path: at("sh-over.log"), Every: 40 * time.Millisecond},
		{ID: "py", Kind: Python, Path: at("eager/py.log")},
	}
}

// Few are writers that together reach every point of the program: both write
// paths, bases that move, files, names that go, and enough bytes in one file
// that its first are released.
func Few(l *Lab) []Writer {
	at := func(path string) string { return filepath.Join(l.Mount, path) }
	return []Writer{
		{ID: "kept", Kind: Append, Path: at("app.log"), Largest: 40_000},
		{ID: "reopen", Kind: Reopen, Path: at("app.log")},
		{ID: "plain", Kind: Plain, Path: at("eager/plain.log"), Largest: 3000},
		{ID: "trunc", Kind: Truncate, Path: at("state.log")},
		{ID: "same", Kind: Same, Path: at("same.log")},
		{ID: "unlink", Kind: Unlink, Path: at("eager/unlink.log")},
		{ID: "sheet", Kind: Files, Path: at("files"), Largest: 200_000},
		{ID: "bulk", Kind: Append, Path: at("bulk.log"), Length: 100_000, Every: 10 * time.Millisecond},
	}
}

// Hire starts writers, all or none.
func Hire(ctx context.Context, l *Lab, writers []Writer) (*Crew, error) {
	c := &Crew{lab: l}
	for _, w := range writers {
		w.Dir = l.Notes
		if w.Every == 0 {
			w.Every = pace
		}
		r, err := StartWriter(ctx, w)
		if err != nil {
			return nil, errors.Join(err, c.Stop(ctx))
		}
		c.Running = append(c.Running, r)
	}
	return c, nil
}

// Stop stops all of them.
func (c *Crew) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	for _, r := range c.Running {
		errs = append(errs, r.Stop(ctx))
	}
	return errors.Join(errs...)
}

// Claims are what they were told so far.
func (c *Crew) Claims() ([]Claim, error) {
	var claims []Claim
	for _, r := range c.Running {
		n, err := r.Noted()
		if err != nil {
			return nil, err
		}
		claims = append(claims, Claim{Writer: r.Writer, Notes: n})
	}
	return claims, nil
}

// Wrote waits until every writer was told of n more records, but for those
// that take seconds for one.
func (c *Crew) Wrote(ctx context.Context, n int) error {
	start, err := c.Claims()
	if err != nil {
		return err
	}
	late := Await(ctx, "records", func() bool {
		var claims []Claim
		if claims, err = c.Claims(); err != nil {
			return true
		}
		for i := range claims {
			if claims[i].Every <= time.Second && len(claims[i].Acked) < len(start[i].Acked)+n {
				return false
			}
		}
		return true
	})
	return errors.Join(err, late)
}

// Summary is what the calls of all writers came to, at their end.
type Summary struct {
	Records, Refused int // acknowledged, and not
	Calls, Failed    int
	Longest          time.Duration
	Slowest          string // which call of whom
	Errors           []string
}

// Summary adds up the reports.
func (c *Crew) Summary() (Summary, error) {
	var s Summary
	claims, err := c.Claims()
	if err != nil {
		return s, err
	}
	for i, r := range c.Running {
		s.Records += len(claims[i].Acked)
		s.Refused += len(claims[i].Failed)
		report, err := r.Report()
		if err != nil {
			return s, err
		}
		s.Calls += report.Calls
		s.Failed += report.Failed
		if report.FirstError != "" {
			s.Errors = append(s.Errors, r.ID+": "+report.FirstError)
		}
		if report.Calls == 0 { // a shell
			for number, why := range claims[i].Failed {
				s.Failed++
				s.Errors = append(s.Errors, fmt.Sprintf("%s: record %d: %s: %s", r.ID, number, why, tail(r.output.Name())))
			}
		}
		if report.Longest > s.Longest {
			s.Longest, s.Slowest = report.Longest, report.LongestCall+" of "+r.ID
		}
	}
	return s, nil
}

// String is one line for the log of a test.
func (s Summary) String() string {
	return fmt.Sprintf("%d records, %d refused; %d calls, %d failed; longest call %v (%s)",
		s.Records, s.Refused, s.Calls, s.Failed, s.Longest.Round(time.Millisecond), s.Slowest)
}

// Inquire asks for checkpoints until ctx ends, and has the watcher check the
// answers. It returns how many succeeded, and what those that failed said.
func (c *Crew) Inquire(ctx context.Context, w *Watcher) (succeeded int, failures []string) {
	for ctx.Err() == nil {
		before, err := c.Claims()
		if err != nil {
			return succeeded, append(failures, err.Error())
		}
		if err := c.lab.Checkpoint(); err != nil {
			failures = append(failures, time.Now().Format("15:04:05.000 ")+err.Error())
			Pass(ctx, 20*time.Millisecond)
			continue
		}
		succeeded++
		w.Promised(ctx, before)
		Pass(ctx, 100*time.Millisecond)
		if succeeded%3 == 0 {
			Pass(ctx, c.Rest)
		}
	}
	return succeeded, failures
}

// Problems joins what is wrong, at most some of it.
func Problems(wrong []string) string {
	const most = 25
	text := strings.Join(wrong[:min(len(wrong), most)], "\n")
	if len(wrong) > most {
		text += fmt.Sprintf("\n… and %d more", len(wrong)-most)
	}
	return text
}
