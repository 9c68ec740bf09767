package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man [DIR]",
		Short: "Print the man page, or write one page per command into a directory",
		Example: `  sinkfs man | man -l -
  sinkfs man /usr/local/share/man/man1`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return writeMan(cmd.OutOrStdout(), cmd.Root())
			}
			return writeManDir(args[0], cmd.Root())
		},
	}
}

func writeManDir(dir string, cmd *cobra.Command) error {
	var page bytes.Buffer
	if err := writeMan(&page, cmd); err != nil {
		return err
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	if err := os.WriteFile(filepath.Join(dir, name), page.Bytes(), 0o644); err != nil {
		return err
	}
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			if err := writeManDir(dir, sub); err != nil {
				return err
			}
		}
	}
	return nil
}

// roff escapes text for man(7).
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// writeMan writes the page of one command.
func writeMan(out io.Writer, cmd *cobra.Command) error {
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	var p bytes.Buffer
	section := func(title string) { fmt.Fprintf(&p, ".SH %s\n", title) }
	fmt.Fprintf(&p, ".TH %s 1 \"\" \"sinkfs %s\" \"sinkfs manual\"\n", strings.ToUpper(roff(name)), roff(version))
	section("NAME")
	fmt.Fprintf(&p, "%s \\- %s\n", roff(name), roff(cmd.Short))
	section("SYNOPSIS")
	fmt.Fprintf(&p, ".B %s\n", roff(cmd.UseLine()))
	if cmd.Long != "" {
		section("DESCRIPTION")
		for paragraph := range strings.SplitSeq(cmd.Long, "\n\n") {
			fmt.Fprintf(&p, "%s\n.PP\n", roff(paragraph))
		}
	}
	manCommands(&p, cmd)
	manOptions(&p, cmd)
	if cmd.Example != "" {
		section("EXAMPLES")
		fmt.Fprintf(&p, ".nf\n%s\n.fi\n", roff(cmd.Example))
	}
	if !cmd.HasParent() {
		section("EXIT STATUS")
		for _, c := range exitTexts {
			fmt.Fprintf(&p, ".TP\n.B %d\n%s\n", c.code, roff(c.text))
		}
	}
	_, err := p.WriteTo(out)
	return err
}

func manCommands(p *bytes.Buffer, cmd *cobra.Command) {
	title := ".SH COMMANDS\n"
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			fmt.Fprintf(p, "%s.TP\n.B %s\n%s\n", title, roff(sub.CommandPath()), roff(sub.Short))
			title = ""
		}
	}
}

func manOptions(p *bytes.Buffer, cmd *cobra.Command) {
	title := ".SH OPTIONS\n"
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		short := ""
		if f.Shorthand != "" {
			short = "-" + f.Shorthand + ", "
		}
		kind, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(p, "%s.TP\n.B %s\n%s\n", title, roff(strings.TrimSpace(short+"--"+f.Name+" "+kind)), roff(usage))
		title = ""
	})
}
