package main

import "github.com/spf13/cobra"

// newHelpCommand is --help for those who write it as a word.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Print what a command does, as its --help",
		Example: `  sinkfs help journal restore`,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noSuchCommand(about, rest)
			}
			about.InitDefaultHelpFlag() // Help lists it only when it is there
			return about.Help()
		},
	}
}
