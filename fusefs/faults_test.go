//go:build faults

package fusefs_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKilledAtFaultPoints lets the worker die at an instant that hurts, while
// a program waits for the answer; the next worker must give the right one.
func TestKilledAtFaultPoints(t *testing.T) {
	const line = "the same line\n"
	for _, c := range []struct {
		fault string
		call  func(m *mounted) error
		want  string // of the source a.log, after the call
	}{
		{"write.applied=kill@2", func(m *mounted) error { return lines(m, unix.O_RDWR, line, 4) }, strings.Repeat(line, 4)},
		{"write.applied=kill@3", func(m *mounted) error { return lines(m, unix.O_RDWR|unix.O_APPEND, line, 4) }, strings.Repeat(line, 4)},
		{"write.applied=kill@1", func(m *mounted) error { return big(m) }, strings.Repeat("x", 3<<20)},
		{"spool.create=kill@1", func(m *mounted) error { return lines(m, unix.O_WRONLY|unix.O_EXCL, line, 1) }, line},
		{"spool.create=kill@1", func(m *mounted) error { return lines(m, unix.O_WRONLY, line, 1) }, line},
		{"spool.base=kill@1", func(m *mounted) error {
			if err := lines(m, unix.O_WRONLY, line, 2); err != nil {
				return err
			}
			return lines(m, unix.O_WRONLY|unix.O_TRUNC, line, 1)
		}, line},
	} {
		t.Run(c.fault, func(t *testing.T) {
			m := mount(t, daemonConfig{Passthrough: "off"})
			m.replace("SINKFS_FAULT=" + c.fault)
			done := make(chan error, 1)
			go func() { done <- c.call(m) }()
			m.order("wait")
			// A worker that dies when it has adopted leaves the same work.
			m.order("SINKFS_FAULT=handover.adopted=kill@1")
			m.replace()
			must(t, <-done)
			got, err := os.ReadFile(m.path("a.log"))
			if err != nil || string(got) != c.want {
				t.Errorf("%d bytes, %v, want %d", len(got), err, len(c.want))
			}
			m.publish()
		})
	}
}

func lines(m *mounted, flags int, line string, n int) error {
	fd, err := unix.Open(m.path("a.log"), flags|unix.O_CREAT, 0o644)
	if err != nil {
		return err
	}
	for range n {
		if _, err := unix.Write(fd, []byte(line)); err != nil {
			return err
		}
	}
	return unix.Close(fd)
}

// big is one write(2) that reaches the daemon in pieces.
func big(m *mounted) error {
	fd, err := unix.Open(m.path("a.log"), unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	b := []byte(strings.Repeat("x", 3<<20))
	if n, err := unix.Write(fd, b); err != nil || n != len(b) {
		return err
	}
	return unix.Close(fd)
}
