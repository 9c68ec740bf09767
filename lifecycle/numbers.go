package lifecycle

import "github.com/sinkfs/sinkfs/lifecycle/journal"

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
