package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
)

func newFsckCommand() *cobra.Command {
	var place statePlace
	var asJSON, all, bodies bool
	cmd := &cobra.Command{
		Use:   "fsck [flags] TARGET | MOUNTPOINT",
		Short: "Explain every object of a target and every byte of the spool",
		Long: `Account for every object of a target and every byte of the spool, and change
nothing. Name the mountpoint of a running mount, or the target of one that does
not run. Without a state directory objects are explained by their own marks.

It ends with 9 when something is wrong: an object that nothing refers to, a
part that is missing or altered, bytes that are lost or there twice.`,
		Example: `  sinkfs fsck /mnt/sink
  sinkfs fsck --bodies /data/target     # read every object, compare checksums
  sinkfs fsck --json /mnt/sink | jq '.rows[] | select(.problem)'`,
		Args: exactArgs("TARGET or MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAudit(cmd.Context(), args[0], place, func(in audit.Input) error {
				in.Bodies = bodies
				return fsck(cmd.Context(), in, asJSON, all, cmd.OutOrStdout())
			})
		},
	}
	place.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.Flags().BoolVar(&all, "all", false, "list every object and source, not only problems")
	cmd.Flags().BoolVar(&bodies, "bodies", false, "read every object of ours and compare it with its checksum")
	return cmd
}

func fsck(ctx context.Context, in audit.Input, asJSON, all bool, out io.Writer) error {
	r, err := audit.Fsck(ctx, in)
	if err != nil {
		return fail(codeFailed, err)
	}
	if asJSON {
		err = json.NewEncoder(out).Encode(r)
	} else {
		err = printReport(out, r, all)
	}
	if err != nil || r.Problems == 0 {
		return err
	}
	return fail(codeFsck, fmt.Errorf("%s found: the lines marked ! say what is wrong", plural(r.Problems, "problem")))
}

func printReport(out io.Writer, r audit.Report, all bool) error {
	w := newTable(out)
	w.printf("  WHERE\tWHAT\tNUMBER\tBYTES\n")
	for _, t := range r.Totals {
		w.printf("  %s\t%s\t%d\t%d\n", t.Area, t.Kind, t.Rows, t.Bytes)
	}
	for _, row := range r.Rows {
		mark := " "
		if row.Problem {
			mark = "!"
		} else if !all {
			continue
		}
		w.printf("%s %s\t%s\t%s\t%d\t%s\n", mark, row.Area, row.Kind, row.Path, row.Bytes, row.Explanation)
	}
	return w.flush()
}

// statePlace is where the state directory of a target is, when no mount says
// so.
type statePlace struct{ dir, config string }

func (p *statePlace) register(flags *pflag.FlagSet) {
	flags.StringVar(&p.dir, "state-dir", "", "the state directory of TARGET (default: by the target)")
	flags.StringVarP(&p.config, "config", "c", "", "the configuration that TARGET is mounted with")
}

// withAudit gives fn what an audit of a mount, or of a target without one,
// looks at.
func withAudit(ctx context.Context, arg string, place statePlace, fn func(audit.Input) error) error {
	c := controlOf(arg)
	if !strings.Contains(arg, "://") {
		if _, err := c.read("status"); err == nil {
			if place != (statePlace{}) {
				return usagef("%s is a mount, which knows its state directory: leave --state-dir and --config out", arg)
			}
			return withMountAudit(ctx, c, fn)
		}
	}
	return withTargetAudit(ctx, arg, place, fn)
}

func withMountAudit(ctx context.Context, c control, fn func(audit.Input) error) error {
	if _, err := c.read("config"); err != nil {
		return err
	}
	cfg, err := config.Load(filepath.Join(c.dir, "config"), nil)
	if err != nil {
		return err
	}
	store, err := config.OpenStore(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return openedTarget(err)
	}
	return fn(audit.Input{Store: store, State: func(context.Context) (audit.State, error) {
		var s audit.State
		_, err := c.readJSON("account", &s)
		return s, err
	}})
}

// load is the configuration of the target, whose state directory is known then.
func (p statePlace) load(environ []string, over ...config.Override) (*config.Config, error) {
	if p.dir != "" {
		over = append(over, config.Override{Key: "state_dir", Value: p.dir, Flag: "--state-dir"})
	}
	cfg, err := config.Load(p.config, environ, over...)
	if err == nil {
		err = cfg.Resolve()
	}
	return cfg, err
}

func withTargetAudit(ctx context.Context, arg string, place statePlace, fn func(audit.Input) error) error {
	cfg, err := place.load(os.Environ(), config.Override{Key: "target", Value: arg, Flag: "TARGET"})
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	store, err := openStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.StateDir); errors.Is(err, fs.ErrNotExist) && place == (statePlace{}) {
		return fn(audit.Input{Store: store, State: audit.Fixed(audit.State{})})
	}
	lock, err := lockState(ctx, cfg.StateDir)
	if err != nil {
		return err
	}
	state, err := lifecycle.AccountOf(lifecycle.Config{
		StateDir: cfg.StateDir, SpoolDir: cfg.SpoolDir, Target: cfg.Target, Remedy: remedy(place.config, cfg), Log: log,
	})
	if err != nil {
		err = fail(codeState, err)
	} else {
		err = fn(audit.Input{Store: store, State: audit.Fixed(state)})
	}
	return errors.Join(err, lock.Close())
}

// openStore opens a target that need not have been mounted ever: of one that is
// missing it says no more than that.
func openStore(ctx context.Context, cfg *config.Config, log *slog.Logger) (backend.Store, error) {
	if t, err := config.ParseTarget(cfg.Target); err == nil && t.Scheme == "file" {
		if _, err := os.Stat(t.Path); err != nil {
			return nil, fail(codeTarget, fmt.Errorf("target: %w", err))
		}
	}
	store, err := config.OpenStore(ctx, cfg, log)
	return store, openedTarget(err)
}

// openedTarget gives an error of a store that would not open its exit code.
func openedTarget(err error) error {
	if err == nil {
		return nil
	}
	if codeOf(err) == codeFailed {
		return fail(codeTarget, err)
	}
	return err
}
