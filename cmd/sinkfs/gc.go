package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/sinkfs/sinkfs/lifecycle/audit"
)

func newGCCommand() *cobra.Command {
	var place statePlace
	var asJSON, remove bool
	cmd := &cobra.Command{
		Use:   "gc [flags] TARGET | MOUNTPOINT",
		Short: "List objects that are proved unreferenced, and delete them if told",
		Long: `List the objects of a target that nothing refers to, each with the proof: it
holds a part of this instance that is finished elsewhere, and that other object
was just seen. Nothing is deleted without --delete, and then everything is
proved again first. What fsck calls an orphan without such a proof stays.`,
		Example: `  sinkfs gc /mnt/sink
  sinkfs gc --delete /mnt/sink`,
		Args: exactArgs("TARGET or MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAudit(cmd.Context(), args[0], place, func(in audit.Input) error {
				return gc(cmd.Context(), in, asJSON, remove, cmd.OutOrStdout())
			})
		},
	}
	place.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVar(&remove, "delete", false, "delete them")
	return cmd
}

// garbageLine is one line of gc --json.
type garbageLine struct {
	audit.Row
	Deleted bool   `json:"deleted"`
	Error   string `json:"error,omitempty"`
}

func gc(ctx context.Context, in audit.Input, asJSON, remove bool, out io.Writer) error {
	rows, err := audit.Garbage(ctx, in)
	if err != nil {
		return fail(codeFailed, err)
	}
	w := newTable(out)
	var failed error
	for _, r := range rows {
		line := garbageLine{Row: r}
		if remove {
			err := audit.Remove(ctx, in, r)
			line.Deleted = err == nil
			if err != nil {
				line.Error = err.Error()
				failed = errors.Join(failed, err)
			}
		}
		printGarbage(w, line, asJSON)
	}
	if len(rows) == 0 && !asJSON {
		w.printf("nothing to remove\n")
	}
	return errors.Join(w.flush(), fail(codeFailed, failed))
}

func printGarbage(w *table, l garbageLine, asJSON bool) {
	if asJSON {
		text, err := json.Marshal(l)
		w.err = errors.Join(w.err, err)
		w.printf("%s\n", text)
		return
	}
	what := "unreferenced"
	switch {
	case l.Deleted:
		what = "deleted"
	case l.Error != "":
		what = "kept"
	}
	w.printf("%s\t%s\t%d\t%s\n", what, l.Path, l.Bytes, withReason(l.Explanation, l.Error))
}
