package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// writerEnv tells this binary that it is a writer, and which.
const writerEnv = "SINKFS_TEST_WRITER"

// Kind is how a writer writes.
type Kind string

// The kinds of writers. Each is a process of its own.
const (
	Append    Kind = "append"     // keeps an O_APPEND descriptor, as a C or Go program does
	ReadWrite Kind = "read-write" // keeps an O_RDWR|O_APPEND descriptor: the daemon writes
	Plain     Kind = "plain"      // keeps a descriptor without O_APPEND: the daemon writes
	Reopen    Kind = "reopen"     // open, append, close for each record
	Truncate  Kind = "truncate"   // O_TRUNC for each record, as > does
	Same      Kind = "same"       // identical lines, through the daemon
	SameKept  Kind = "same-kept"  // identical lines, O_APPEND
	Files     Kind = "files"      // create NAME.tmp, write, close, rename to NAME
	Unlink    Kind = "unlink"     // as Reopen, and removes the name now and then
	Shell     Kind = "shell"      // sh: printf >> FILE
	ShellOver Kind = "shell-over" // sh: printf > FILE
	Python    Kind = "python"     // logging.handlers.WatchedFileHandler
)

// Writer is one process that writes numbered records to a path.
type Writer struct {
	ID      string
	Kind    Kind
	Path    string // of the file, or of the directory of Files
	Dir     string // for notes and the like, outside of the mount
	Every   time.Duration
	Largest int  // length of the longest fillers, one record in 40 has it
	Length  int  // of all fillers, 0: they vary
	Sync    bool // fsync before a record counts as acknowledged
}

// notes is the path of what the writer noted.
func (w *Writer) notes() string { return filepath.Join(w.Dir, w.ID+".notes") }

func (w *Writer) stop() string { return filepath.Join(w.Dir, w.ID+".stop") }

func (w *Writer) report() string { return filepath.Join(w.Dir, w.ID+".report") }

// Report is what a writer says of its calls at its end. Shells measure
// nothing.
type Report struct {
	Calls, Failed int
	Longest       time.Duration
	LongestCall   string
	FirstError    string
}

// Running is a writer at work.
type Running struct {
	Writer
	cmd    *exec.Cmd
	output *os.File
	ended  chan error
}

// StartWriter starts w. The process does not depend on ctx: it ends with
// [Running.Stop], or when the test is gone.
func StartWriter(ctx context.Context, w Writer) (*Running, error) {
	cmd, err := w.command(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(w.Dir, w.ID+".output"))
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, output.Close())
	}
	r := &Running{Writer: w, cmd: cmd, output: output, ended: make(chan error, 1)}
	go func() { r.ended <- errors.Join(cmd.Wait(), output.Close()) }()
	return r, nil
}

func (w *Writer) command(ctx context.Context) (*exec.Cmd, error) {
	switch w.Kind {
	case Shell, ShellOver:
		return w.shell(ctx), nil
	case Python:
		return w.python(ctx), nil
	case Append, ReadWrite, Plain, Reopen, Truncate, Same, SameKept, Files, Unlink:
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), writerEnv+"="+string(text))
	return cmd, nil
}

// Stop tells the writer to end, and waits for it.
func (r *Running) Stop(ctx context.Context) error {
	if err := os.WriteFile(r.stop(), nil, 0o600); err != nil {
		return err
	}
	select {
	case err := <-r.ended:
		if err != nil {
			return fmt.Errorf("writer %s: %w: %s", r.ID, err, tail(r.output.Name()))
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("writer %s does not end: %w", r.ID, errors.Join(ErrLate, r.cmd.Process.Kill()))
	}
}

// Noted is what it was told so far.
func (r *Running) Noted() (*Notes, error) { return ReadNotes(r.notes()) }

// Report is what it said at its end; zero for a shell.
func (r *Running) Report() (Report, error) {
	var report Report
	data, err := os.ReadFile(r.report())
	if errors.Is(err, os.ErrNotExist) {
		return report, nil
	}
	if err != nil {
		return report, err
	}
	return report, json.Unmarshal(data, &report)
}

// FileName is the name that a writer of Files gives its file of that number.
func FileName(writer string, number int) string { return writer + "-" + strconv.Itoa(number) + ".csv" }

// tail is the end of a file, for messages.
func tail(path string) string {
	const most = 4 << 10
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return string(data)
}
