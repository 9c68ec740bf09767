package lifecycle

import (
	"slices"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// numbered makes records durable that take numbers. They are journaled in the
// order in which they take them: a counter that went back would give a part
// the key of a finished one. records is called with in.mu held.
func (in *Instance) numbered(records func() []journal.Record) error {
	in.numbering.Lock()
	defer in.numbering.Unlock()
	in.mu.Lock()
	rs := records()
	in.mu.Unlock()
	return in.write(in.journal.Write, rs...)
}

// take is the next value of a counter. in.mu is held.
func (in *Instance) take(counter string) uint64 {
	n := in.counters[counter]
	in.counters[counter] = n + 1
	return n
}

// counter is the record of a counter. in.mu is held.
func (in *Instance) counter(name string) journal.Counter {
	return journal.Counter{Sink: name, Next: in.counters[name]}
}

// agreeOnSinks raises the numbers of all sinks to the highest where there are
// other sinks than at the start before: a part may get a directory that had
// those of another sink, and no name ever comes back.
func (in *Instance) agreeOnSinks() error {
	var paths []string
	for _, s := range in.sinks {
		paths = append(paths, s.Path)
	}
	slices.Sort(paths)
	if slices.Equal(in.record.Sinks, paths) {
		return nil
	}
	var highest uint64
	for name, next := range in.counters {
		if name != partIDs {
			highest = max(highest, next)
		}
	}
	in.record.Sinks = paths
	records := []journal.Record{in.record}
	for _, p := range paths {
		if in.counters[p] < highest {
			in.counters[p] = highest
			records = append(records, in.counter(p))
		}
	}
	return in.persist(in.journal.Write, records...)
}
