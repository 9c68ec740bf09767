package journal_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// The test binary runs itself as another process that opens a journal: what
// childEnv names.
const childEnv = "JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		goleak.VerifyTestMain(m)
	case "write":
		exit(childWrite(os.Args[1], os.Stdin, os.Stdout))
	case "state":
		exit(childState(os.Args[1], os.Stdout))
	case "after the anchor":
		exit(childAfterTheAnchor(os.Args[1]))
	case "full":
		exit(childFull(os.Args[1]))
	case "hold":
		exit(childHold(os.Args[1], os.Stdin, os.Stdout))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, dir)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	return cmd
}

const (
	writers   = 3
	keepParts = 40 // parts of a writer that live at a time
	bigRecord = 600 << 10
)

// childWrite lets several writers write numbered records for ever, and prints
// "writer number" when one is acknowledged. Writer 0 writes one large record,
// the others a counter and the part of that number, and drop an old part.
func childWrite(dir string, in io.Reader, out io.Writer) error {
	j, err := journal.Open(journal.Options{Dir: dir, MinFree: 1})
	if err != nil {
		return err
	}
	at := newWorld()
	if err := j.Load(at.add); err != nil {
		return err
	}
	var mu sync.Mutex
	failed := make(chan error, writers+1)
	go func() { // no longer than the test
		_, err := io.Copy(io.Discard, in)
		failed <- errors.Join(err, io.EOF)
	}()
	for w := range uint64(writers) {
		go func() {
			for n := at.number(w) + 1; ; n++ {
				write := j.Write
				if n%16 == 0 {
					write = j.Mark
				}
				if err := write(records(w, n)...); err != nil {
					failed <- err
					return
				}
				mu.Lock()
				_, err := fmt.Fprintln(out, w, n)
				mu.Unlock()
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

func records(w, n uint64) []journal.Record {
	if w == 0 {
		return []journal.Record{journal.Checkpoint{ID: n % 2, Parts: int(n), Error: noise(n)}}
	}
	rs := []journal.Record{
		journal.Part{ID: w<<32 | n, Key: strings.Repeat("k", int(n%400))},
		journal.Counter{Sink: fmt.Sprint(w), Next: n},
	}
	if n > keepParts {
		rs = append(rs, journal.DropPart{ID: w<<32 | (n - keepParts)})
	}
	return rs
}

// noise is a long text that only n says. It does not compress well.
func noise(n uint64) string {
	at := n % bigRecord
	return fmt.Sprint(n) + someNoise()[at:] + someNoise()[:at]
}

var someNoise = sync.OnceValue(func() string {
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, bigRecord)
	for i := range b {
		b[i] = ' ' + byte(r.UintN(90))
	}
	return string(b)
})

// world is what a journal written by childWrite holds.
type world struct {
	Counters map[string]uint64
	Parts    map[uint64]string
	Big      uint64 // number of the newest large record
	Wrong    string // the first thing that cannot be
}

func newWorld() *world {
	return &world{Counters: map[string]uint64{}, Parts: map[uint64]string{}}
}

func (w *world) number(writer uint64) uint64 {
	if writer == 0 {
		return w.Big
	}
	return w.Counters[fmt.Sprint(writer)]
}

func (w *world) add(r journal.Record) error {
	switch r := r.(type) {
	case journal.Counter:
		w.Counters[r.Sink] = r.Next
	case journal.Part:
		w.Parts[r.ID] = r.Key
	case journal.Checkpoint:
		n := uint64(r.Parts)
		if r.Error != noise(n) {
			w.Wrong = fmt.Sprintf("large record %d is altered", n)
		}
		w.Big = max(w.Big, n)
	}
	return nil
}

// check says what is wrong: calls of Write that are there in part, and
// records that should be gone.
func (w *world) check() string {
	if w.Wrong != "" {
		return w.Wrong
	}
	want := 0
	for writer := uint64(1); writer < writers; writer++ {
		n := w.number(writer)
		for i := n; i > 0 && i+keepParts > n; i-- {
			want++
			if key, ok := w.Parts[writer<<32|i]; !ok || len(key) != int(i%400) {
				return fmt.Sprintf("writer %d is at %d, but its part %d is not there", writer, n, i)
			}
		}
	}
	if len(w.Parts) != want {
		return fmt.Sprintf("%d parts are there, %d should be", len(w.Parts), want)
	}
	return ""
}

// childState prints what the journal holds, as JSON.
func childState(dir string, out io.Writer) error {
	j, err := journal.Open(journal.Options{Dir: dir, MinFree: 1})
	if err != nil {
		return err
	}
	w := newWorld()
	if err := j.Load(w.add); err != nil {
		return err
	}
	if err := j.Close(); err != nil {
		return err
	}
	if w.Wrong == "" {
		w.Wrong = w.check()
	}
	return json.NewEncoder(out).Encode(w)
}

// childAfterTheAnchor dies with ten transactions in its log, the anchor at the
// second of them.
func childAfterTheAnchor(dir string) error {
	j, err := journal.Open(journal.Options{Dir: dir, MinFree: 1})
	if err != nil {
		return err
	}
	if err := errors.Join(j.Write(journal.Counter{Sink: "/"}), j.Mark(journal.Checkpoint{ID: 1})); err != nil {
		return err
	}
	for _, n := range []string{"third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"} {
		if err := j.Write(journal.Counter{Sink: "/the " + n}); err != nil {
			return err
		}
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// childHold opens the journal, says so, and closes it at the end of its input.
func childHold(dir string, in io.Reader, out io.Writer) error {
	j, err := journal.Open(journal.Options{Dir: dir})
	if err != nil {
		return err
	}
	debug.FreeOSMemory() // what is left is what an idle one needs, whenever the collector last came
	if _, err := fmt.Fprintln(out, "open"); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	return j.Close()
}

// writing is a running childWrite.
type writing struct {
	cmd  *exec.Cmd
	read chan struct{} // closed at the end of its output
	err  string

	mu      sync.Mutex
	acked   [writers]uint64
	news    chan struct{} // one token when something was acknowledged
	stopped bool
}

func startWriting(t *testing.T, dir string) *writing {
	t.Helper()
	w := &writing{cmd: child(t, "write", dir), read: make(chan struct{}), news: make(chan struct{}, 1)}
	w.cmd.Stderr = os.Stderr
	_, err := w.cmd.StdinPipe()
	must(t, err)
	out, err := w.cmd.StdoutPipe()
	must(t, err)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kill)
	go func() {
		defer close(w.read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.take(lines.Text())
		}
	}()
	return w
}

func (w *writing) take(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var writer int
	var n uint64
	if _, err := fmt.Sscan(line, &writer, &n); err != nil {
		w.err = line
		return
	}
	w.acked[writer] = n
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// now is what was acknowledged by now.
func (w *writing) now() [writers]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked
}

// reaches waits until each writer got n records further than from.
func (w *writing) reaches(t *testing.T, from [writers]uint64, n uint64) {
	t.Helper()
	for {
		all := true
		for i, at := range w.now() {
			all = all && at >= from[i]+n
		}
		if all {
			return
		}
		select {
		case <-w.news:
		case <-w.read:
			t.Fatalf("the writer ended: %s", w.err)
		}
	}
}

// kill ends the writer the hard way; afterwards acked is final.
func (w *writing) kill() {
	if w.stopped {
		return
	}
	w.stopped = true
	_ = w.cmd.Process.Kill()
	<-w.read
	_ = w.cmd.Wait()
}
