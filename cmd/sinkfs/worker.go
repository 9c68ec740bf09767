package main

import "github.com/spf13/cobra"

func newWorkerCommand() *cobra.Command { return &cobra.Command{Use: "worker"} }
