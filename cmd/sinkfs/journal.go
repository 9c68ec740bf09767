package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
	"github.com/sinkfs/sinkfs/fusefs/mount"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

func newJournalCommand() *cobra.Command {
	var stateDir string
	cmd := &cobra.Command{
		Use:   "journal",
		Short: "Look at, save and restore the journal of a state directory, offline",
		Long: `Work on the journal of a mount that does not run. The state directory is named
by --state-dir, or found by the target that was mounted.`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&stateDir, "state-dir", "", "the state directory (default: that of TARGET)")
	sub := func(use, short, example string, run func(dir string, cmd *cobra.Command) error) *cobra.Command {
		return &cobra.Command{
			Use: use + " [TARGET]", Short: short, Example: "  sinkfs journal " + example,
			Args: func(cmd *cobra.Command, args []string) error { return oneStateDir(cmd, args, stateDir) },
			RunE: func(cmd *cobra.Command, args []string) error {
				return withState(cmd.Context(), stateDir, args, func(dir string) error { return run(dir, cmd) })
			},
		}
	}
	cmd.AddCommand(
		sub("dump", "Print every record as a line of JSON", "dump --state-dir /var/lib/sinkfs/prod | jq .type",
			func(dir string, cmd *cobra.Command) error { return journal.Dump(dir, cmd.OutOrStdout()) }),
		sub("verify", "Check every record, and that none is missing", "verify /data/target",
			func(dir string, cmd *cobra.Command) error { return verifyJournal(dir, cmd.OutOrStdout()) }),
		sub("backup", "Write the journal to standard output", "backup /data/target > journal.bak",
			func(dir string, cmd *cobra.Command) error { return journal.Backup(dir, cmd.OutOrStdout()) }),
		newRestoreCommand(&stateDir),
	)
	return cmd
}

// oneStateDir wants either a target or --state-dir.
func oneStateDir(cmd *cobra.Command, args []string, stateDir string) error {
	switch {
	case len(args) == 0 && stateDir == "":
		return usagef("the state directory is missing: name TARGET or --state-dir, see '%s --help'", cmd.CommandPath())
	case len(args) > 0 && stateDir != "":
		return usagef("TARGET and --state-dir both name a state directory, write one of them")
	}
	return atMostOne(cmd, args)
}

// withState calls fn with the journal directory of a state directory that no
// mount uses meanwhile.
func withState(ctx context.Context, stateDir string, args []string, fn func(journal string) error) error {
	target := ""
	if stateDir == "" {
		t, err := config.ParseTarget(args[0])
		if err != nil {
			return fail(codeUsage, fmt.Errorf("target %s: %w", args[0], err))
		}
		target = t.String()
		if stateDir, err = config.DefaultStateDir(target); err != nil {
			return err
		}
	}
	lock, err := lockState(ctx, stateDir)
	if err != nil {
		return err
	}
	dir := filepath.Join(stateDir, "journal")
	return errors.Join(withRemedy(fn(dir), dir, target), lock.Close())
}

// lockState takes the lock that a mount holds for as long as it lives.
func lockState(ctx context.Context, stateDir string) (*mount.Lock, error) {
	if _, err := os.Stat(filepath.Join(stateDir, "lock")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s is not a state directory, name it with --state-dir", stateDir)
		}
		return nil, fail(codeState, err)
	}
	lock, err := mount.LockState(ctx, stateDir, lockWait, mount.Holder{PID: os.Getpid()})
	if errors.Is(err, mount.ErrInUse) {
		err = fmt.Errorf("%w; 'sinkfs fsck' and 'sinkfs gc' work on a mount", err)
	}
	return lock, fail(codeState, err)
}

func verifyJournal(dir string, out io.Writer) error {
	r, err := journal.Verify(dir)
	if err != nil {
		return fail(codeState, err)
	}
	return json.NewEncoder(out).Encode(r)
}
