package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestWalkOfANameThatIsBoth: a directory whose name an object has too is walked
// wherever a batch ends.
func TestWalkOfANameThatIsBoth(t *testing.T) {
	s := mem.New(mem.Options{})
	for i := range 999 {
		s.Foreign(backend.Key(fmt.Sprintf("a%04d", i)), nil)
	}
	s.Foreign("b", nil)
	s.Foreign("b/part-1", []byte("x"))
	s.Foreign("c", nil)
	var seen int
	below := false
	if err := audit.Walk(t.Context(), s, func(i backend.Info) error {
		seen++
		below = below || i.Key == "b/part-1"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("objects %d, seen %d", len(s.Objects()), seen)
	if !below {
		t.Error("b/part-1 was not walked")
	}
}

// plain is a store that keeps no checksums, as s3 with checksum: none.
type plain struct{ backend.Store }

func (p plain) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	i, err := p.Store.Stat(ctx, k)
	i.Checksum = ""
	return i, err
}

// TestBodiesWithoutAChecksumOfTheStore: the journal knows what was staged.
func TestBodiesWithoutAChecksumOfTheStore(t *testing.T) {
	s := mem.New(mem.Options{})
	meta := backend.Meta{"sinkfs-instance": "u1", "sinkfs-part": "7", "sinkfs-n": "3", "sinkfs-attempt": "1", "sinkfs-sink": ""}
	body := []byte("wrong bytes!")
	if _, err := s.Put(t.Context(), backend.Object{
		Key: "h/part-u1-3", Size: int64(len(body)), Meta: meta,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}); err != nil {
		t.Fatal(err)
	}
	r, err := audit.Fsck(t.Context(), audit.Input{Store: plain{s}, Bodies: true, State: audit.Fixed(audit.State{Records: []journal.Record{
		journal.Instance{UID: "u1"},
		journal.Counter{Sink: "\x00parts", Next: 8},
		journal.Counter{Sink: "", Next: 4},
		journal.Checkpoint{ID: 1},
		journal.Part{ID: 7, N: 3, Key: "h/part-u1-3", Bytes: int64(len(body)), Checksum: "crc32c:deadbeef", State: journal.Finished, Checkpoint: 1, Attempt: 1},
	}})})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.Problems == 0 {
		t.Error("fsck --bodies is clean, the bytes are not those of the journal's crc32c:deadbeef")
	}
}
