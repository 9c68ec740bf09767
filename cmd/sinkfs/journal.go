package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
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
				return withState(stateDir, args, func(dir string) error { return run(dir, cmd) })
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
		sub("restore", "Read a backup from standard input; the journal that is there is kept beside it", "restore /data/target < journal.bak",
			func(dir string, cmd *cobra.Command) error { return journal.Restore(dir, cmd.InOrStdin()) }),
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
	case len(args) > 1:
		return usagef("%q is one argument too many, see '%s --help'", args[1], cmd.CommandPath())
	}
	return nil
}

// withState calls fn with the journal directory of a state directory that no
// mount uses meanwhile.
func withState(stateDir string, args []string, fn func(journal string) error) (err error) {
	if stateDir == "" {
		t, err := config.ParseTarget(args[0])
		if err != nil {
			return fail(codeUsage, fmt.Errorf("target %s: %w", args[0], err))
		}
		if stateDir, err = config.DefaultStateDir(t.String()); err != nil {
			return err
		}
	}
	unlock, err := lockState(stateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return fn(filepath.Join(stateDir, "journal"))
}

// lockState takes the lock that a mount holds for as long as it lives.
func lockState(stateDir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(stateDir, "lock"), os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fail(codeState, fmt.Errorf("%s is not a state directory, name it with --state-dir", stateDir))
	case err != nil:
		return nil, fail(codeState, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 4096)) // it only names the holder
		return nil, errors.Join(fail(codeState, fmt.Errorf("state directory %s is in use by %s: unmount first, 'sinkfs fsck' works on a mount",
			stateDir, strings.Join(strings.Fields(string(holder)), " "))), f.Close())
	}
	return f.Close, nil
}

func verifyJournal(dir string, out io.Writer) error {
	r, err := journal.Verify(dir)
	if err != nil {
		return fail(codeState, err)
	}
	return json.NewEncoder(out).Encode(r)
}
