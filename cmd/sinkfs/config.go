package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show configurations",
		Long: `A configuration is one YAML file, every key optional except the target. Flags
win over the file, the file over SINKFS_* in the environment.`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheckCommand(), newConfigShowCommand(), newConfigSchemaCommand(), newConfigSampleCommand())
	return cmd
}

// loadArgs loads by the argument [FILE] and the flag --target of config check
// and show.
func loadArgs(args []string, target string) (*config.Config, error) {
	file := ""
	if len(args) > 0 {
		file = args[0]
	}
	var over []config.Override
	if target != "" {
		over = append(over, config.Override{Key: "target", Value: target, Flag: "--target"})
	}
	c, err := config.Load(file, os.Environ(), over...)
	if err != nil {
		return nil, err
	}
	return c, c.Resolve()
}

func newConfigCheckCommand() *cobra.Command {
	var target string
	cmd := &cobra.Command{
		Use:     "check [FILE]",
		Short:   "List every error of a configuration, with file, line and column",
		Example: `  sinkfs config check /etc/sinkfs/prod.yaml`,
		Args:    atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := loadArgs(args, target)
			var all config.Errors
			if !errors.As(err, &all) {
				return err
			}
			for _, e := range all {
				if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "sinkfs: "+e.Error()); err != nil {
					return err
				}
			}
			return &exitError{code: codeConfig}
		},
	}
	cmd.Flags().StringVar(&target, "target", "", "the target, when it is named on the command line of the mount")
	return cmd
}

func newConfigShowCommand() *cobra.Command {
	var target string
	cmd := &cobra.Command{
		Use:     "show [FILE]",
		Short:   "Show what a configuration means, defaults and environment included",
		Example: `  SINKFS_CHECKPOINT_INTERVAL=10s sinkfs config show /etc/sinkfs/prod.yaml`,
		Args:    atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadArgs(args, target)
			if err != nil {
				return err
			}
			text, err := c.Show()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&target, "target", "", "the target, when it is named on the command line of the mount")
	return cmd
}

func newConfigSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON schema of the file, for editors",
		Example: `  sinkfs config schema > sinkfs.schema.json`,
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", text)
			return err
		},
	}
}

func newConfigSampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "sample [FILE]",
		Short:   "Print a commented configuration with every key, or write it to a new file",
		Example: `  sinkfs config sample /etc/sinkfs/prod.yaml`,
		Args:    atMostOne,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) == 0 {
				_, err := cmd.OutOrStdout().Write(config.Sample())
				return err
			}
			f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return fmt.Errorf("%w: name a new file", err)
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			_, err = f.Write(config.Sample())
			return err
		},
	}
}
