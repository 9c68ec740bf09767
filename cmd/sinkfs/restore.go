package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// restoreFlags are those of a rebuild.
type restoreFlags struct {
	place      statePlace
	fromTarget bool
	asJSON     bool
	o          lifecycle.RebuildOptions
}

func newRestoreCommand(stateDir *string) *cobra.Command {
	f := &restoreFlags{}
	cmd := &cobra.Command{
		Use:   "restore [flags] [TARGET]",
		Short: "Rebuild a lost or damaged journal, or read a backup from standard input",
		Long: `Rebuild the journal of a state directory whose journal is lost, damaged or too
old: with --from-target from the spool, the manifests, what the old journal left
in STATE_DIR/rebuild, and the objects of the target. What is finished is not
published again, what is not stays in the spool and is published by the next
mount. The instance takes a new uid, so that no name is used twice; uploads
that the old one left are aborted. What cannot be proved is named, and then
nothing is changed, unless --publish-unproved says to publish it, perhaps again.

Without --from-target a backup is read from standard input. It knows nothing of
what was published since it was taken: that would be published again.

Either way no mount may use the state directory, and the journal that was there
is kept beside the new one. Name the target and the configuration as for the
mount.`,
		Example: `  sinkfs journal restore --from-target --dry-run /data/target
  sinkfs journal restore --from-target -c /etc/sinkfs/prod.yaml --state-dir /var/lib/sinkfs/prod oss://logs/prod
  sinkfs journal restore --state-dir /var/lib/sinkfs/prod < journal.bak`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.place.dir = *stateDir
			if f.fromTarget {
				return f.rebuild(cmd, args)
			}
			if f.place.config != "" || f.asJSON || f.o.DryRun || f.o.Unproved || len(f.o.Instances) > 0 {
				return usagef("these flags are for --from-target: a backup on standard input is taken as it is")
			}
			if err := oneStateDir(cmd, args, *stateDir); err != nil {
				return err
			}
			return withState(cmd.Context(), *stateDir, args, func(dir string) error {
				if err := journal.Restore(dir, cmd.InOrStdin()); err != nil {
					return err
				}
				return lifecycle.SetManifestsAside(filepath.Dir(dir))
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.fromTarget, "from-target", false, "rebuild it from spool, manifests and target")
	flags.StringVarP(&f.place.config, "config", "c", "", "the configuration that TARGET is mounted with")
	flags.BoolVar(&f.o.DryRun, "dry-run", false, "only say what would be rebuilt")
	flags.BoolVar(&f.o.Unproved, "publish-unproved", false, "publish what is not proved finished, perhaps a second time")
	flags.StringArrayVar(&f.o.Instances, "instance", nil, "a `UID` that the state directory had, where nothing says it any more")
	flags.BoolVar(&f.asJSON, "json", false, "print what was found as JSON")
	return cmd
}

func (f *restoreFlags) rebuild(cmd *cobra.Command, args []string) error {
	if err := atMostOne(cmd, args); err != nil {
		return err
	}
	var over []config.Override
	if len(args) == 0 && f.place.config == "" && f.place.dir != "" {
		if target := lifecycle.TargetOf(f.place.dir); target != "" {
			args = []string{target}
		}
	}
	if len(args) == 1 {
		over = append(over, config.Override{Key: "target", Value: args[0], Flag: "TARGET"})
	}
	cfg, err := f.place.load(os.Environ(), over...)
	if err != nil {
		return err
	}
	lock, err := lockState(cmd.Context(), cfg.StateDir)
	if err != nil {
		return err
	}
	return errors.Join(f.rebuildLocked(cmd.Context(), cfg, cmd.OutOrStdout()), lock.Close())
}

func (f *restoreFlags) rebuildLocked(ctx context.Context, cfg *config.Config, out io.Writer) error {
	log := slog.New(slog.DiscardHandler)
	store, err := openStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	c, err := cfg.Lifecycle()
	if err != nil {
		return fail(codeConfig, err)
	}
	c.Store, c.Log = store, log
	r, err := lifecycle.Rebuild(ctx, c, f.o)
	if err != nil && len(r.Sources)+len(r.Gaps) == 0 {
		return err
	}
	if f.asJSON {
		return errors.Join(err, json.NewEncoder(out).Encode(r))
	}
	return errors.Join(err, f.print(out, r, err == nil && !f.o.DryRun))
}

// print says what was found, what becomes of it, and what to do next.
func (f *restoreFlags) print(out io.Writer, r lifecycle.Rebuilt, made bool) error {
	w := newTable(out)
	var finished, unfinished int64
	for _, s := range r.Sources {
		finished, unfinished = finished+s.Finished, unfinished+s.Unfinished
	}
	w.printf("found\t%s, %d of them in the target; newest checkpoint %d\n", plural(int64(r.Parts), "finished part"), r.Objects, r.Checkpoint)
	w.printf("spool\t%s: %d bytes finished, %d to be published\n", plural(int64(len(r.Sources)), "file"), finished, unfinished)
	for _, s := range r.Sources {
		switch {
		case s.Unproved != "":
			w.printf("! unproved\t%s: %d of %d bytes may be finished: %s\n", s.Path, s.Unfinished, s.Bytes, s.Unproved)
		case s.Unfinished > 0:
			w.printf("to publish\t%s: %d of %d bytes\n", s.Path, s.Unfinished, s.Bytes)
		}
	}
	for _, g := range r.Gaps {
		w.printf("! missing\t%s\n", g)
	}
	for _, text := range r.Warnings {
		w.printf("! warning\t%s\n", text)
	}
	done := "would abort"
	if made {
		done = "aborted"
	}
	for _, u := range r.Uploads {
		w.printf("%s\tupload %s of %s: %s\n", done, u.Upload, u.Path, u.Explanation)
	}
	for _, u := range r.Left {
		w.printf("left\tupload %s of %s: %s\n", u.Upload, u.Path, u.Explanation)
	}
	switch {
	case made:
		w.printf("rebuilt\tinstance %s", r.Instance)
		if n := len(r.Former); n > 0 {
			w.printf(" (was %s)", r.Former[n-1])
		}
		if r.Kept != "" {
			w.printf("; the old journal is in %s", r.Kept)
		}
		w.printf("\n")
	case f.o.DryRun:
		w.printf("nothing was changed\n")
	}
	return w.flush()
}

// remedy is the command that rebuilds the journal of what is configured.
func remedy(configFile string, cfg *config.Config) string {
	line := "sinkfs journal restore --from-target"
	if configFile != "" {
		line += " -c " + quoted(absolute(configFile))
	}
	return line + " --state-dir " + quoted(cfg.StateDir) + " " + quoted(cfg.Target)
}

// quoted is a word for a shell.
func quoted(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:=@%+,"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// withRemedy adds to an error of a damaged journal how to rebuild it.
func withRemedy(err error, dir, target string) error {
	if !errors.Is(err, journal.ErrDamaged) && !errors.Is(err, journal.ErrBehind) && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	stateDir := filepath.Dir(dir)
	if target == "" {
		if target = lifecycle.TargetOf(stateDir); target == "" {
			target = "TARGET"
		}
	}
	return fmt.Errorf("%w: rebuild it with '%s', and -c if it is mounted with a configuration",
		err, remedy("", &config.Config{StateDir: stateDir, Target: target}))
}
