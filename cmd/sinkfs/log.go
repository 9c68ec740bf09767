package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs/mount"
)

// logger is the log of a mount or worker; its file can be opened anew after
// somebody moved it away.
type logger struct {
	*slog.Logger
	mu     sync.Mutex
	path   string // "" for stderr
	file   *os.File
	stderr bool // stderr goes to the file too
}

// openLog begins a log. daemon says that nobody looks at stderr: what the
// runtime says of a crash goes to the file then.
func openLog(f *mountFlags, daemon bool) (*logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, usagef("--log-level %q is not one of its values, write debug, info, warn or error", f.logLevel)
	}
	l := &logger{path: f.logFile, stderr: daemon}
	if err := l.open(); err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: level}
	switch f.logFormat {
	case "text":
		l.Logger = slog.New(slog.NewTextHandler(l, opts))
	case "json":
		l.Logger = slog.New(slog.NewJSONHandler(l, opts))
	default:
		return nil, usagef("--log-format %q is not one of its values, write text or json", f.logFormat)
	}
	return l, nil
}

// open opens the file, again too; on failure the old one stays.
func (l *logger) open() error {
	if l.path == "" {
		return nil
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	if l.stderr {
		if err := unix.Dup3(int(file.Fd()), 2, 0); err != nil {
			return fmt.Errorf("log file: %w", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close() // every line went out with its own write
	}
	l.file = file
	return nil
}

// Write implements io.Writer for the handlers.
func (l *logger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var w io.Writer = os.Stderr
	if l.file != nil {
		w = l.file
	}
	return w.Write(p)
}

func (l *logger) reopen() {
	if err := l.open(); err != nil {
		l.Error("log file not reopened", slog.Any("error", err))
	}
}

func (l *logger) close() {
	if l.file != nil {
		_ = l.file.Close() // as above
	}
}

func (l *logger) progress(p mount.Progress) {
	l.Info("publishing before the unmount", slog.Int64("bytes_left", p.Bytes), slog.Int64("parts_left", p.Parts), slog.String("state", p.Text))
}
