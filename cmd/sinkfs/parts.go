package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sinkfs/sinkfs/lifecycle"
)

func newPartsCommand() *cobra.Command {
	var asJSON bool
	var state string
	cmd := &cobra.Command{
		Use:   "parts MOUNTPOINT",
		Short: "List parts: all that are not finished, and the last finished ones",
		Long: `List what MOUNTPOINT/.sinkfs/parts says: every part that is not finished, then
the last 1,000 that are. Any path inside the mount will do.`,
		Example: `  sinkfs parts /mnt/sink
  sinkfs parts --state quarantined --json /mnt/sink`,
		Args: exactArgs("MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if state != "" && !knownState(state) {
				return usagef("--state %q is not a state, write one of %s", state, strings.Join(partStates, ", "))
			}
			return parts(controlOf(args[0]), state, asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "only parts in this state: "+strings.Join(partStates, ", "))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

func parts(c control, state string, asJSON bool, out io.Writer) error {
	w := newTable(out)
	if !asJSON {
		w.printf("PART\tSTATE\tBYTES\tRECORDS\tCHECKPOINT\tURL\n")
	}
	err := c.parts(func(line []byte, p lifecycle.PartStatus) error {
		switch {
		case state != "" && p.State != state:
		case asJSON:
			w.printf("%s\n", line)
		default:
			w.printf("%d\t%s\t%d\t%d\t%d\t%s\n", p.Part, p.State, p.Bytes, p.Records, p.Checkpoint, withReason(p.URL, p.Error))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.flush()
}

// parts calls fn for each line of the parts file.
func (c control) parts(fn func(line []byte, p lifecycle.PartStatus) error) (err error) {
	f, err := c.open("parts", os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return c.explain(err)
		}
		var p lifecycle.PartStatus
		if err := json.Unmarshal(line, &p); err != nil {
			return fail(codeFailed, fmt.Errorf("a line of the parts file cannot be read: %w", err))
		}
		if err := fn([]byte(strings.TrimSuffix(string(line), "\n")), p); err != nil {
			return err
		}
	}
}
