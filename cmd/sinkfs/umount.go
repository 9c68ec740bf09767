package main

import "github.com/spf13/cobra"

func newUmountCommand() *cobra.Command { return &cobra.Command{Use: "umount"} }
