package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sinkfs/sinkfs/lifecycle"
)

func newStatusCommand() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status MOUNTPOINT",
		Short: "Show how a mount stands",
		Long: `Show what MOUNTPOINT/.sinkfs/status says: the target and its health, what waits
to be published and since when, and what will seal it. Any path inside the
mount will do.`,
		Example: `  sinkfs status /mnt/sink
  sinkfs status --watch /mnt/sink
  sinkfs status --json /mnt/sink | jq .oldest_unfinished_s`,
		Args: exactArgs("MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := controlOf(args[0])
			if !watch {
				return status(c, asJSON, "", cmd.OutOrStdout())
			}
			return everySecond(cmd.Context(), func() (bool, error) {
				return false, status(c, asJSON, "\x1b[H\x1b[2J", cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the status as JSON, on one line")
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again every second")
	return cmd
}

func everySecond(ctx context.Context, fn func() (done bool, err error)) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	return each(ctx, ticker.C, fn)
}

func status(c control, asJSON bool, before string, out io.Writer) error {
	var s lifecycle.Status
	text, err := c.readJSON("status", &s)
	if err != nil {
		return err
	}
	if asJSON {
		_, err = fmt.Fprintf(out, "%s\n", compact(text))
		return err
	}
	var page bytes.Buffer
	page.WriteString(before)
	if err := printStatus(&page, s, time.Now()); err != nil {
		return err
	}
	_, err = out.Write(page.Bytes())
	return err
}

func printStatus(out io.Writer, s lifecycle.Status, now time.Time) error {
	w := newTable(out)
	w.printf("state\t%s, %s mode, sinkfs %s, instance %s\n", s.State, s.Mode, s.Version, s.Instance)
	w.printf("target\t%s\t\n", targetText(s.Target, now))
	w.printf("write path\t%s\n", withReason(s.WritePath, s.WritePathReason))
	w.printf("spool\t%s used, %s free\n", humanize.IBytes(s.Spool.Used), humanize.IBytes(s.Spool.Free))
	for _, state := range partStates {
		if n := s.Counts[state]; n.Parts > 0 {
			w.printf("%s\t%s, %s\n", state, plural(n.Parts, "part"), bytesText(n.Bytes))
		}
	}
	if s.OldestUnfinished > 0 {
		w.printf("oldest unfinished\t%v\n", time.Duration(s.OldestUnfinished*float64(time.Second)).Round(time.Second))
	}
	if s.Alarm != "" {
		w.printf("ALARM\t%s\n", s.Alarm)
	}
	if s.LastError != "" {
		w.printf("last error\t%s\n", s.LastError)
	}
	printSources(w, s, now)
	if err := w.flush(); err != nil || s.Checkpoint == nil {
		return err
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return printCheckpoint(out, *s.Checkpoint)
}

func printSources(w *table, s lifecycle.Status, now time.Time) {
	if len(s.Sources) > 0 {
		w.printf("\nSOURCE\tUNFINISHED\tWRITERS\tSEALED BY\tIN\n")
	}
	for _, src := range s.Sources {
		in := "-"
		if src.RollsAt != nil {
			in = max(0, src.RollsAt.Sub(now)).Round(time.Second).String()
		}
		w.printf("%s\t%s\t%d\t%s\t%s\n", src.Path, bytesText(src.Unfinished), src.Writers, src.RollsBy, in)
	}
	if len(s.Scratch) > 0 {
		w.printf("\nSCRATCH (never published)\tBYTES\n")
	}
	for _, f := range s.Scratch {
		w.printf("%s\t%s\n", f.Path, bytesText(f.Bytes))
	}
	if len(s.Lost) > 0 {
		w.printf("\nLOST (its spool file was removed)\tPUBLISHED\tNOTICED\n")
	}
	for _, l := range s.Lost {
		w.printf("%s\t%s\t%s\n", l.Path, bytesText(l.Published), l.Since.Format(time.RFC3339))
	}
}

func targetText(t lifecycle.TargetStatus, now time.Time) string {
	text := t.URL + " is " + t.State
	if !t.Since.IsZero() {
		text += " since " + now.Sub(t.Since).Round(time.Second).String()
	}
	if t.CreateOnly == "emulated" {
		text += ", create-only emulated"
	}
	return withReason(text, t.Error)
}

func withReason(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + " (" + reason + ")"
}

// partStates are the states of parts, in the order of their life.
var partStates = []string{"in_progress", "pending", "committing", "finished", "quarantined"}

func knownState(state string) bool { return slices.Contains(partStates, state) }
