//go:build faults

package local_test

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/fault"
)

const childDir = "SINKFS_TEST_DIR"

// TestFaultChild is the process that fails.
func TestFaultChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	if _, err := open(t, dir).Put(t.Context(), object("d/a", []byte("body"))); err == nil {
		t.Error("Put succeeded")
	}
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		plan      string
		published bool
	}{
		{string(fault.StoreTemp) + "=kill", false},
		{string(fault.StoreTemp) + "=error", false},
		{string(fault.StoreLinked) + "=kill", true},
		{string(fault.StoreLinked) + "=error", true},
	} {
		t.Run(test.plan, func(t *testing.T) {
			dir := t.TempDir()
			child := exec.Command(os.Args[0], "-test.run=^TestFaultChild$")
			child.Env = append(os.Environ(), fault.Env+"="+test.plan, childDir+"="+dir)
			out, err := child.CombinedOutput()
			var exit *exec.ExitError
			if killed := errors.As(err, &exit) && exit.ExitCode() == -1; killed != (test.plan[len(test.plan)-4:] == "kill") {
				t.Fatalf("the child ended with %v\n%s", err, out)
			}
			s := open(t, dir)
			info, err := s.Stat(t.Context(), "d/a")
			if !test.published {
				wantKind(t, "Stat", err, backend.ErrNotExist)
				put(t, s, "d/a", "body")
				return
			}
			if err != nil || !info.Owned || info.Size != 4 || info.Meta["sinkfs-part"] != "123456" {
				t.Errorf("Stat = %+v, %v, want the object of the child", info, err)
			}
			_, err = s.Put(t.Context(), object("d/a", []byte("body")))
			wantKind(t, "Put", err, backend.ErrExist)
		})
	}
}
