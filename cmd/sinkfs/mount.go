package main

import "github.com/spf13/cobra"

func newMountCommand() *cobra.Command { return &cobra.Command{Use: "mount"} }
