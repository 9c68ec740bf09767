package lifecycle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// TestStress: programs that share a few names, while everything that an Instance
// does beside them is due all the time, lose no record and double none, over
// restarts in the middle of it.
func TestStress(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 64}, Unit: 16})
	sink := streamSink()
	sink.Whole, sink.Temporary = []string{"*.gz"}, []string{"*.tmp"}
	sink.Rolling.CheckInterval, sink.Rolling.RolloverInterval, sink.Rolling.InactivityInterval = 15*time.Millisecond, 30*time.Millisecond, 25*time.Millisecond
	c := Config{Store: store, Sinks: []Sink{sink}, Interval: 5 * time.Millisecond, SourceTTL: 200 * time.Millisecond, Retain: 3}
	in := killable(t, &c)
	var records []string
	for session := range 3 {
		if session > 0 {
			in = reopen(t, in, c)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- in.Run(ctx) }()
		records = append(records, stress(t, in, session)...)
		if session == 2 {
			if c, err := in.Checkpoint(ctx, Unmount); err != nil {
				t.Errorf("checkpoint %d is %s, failed %v: %v", c.ID, c.State, c.Failed, err)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	bodies := published(store)
	for _, r := range records {
		if n := strings.Count(bodies, r); n != 1 {
			t.Errorf("%q is published %d times", r, n)
		}
	}
	t.Logf("%d records", len(records))
}

// stress runs programs to their end, and returns what they wrote to streams.
func stress(t *testing.T, in *Instance, session int) (records []string) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for n := range 6 {
		all.Go(func() {
			p := program{t: t, in: in, chance: rand.New(rand.NewPCG(uint64(session), uint64(n))), name: fmt.Sprint(session, "-", n)}
			for range 300 {
				p.act()
			}
			mu.Lock()
			defer mu.Unlock()
			records = append(records, p.records...)
		})
	}
	all.Wait()
	return records
}

// program acts on names that it shares with others: most of its calls may fail.
type program struct {
	t       *testing.T
	in      *Instance
	chance  *rand.Rand
	name    string
	records []string
}

func (p *program) act() {
	root, ctx := p.in.Root(), p.t.Context()
	dir, file := p.any()
	switch p.chance.IntN(9) {
	case 0, 1, 2, 3:
		p.append(dir, file)
	case 4:
		toDir, to := p.any()
		_ = p.in.Rename(ctx, dir, file, toDir, to, false)
	case 5:
		_ = p.in.Unlink(dir, file)
	case 6:
		if a, err := p.in.Lookup(dir, file); err == nil {
			_, _ = p.in.Truncate(a.Ino, 0)
		}
	case 7:
		_ = p.in.Rename(ctx, root, p.dir(), root, p.dir(), false)
	case 8:
		_, _ = p.in.Mkdir(ctx, root, p.dir(), 0o755, Caller{})
	}
}

func (p *program) dir() string { return fmt.Sprint("d", p.chance.IntN(3)) }

// any is a name in the root, or in a directory if that is there.
func (p *program) any() (dir uint64, file string) {
	dir = p.in.Root()
	if a, err := p.in.Lookup(dir, p.dir()); err == nil && p.chance.IntN(3) > 0 {
		dir = a.Ino
	}
	return dir, fmt.Sprint("n", p.chance.IntN(5), []string{".log", ".log", ".gz", ".tmp"}[p.chance.IntN(4)])
}

// append writes a record, which counts where that is a stream.
func (p *program) append(dir uint64, file string) {
	a, err := p.in.Lookup(dir, file)
	if err != nil {
		a, err = p.in.Create(dir, file, 0o644, Caller{})
	}
	if err != nil {
		return
	}
	if _, err := p.in.OpenFile(a.Ino, Use{Write: true}, Caller{}); err != nil {
		return
	}
	defer p.in.ReleaseFile(a.Ino, Use{Write: true})
	f, err := p.in.Descriptor(a.Ino, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return
	}
	defer f.Close()
	record := fmt.Sprintf("<%s-%d>\n", p.name, len(p.records))
	if a, err = p.in.Attr(a.Ino); err != nil || a.Kind != spool.Stream {
		record = "not a stream"
	} else {
		p.records = append(p.records, record)
	}
	if _, err := f.WriteString(record); err != nil {
		p.t.Error(err)
	}
}
