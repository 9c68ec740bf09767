package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// backgroundEnv names the descriptor on which a mount in the background says
// that it answers, or why it does not.
const backgroundEnv = "SINKFS_BACKGROUND"

// outcome is what it says.
type outcome struct {
	Code int    `json:"code"`
	Text string `json:"text"`
}

// reportFunc says how the start went; only the first word counts.
type reportFunc func(code int, text string)

// backgroundReport is a report to the parent; child is false when there is
// none, and the report goes nowhere.
func backgroundReport() (report reportFunc, child bool) {
	fd, err := strconv.Atoi(os.Getenv(backgroundEnv))
	if err != nil {
		return func(int, string) {}, false
	}
	unix.CloseOnExec(fd)
	_ = os.Unsetenv(backgroundEnv) // no child of ours is one of the parent's
	pipe := os.NewFile(uintptr(fd), "parent")
	return func(code int, text string) {
		if pipe == nil {
			return
		}
		// A parent that is gone does not wait either.
		_ = json.NewEncoder(pipe).Encode(outcome{Code: code, Text: text})
		_ = pipe.Close()
		pipe = nil
	}, true
}

// mountInBackground starts the same command again, in a session of its own,
// and returns when the mount answers.
func mountInBackground(cmd *cobra.Command, f *mountFlags, s *settings) (err error) {
	if err := s.stateDir(); err != nil {
		return err
	}
	program, err := installedPath()
	if err != nil {
		return fail(codeFailed, err)
	}
	if f.logFile == "" {
		if err := cmd.Flags().Set("log-file", filepath.Join(s.cfg.StateDir, "log")); err != nil {
			return fail(codeFailed, err)
		}
	}
	if err := cmd.Flags().Set("daemon", "true"); err != nil {
		return fail(codeFailed, err)
	}
	log, err := os.OpenFile(f.logFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fail(codeFailed, fmt.Errorf("log file: %w", err))
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	read, write, err := os.Pipe()
	if err != nil {
		return fail(codeFailed, err)
	}
	defer read.Close()
	mount := exec.Command(program, append([]string{"mount"}, f.commandLine(cmd.Flags(), s)...)...) //nolint:noctx // it outlives this command
	mount.Env = append(os.Environ(), backgroundEnv+"=3")
	mount.Dir = "/"
	mount.Stdout, mount.Stderr = log, log
	mount.ExtraFiles = []*os.File{write}
	mount.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = mount.Start()
	if err := errors.Join(err, write.Close()); err != nil {
		return fail(codeFailed, fmt.Errorf("mount in the background: %w", err))
	}
	return waitForMount(read, mount, cmd.OutOrStdout(), f, s)
}

func waitForMount(pipe io.Reader, mount *exec.Cmd, out io.Writer, f *mountFlags, s *settings) error {
	var o outcome
	if err := json.NewDecoder(pipe).Decode(&o); err != nil {
		_ = mount.Wait() // how it ended is in its state
		err = fmt.Errorf("mount in the background ended too early (%v): the log is %s", mount.ProcessState, f.logFile)
		return fail(max(codeFailed, mount.ProcessState.ExitCode()), err)
	}
	if o.Code != codeDone {
		return &exitError{code: o.Code, err: errors.New(o.Text)}
	}
	_, err := fmt.Fprintf(out, "%s is mounted on %s (process %d, log %s)\n", s.cfg.Target, s.mountpoint, mount.Process.Pid, f.logFile)
	return err
}
