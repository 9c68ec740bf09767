package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// run executes one command line and returns the exit code of the process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return codeDone
	}
	if text := message(err); text != "" {
		_, _ = fmt.Fprintln(stderr, "sinkfs: "+text) // where else to say that it failed
	}
	return codeOf(err)
}

// newRootCommand is the one definition that help, completions and man pages
// come from.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sinkfs",
		Short: "Turn plain writes into finished part files, exactly once",
		Long: `sinkfs is a directory that turns plain writes into finished part files in an
object store, exactly once. Programs write with open, write and close; readers
of the mount and of the target see finished files only, which never change.`,
		Example: `  sinkfs mount -b /data/target /mnt/sink     # mount, return when it answers
  echo hello >> /mnt/sink/app.log            # write as to any directory
  sinkfs checkpoint /mnt/sink                # publish everything, and wait
  sinkfs umount /mnt/sink                    # publish, then unmount`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelpCommand())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w, see '%s --help'", err, cmd.CommandPath())
	})
	root.AddCommand(
		newMountCommand(),
		newWorkerCommand(),
		newUmountCommand(),
		newCheckpointCommand(),
		newStatusCommand(),
		newPartsCommand(),
		newWaitCommand(),
		newFsckCommand(),
		newGCCommand(),
		newJournalCommand(),
		newConfigCommand(),
		newVersionCommand(),
		newCompletionCommand(),
		newManCommand(),
	)
	return root
}

// noSuchCommand refuses what cobra took for an argument of the root.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	text := fmt.Sprintf("there is no command %q", strings.TrimPrefix(cmd.CommandPath()+" ", "sinkfs ")+args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += fmt.Sprintf(", the nearest is %q", near[0])
	}
	return usagef("%s, see '%s --help'", text, cmd.CommandPath())
}

// exactArgs is cobra.ExactArgs with our exit code and words.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("%s is missing, see '%s --help'", names[len(args)], cmd.CommandPath())
		case len(args) > len(names):
			return usagef("%q is one argument too many, see '%s --help'", args[len(names)], cmd.CommandPath())
		}
		return nil
	}
}

// atMostOne is cobra.MaximumNArgs(1) with our exit code and words.
func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("%q is one argument too many, see '%s --help'", args[1], cmd.CommandPath())
	}
	return nil
}
