package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The linker fills these in, see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

// versionInfo is the answer of 'sinkfs version --json'.
type versionInfo struct {
	Version     string `json:"version"`
	Commit      string `json:"commit"`
	Go          string `json:"go"`
	Kernel      string `json:"kernel"`
	Passthrough bool   `json:"passthrough"`
	Reason      string `json:"passthrough_reason"`
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show version, commit, Go, kernel, and whether passthrough is available",
		Long: `Show which program this is and what the kernel offers it. With passthrough
(Linux 6.9 or newer, CAP_SYS_ADMIN) the kernel writes appends into the spool by
itself; without it they pass through the daemon. What a mount really uses is in
its status.`,
		Example: `  sinkfs version --json`,
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versionInfo{Version: version, Commit: commit, Go: runtime.Version(), Kernel: kernelRelease()}
			v.Reason = noPassthrough(v.Kernel)
			v.Passthrough = v.Reason == ""
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
			}
			passthrough := "available"
			if !v.Passthrough {
				passthrough = "not available: " + v.Reason
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "sinkfs %s (commit %s, %s)\nkernel %s, passthrough %s\n",
				v.Version, v.Commit, v.Go, v.Kernel, passthrough)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// noPassthrough is why the kernel cannot write by itself here, "" when it can.
func noPassthrough(release string) string {
	major, minor := kernelVersion(release)
	if major < 6 || major == 6 && minor < 9 {
		return "it needs Linux 6.9"
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		return err.Error()
	} else if err := f.Close(); err != nil {
		return err.Error()
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil || data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return "it needs CAP_SYS_ADMIN"
	}
	return ""
}

// kernelVersion is 0.0 for what it cannot read.
func kernelVersion(release string) (major, minor int) {
	if n, err := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 || err != nil {
		return 0, 0
	}
	return major, minor
}
