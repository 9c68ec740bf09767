package lifecycle

import (
	"errors"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestCheckpointThatEndsInTwoStepsAfterAFailure: the journal refused the end of
// a checkpoint; what is told of it meanwhile is how a checkpoint can end, and
// its parts are counted once.
func TestCheckpointThatEndsInTwoStepsAfterAFailure(t *testing.T) {
	down := true
	store := refuses("b.bin", &down)
	c := Config{Store: store, Target: "mem", Sinks: []Sink{fileSink()}, CommitTimeout: 200 * time.Millisecond}
	in := killable(t, &c)
	put(t, in, "a.bin", "a")
	put(t, in, "b.bin", "b")
	ck, err := in.prepare(t.Context(), Now)
	if err != nil {
		t.Fatal(err)
	}
	done, stuck := in.commitAll(t.Context(), in.committing(ck.ID), 1)
	before := ck.Checkpoint
	in.result(ck, done, stuck)
	in.refused(before, ck.Checkpoint) // as finish does when the journal refuses
	in.commitLeft(t.Context())
	m, err := in.Manifest(ck.ID)
	if err != nil || m.State != journal.Partial || m.Parts != 1 || len(m.Failed) != 1 {
		t.Errorf("manifest says %s, %d parts, failed %v, %v; want partial, 1, that of b.bin", m.State, m.Parts, m.Failed, err)
	}
	for _, p := range in.committing(ck.ID) {
		if err := in.quarantine(t.Context(), p, errForeign); !errors.Is(err, errQuarantined) {
			t.Fatal(err)
		}
	}
	in = reopen(t, in, c)
	m, err = in.Manifest(ck.ID)
	if err != nil || m.State != journal.Partial || m.Parts != 1 {
		t.Errorf("after the next start it says %s, %d parts, %v; want partial, 1", m.State, m.Parts, err)
	}
}
