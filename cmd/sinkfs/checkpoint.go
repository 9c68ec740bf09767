package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

func newCheckpointCommand() *cobra.Command {
	var policy, end, asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "checkpoint MOUNTPOINT",
		Short: "Publish what was written, and wait for it",
		Long: `Publish everything that was written before, wait for it, and print what was
published and what was not. It is the same as writing a line to
MOUNTPOINT/.sinkfs/checkpoint. Any path inside the mount will do.

Records without their end, files that are still open and scratch files are left
out and listed; that is not a failure.`,
		Example: `  sinkfs checkpoint /mnt/sink
  sinkfs checkpoint --timeout 30s --json /mnt/sink | jq .parts
  sinkfs checkpoint --policy /mnt/sink     # only what the rolling policies sealed`,
		Args: exactArgs("MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			line := "now"
			switch {
			case policy && end:
				return usagef("--policy and --end exclude each other")
			case policy:
				line = "policy"
			case end:
				line = "end"
			}
			if timeout < 0 || cmd.Flags().Changed("timeout") && timeout == 0 {
				return usagef("--timeout %v is not a time to wait, write for example 30s", timeout)
			}
			if timeout > 0 {
				line += " timeout=" + timeout.String()
			}
			return checkpoint(controlOf(args[0]), line, asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&policy, "policy", false, "publish only what the rolling policies sealed, as the timer does")
	cmd.Flags().BoolVar(&end, "end", false, "end of input: publish records without their end too (batch mode publishes only so)")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait (default 5m)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the checkpoint as JSON")
	return cmd
}

func checkpoint(c control, line string, asJSON bool, out io.Writer) error {
	text, asked, failed := c.ask("checkpoint", line)
	if !asked {
		return failed
	}
	if errors.Is(failed, syscall.ENOTCONN) || errors.Is(failed, syscall.ECONNABORTED) {
		return c.explain(failed)
	}
	var last journal.Checkpoint
	if len(text) > 0 {
		if err := json.Unmarshal(text, &last); err != nil {
			return fail(codeFailed, fmt.Errorf("the answer of the mount cannot be read: %w", err))
		}
	}
	var err error
	switch {
	case last.ID == 0, failed != nil && !isAnswer(failed, last): // it is of an earlier one
	case asJSON:
		_, err = fmt.Fprintf(out, "%s\n", compact(text))
	default:
		err = printCheckpoint(out, last)
	}
	if err != nil {
		return err
	}
	return fail(codeFailed, reason(failed, line, last))
}

// isAnswer says whether the checkpoint that was read is the one that failed.
// Who stopped waiting, or asked for what cannot be, reads an earlier one.
func isAnswer(failed error, last journal.Checkpoint) bool {
	return errors.Is(failed, syscall.EIO) && last.State != journal.Complete
}

// isQuarantine says whether somebody has to do something first.
func isQuarantine(f journal.Failure) bool { return strings.HasPrefix(f.Error, "quarantined: ") }

// reason turns the errno of the trigger into words; nil stays nil.
func reason(err error, line string, last journal.Checkpoint) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ETIMEDOUT):
		return errors.New("the checkpoint did not end in time, it goes on: ask again, or see 'sinkfs status'")
	case errors.Is(err, syscall.EINTR):
		return errors.New("interrupted, the checkpoint goes on: ask again, or see 'sinkfs status'")
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("the mount refused %q: in batch mode only 'sinkfs checkpoint --end' or an unmount publishes", line)
	case errors.Is(err, syscall.ENOSPC):
		return errors.New("the state directory is full: free space on its disk, then ask again")
	case isAnswer(err, last) && len(last.Failed) > 0:
		again := ", which is tried again"
		if isQuarantine(last.Failed[0]) {
			again = ""
		}
		return fmt.Errorf("checkpoint %d is %s, %s not published%s: %s", last.ID, last.State,
			plural(int64(len(last.Failed)), "part"), again, last.Failed[0].Error)
	case errors.Is(err, syscall.EIO) && last.Error != "":
		return fmt.Errorf("the checkpoint failed: %s: see 'sinkfs status' and the log of the mount", last.Error)
	case errors.Is(err, syscall.EIO):
		return errors.New("the checkpoint failed: see 'sinkfs status' and the log of the mount")
	}
	return err
}

func printCheckpoint(out io.Writer, c journal.Checkpoint) error {
	if c.ID == 0 {
		_, err := fmt.Fprintln(out, "no checkpoint yet")
		return err
	}
	w := newTable(out)
	w.printf("checkpoint %d %s: %s, %s, %s in %v\n", c.ID, c.State, plural(int64(c.Parts), "part"), bytesText(c.Bytes),
		plural(c.Records, "record"), took(c))
	for _, e := range c.LeftOut {
		w.printf("  left out\t%s\t%s\t%s\n", e.Path, bytesText(e.Bytes), e.Reason)
	}
	for _, f := range c.Failed {
		w.printf("  failed\t%s\t%s\t%s\n", f.Path, f.Key, f.Error)
	}
	if c.Error != "" {
		w.printf("  error: %s\n", c.Error)
	}
	return w.flush()
}

// compact is JSON on one line, the text itself when it is none.
func compact(text []byte) []byte {
	var v json.RawMessage
	if json.Unmarshal(text, &v) != nil {
		return text
	}
	line, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return line
}

func plural(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return humanize.Comma(n) + " " + word + "s"
}

func bytesText(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
