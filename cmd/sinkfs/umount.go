package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sinkfs/sinkfs/fusefs/mount"
)

func newUmountCommand() *cobra.Command {
	var noDrain bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "umount MOUNTPOINT",
		Short: "Publish what is left and unmount",
		Long: `End the input of a mount: make a last checkpoint, show its progress, unmount
even while files are open, and return the exit code of the mount: 0 when
everything is published, 8 when something is left for the next mount.
MOUNTPOINT may be any path inside. A mount whose processes were killed is only
detached. Unmounting with umount(8) publishes too, but does not wait for it.`,
		Example: `  sinkfs umount /mnt/sink
  sinkfs umount --timeout 1m /mnt/sink
  sinkfs umount --no-drain /mnt/sink    # at once; the next mount goes on`,
		Args: exactArgs("MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && timeout <= 0 {
				return usagef("--timeout %v is not a time to wait, write for example 30s", timeout)
			}
			return umount(cmd, args[0], noDrain, timeout)
		},
	}
	cmd.Flags().BoolVar(&noDrain, "no-drain", false, "publish nothing more")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "longest time of the last checkpoint (default none)")
	return cmd
}

func umount(cmd *cobra.Command, path string, noDrain bool, timeout time.Duration) error {
	at, mounted, err := mountOf(path)
	if err != nil {
		return err
	}
	state, err := findState(at)
	switch {
	case err == nil:
	case !mounted:
		return fail(codeMount, fmt.Errorf("%s is in no sinkfs mount, name the mountpoint or a path inside it", path))
	case mount.Dead(at):
		return detachDead(at, cmd.ErrOrStderr())
	default:
		return fail(codeMount, fmt.Errorf("%w: run this as root or as the user who mounted it, on the same machine or in the same container", err))
	}
	code, text, err := mount.Unmount(cmd.Context(), state, noDrain, timeout, func(p mount.Progress) {
		fmt.Fprintf(cmd.ErrOrStderr(), "publishing: %s in %s left\n", bytesText(p.Bytes), plural(p.Parts, "part")) //nolint:errcheck // only progress
	})
	// The answer comes while the process that mounted still ends. Whoever goes
	// on with the state directory, or its disk, must not find it in use.
	if err == nil {
		_ = mount.AwaitFree(cmd.Context(), state, lockWait) // the exit code is known
	}
	switch {
	case err != nil:
		return fail(codeFailed, err)
	case text != "":
		return &exitError{code: code, err: errors.New(text)}
	case code != codeDone:
		return &exitError{code: code, err: fmt.Errorf("the mount at %s ended with exit code %d", at, code)}
	}
	return nil
}

// findState finds who keeps the mount at a path, also when that is a bind
// mount of it.
func findState(at string) (string, error) {
	state, err := mount.FindState(at)
	if err == nil {
		return state, nil
	}
	table, listed := mount.Table()
	here, ok := mount.At(table, at)
	if listed != nil || !ok {
		return "", err
	}
	for _, e := range table {
		if e.Device == here.Device && e.Path != at {
			if state, err := mount.FindState(e.Path); err == nil {
				return state, nil
			}
		}
	}
	return "", err
}

// mountOf finds the mountpoint that a path lies in. The path is not looked
// at: the mount may be dead. One that is gone already may still publish.
func mountOf(path string) (at string, mounted bool, err error) {
	table, err := mount.Table()
	if err != nil {
		return "", false, fail(codeFailed, err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", false, fail(codeFailed, err)
	}
	e, ok := mount.Containing(table, abs)
	if !ok || !e.Ours() {
		resolved, err := mount.Resolve(path)
		if errors.Is(err, os.ErrNotExist) {
			return abs, false, nil
		}
		if err != nil {
			return "", false, fail(codeMount, err)
		}
		if e, ok = mount.Containing(table, resolved); !ok || !e.Ours() {
			return resolved, false, nil
		}
	}
	return e.Path, true, nil
}

// detachDead is all that can be done for a mount that nobody serves.
func detachDead(at string, out io.Writer) error {
	if err := mount.Detach(at); err != nil {
		return fail(codeMount, err)
	}
	_, err := fmt.Fprintf(out, "the mount at %s was dead and is detached; mount it again to publish what was written\n", at)
	return errors.Join(&exitError{code: codeUnpublished}, err)
}
