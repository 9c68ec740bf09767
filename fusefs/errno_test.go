package fusefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"syscall"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
)

func TestEveryKindHasItsErrno(t *testing.T) {
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{lifecycle.ErrFinished, syscall.EPERM},
		{lifecycle.ErrExist, syscall.EEXIST},
		{lifecycle.ErrOtherSink, syscall.EXDEV},
		{lifecycle.ErrReserved, syscall.EPERM},
		{lifecycle.ErrName, syscall.EILSEQ},
		{lifecycle.ErrKeyTooLong, syscall.ENAMETOOLONG},
		{lifecycle.ErrUnfinished, syscall.EBUSY},
		{lifecycle.ErrAppendOnly, syscall.EPERM},
		{lifecycle.ErrBatch, syscall.EINVAL},
		{lifecycle.ErrIncomplete, syscall.EIO},
		{errNotAppended, syscall.ESPIPE},
		{errReleased, syscall.ENODATA},
		{errUnknownNode, syscall.ESTALE},
		{backend.ErrNotExist, syscall.ENOENT},
		{context.DeadlineExceeded, syscall.ETIMEDOUT},
		{context.Canceled, syscall.EINTR},
		{syscall.ENOTEMPTY, syscall.ENOTEMPTY},
		{errors.Join(lifecycle.ErrIncomplete, syscall.ENOSPC), syscall.ENOSPC},
		{errors.New("anything"), syscall.EIO},
	} {
		if got, _ := toErrno(fmt.Errorf("why: %w", c.err)); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

// TestNoKindIsForgotten reads the sentinels of the layers below from their
// source: one that is new there must get a row here.
func TestNoKindIsForgotten(t *testing.T) {
	table, err := os.ReadFile("errno.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"lifecycle", "backend"} {
		src, err := os.ReadFile("../" + pkg + "/errors.go")
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`(?m)^\s*(Err\w+)\s*=\s*errors\.New`).FindAllStringSubmatch(string(src), -1)
		if len(names) < 5 {
			t.Fatalf("%s: only %d sentinels found", pkg, len(names))
		}
		for _, n := range names {
			if !slices.Contains(regexp.MustCompile(`[\w.]+`).FindAllString(string(table), -1), pkg+"."+n[1]) {
				t.Errorf("%s.%s has no errno", pkg, n[1])
			}
		}
	}
}
