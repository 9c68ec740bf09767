package objects

import (
	"errors"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
)

// TestPlan: parts are as small as 10,000 of them allow, up to objects of 5 TiB
// and more, and what no store takes is refused.
func TestPlan(t *testing.T) {
	const mib, tib = 1 << 20, 1 << 40
	for _, tt := range []struct{ size, usual, want int64 }{
		{0, 8 * mib, 8 * mib},
		{1, 8 * mib, 8 * mib},
		{80_000 * mib, 8 * mib, 8 * mib},
		{80_000*mib + 1, 8 * mib, 9 * mib},
		{1 * tib, 8 * mib, 105 * mib},
		{5 * tib, 8 * mib, 525 * mib},
		{5 * tib, 1 << 30, 1 << 30},
		{48 * tib, 8 * mib, 5034 * mib},
		{160_000, 16, 16}, // of a server that takes small ones
		{160_001, 16, 17},
	} {
		part, err := plan(backend.Object{Key: "k", Size: tt.size}, tt.usual)
		if err != nil || part != tt.want {
			t.Errorf("plan of %d bytes in parts of %d = %d, %v; want %d", tt.size, tt.usual, part, err, tt.want)
			continue
		}
		if n := (&Parts{Object: backend.Object{Size: tt.size}, Part: part}).Count(); n > MaxParts || part > MaxPart {
			t.Errorf("%d bytes are %d parts of %d", tt.size, n, part)
		}
	}
	if _, err := plan(backend.Object{Key: "k", Size: 49 * tib}, 8*mib); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("plan of 49 TiB = %v, want ErrUnsupported", err)
	}
}
