package lifecycle

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/format"
)

var scenarios = flag.String("scenarios", "testdata/flink", "folder of scenarios and recordings of Flink's FileSink")

// TestFlinkScenarios replays what Flink's FileSink did and compares the
// finished files after each step.
func TestFlinkScenarios(t *testing.T) { replayAll(t, *scenarios) }

// TestFlinkEdges replays where sinkfs once differed from Flink 2.3.0: timers
// that fire late, the ends of numbers, odd names of buckets and zones, rare
// letters of patterns.
func TestFlinkEdges(t *testing.T) { replayAll(t, "testdata/flink-edges") }

func replayAll(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios in %s: %v", dir, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			replay(t, f, strings.TrimSuffix(f, ".txt")+".jsonl")
		})
	}
}

func replay(t *testing.T, script, recording string) {
	want := readRecording(t, recording)
	r := newReplayer(t)
	for i, line := range readLines(t, script) {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "set "); ok {
			r.set(rest)
			continue
		}
		if len(want) == 0 {
			t.Fatalf("line %d: the recording has no step %q", i+1, line)
		}
		step := want[0]
		want = want[1:]
		if step.Error == "" || !strings.HasPrefix(line, "write") { // what Flink refuses is not written
			r.do(line)
		}
		if d := cmp.Diff(step.finished(), r.finished()); d != "" {
			t.Fatalf("line %d, %q: finished files differ (-Flink +sinkfs):\n%s", i+1, line, d)
		}
		if step.Tick >= 0 && step.Tick != r.tick.UnixMilli() {
			t.Fatalf("line %d, %q: next tick %d, Flink's %d", i+1, line, r.tick.UnixMilli(), step.Tick)
		}
	}
	if len(want) > 0 {
		t.Fatalf("the recording goes on with %q", want[0].Do)
	}
}

// recorded is one step of a recording.
type recorded struct {
	Do    string `json:"do"`
	Tick  int64  `json:"next_tick"`
	Error string `json:"error"`
	Files []struct {
		Path    string `json:"path"`
		Content string `json:"content"`
	} `json:"files"`
}

func (r recorded) finished() []string {
	out := []string{}
	for _, f := range r.Files {
		if name := path.Base(f.Path); !strings.HasPrefix(name, ".") || !strings.Contains(name, ".inprogress.") {
			out = append(out, fmt.Sprintf("%s: %q", path.Dir(f.Path), f.Content))
		}
	}
	slices.Sort(out)
	return out
}

func readRecording(t *testing.T, file string) []recorded {
	var out []recorded
	for _, line := range readLines(t, file) {
		var r recorded
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, r)
	}
	return out
}

func readLines(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// replayer drives an Instance below its checkpoint function, with its own
// clock and timer.
type replayer struct {
	t        *testing.T
	sink     Sink
	settings map[string]string
	in       *Instance
	store    *mem.Store
	tasks    []uint64
	now      time.Time
	tick     time.Time
	event    *time.Time // event time of the record being written
	ended    bool
	last     int // checkpoint prepared
	prepared map[int]*checkpoint
}

func newReplayer(t *testing.T) *replayer {
	sink := DefaultSink()
	sink.Coalesce = false
	sink.Format = format.Raw(1 << 40) // Flink cuts no record
	sink.Temporary, sink.Rotated, sink.Whole = nil, nil, nil
	return &replayer{
		t: t, sink: sink, settings: map[string]string{}, prepared: map[int]*checkpoint{}, event: new(time.Time),
	}
}

func (r *replayer) set(rest string) {
	key, value, _ := strings.Cut(rest, " ")
	r.settings[key] = value
	millis := func() time.Duration { // Flink's go further than Go's
		return time.Duration(min(r.int(value), math.MaxInt64/int(time.Millisecond))) * time.Millisecond
	}
	switch key {
	case "size":
		r.sink.Rolling.MaxPartSize = int64(r.int(value))
	case "rollover":
		r.sink.Rolling.RolloverInterval = millis()
	case "inactivity":
		r.sink.Rolling.InactivityInterval = millis()
	case "check":
		r.sink.Rolling.CheckInterval = millis()
	case "policy":
		r.sink.Rolling.OnCheckpoint = value == "oncheckpoint"
	case "format":
		r.sink.Format.Bulk = value == "bulk"
	case "prefix":
		r.sink.Prefix = value
	case "suffix":
		r.sink.Suffix = value
	case "assigner":
		r.sink.Assigner = r.assigner(value)
	case "checkpointing", "mode":
	default:
		r.t.Fatalf("unknown setting %q", key)
	}
}

func (r *replayer) int(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		r.t.Fatalf("%q is no number", s)
	}
	return n
}

func (r *replayer) assigner(value string) Assigner {
	kind, rest, _ := strings.Cut(value, " ")
	switch kind {
	case "base":
		return BasePath{}
	case "field":
		return fieldAssigner{}
	}
	i := strings.LastIndexByte(rest, ' ')
	if rest == "" {
		rest, i = "yyyy-MM-dd--HH UTC", len("yyyy-MM-dd--HH")
	}
	zone, err := location(rest[i+1:])
	if err != nil {
		r.t.Fatal(err)
	}
	d, err := parseDateTime(rest[:i], zone) // Flink takes directories that sinkfs refuses
	if err != nil {
		r.t.Fatal(err)
	}
	if kind == "eventtime" {
		return eventTime{d, r.event}
	}
	return d
}

// location knows Java's names of fixed offsets too.
func location(id string) (*time.Location, error) {
	off, before := id, ""
	for _, prefix := range []string{"UTC", "GMT", "UT"} {
		if rest, ok := strings.CutPrefix(id, prefix); ok {
			off, before = rest, prefix
			break
		}
	}
	switch {
	case id == "Z", off == "":
		return time.FixedZone(id, 0), nil
	case off[0] != '+' && off[0] != '-':
		return time.LoadLocation(id)
	}
	for _, layout := range []string{"-07", "-0700", "-07:00", "-070000", "-07:00:00"} {
		for _, o := range []string{off, off[:1] + "0" + off[1:]} {
			if t, err := time.Parse(layout, o); err == nil {
				_, seconds := t.Zone()
				return time.FixedZone(before+t.Format("-07:00"), seconds), nil
			}
		}
	}
	return nil, fmt.Errorf("unknown time zone %s", id)
}

// fieldAssigner takes the text before the first space.
type fieldAssigner struct{}

func (fieldAssigner) ByRecord() bool { return true }
func (fieldAssigner) Assign(record []byte, _ time.Time) string {
	field, _, _ := strings.Cut(strings.TrimSuffix(string(record), "\n"), " ")
	return field
}

// eventTime goes by the event time of the record being written.
type eventTime struct {
	*DateTime
	at *time.Time
}

func (eventTime) ByRecord() bool                             { return true }
func (e eventTime) Assign(record []byte, _ time.Time) string { return e.DateTime.Assign(record, *e.at) }

func (r *replayer) do(line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "start":
		r.start(rest)
	case strings.HasPrefix(word, "write"):
		r.write(strings.TrimPrefix(word, "write"), rest)
	case word == "time":
		r.moveTo(time.UnixMilli(int64(r.int(rest))))
	case word == "plus":
		r.moveTo(r.now.Add(time.Duration(r.int(rest)) * time.Millisecond))
	case word == "tick":
		r.moveTo(r.tick)
	case word == "jump":
		r.now = time.UnixMilli(int64(r.int(rest)))
		if !r.now.Before(r.tick) {
			r.fire()
		}
	case word == "prepare":
		r.prepare(r.int(rest))
	case word == "complete":
		r.complete(r.int(rest))
	case word == "abort":
		// What an aborted checkpoint prepared stays and goes out with the
		// next that completes.
	case word == "checkpoint":
		r.prepare(r.int(rest))
		r.complete(r.int(rest))
	case word == "end":
		r.end()
	case word == "close":
	default:
		r.t.Fatalf("unknown step %q", line)
	}
}

func (r *replayer) start(rest string) {
	args := strings.Fields(rest)
	r.now = time.UnixMilli(int64(r.int(args[0])))
	tasks := 1
	if len(args) > 1 {
		tasks = r.int(args[1])
	}
	r.tick = r.now.Add(r.sink.Rolling.CheckInterval)
	if r.sink.Rolling.OnCheckpoint || r.sink.Format.Bulk {
		r.sink.Rolling.MaxPartSize = math.MaxInt64 / 2
		r.sink.Rolling.RolloverInterval, r.sink.Rolling.InactivityInterval = math.MaxInt64, math.MaxInt64
	}
	r.store = mem.New(mem.Options{})
	r.in = openInstance(r.t, Config{Store: r.store, Sinks: []Sink{r.sink}})
	r.in.now = func() time.Time { return r.now }
	for i := range tasks {
		a, err := r.in.Create(r.in.Root(), fmt.Sprintf("subtask-%d", i), 0o644, Caller{})
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := r.in.OpenFile(a.Ino, Use{Write: true}, Caller{}); err != nil {
			r.t.Fatal(err)
		}
		r.tasks = append(r.tasks, a.Ino)
	}
}

func (r *replayer) write(how, record string) {
	task := 0
	*r.event = r.now
	for how != "" {
		end := strings.IndexAny(how[1:], "@#") + 1
		if end == 0 {
			end = len(how)
		}
		n := r.int(how[1:end])
		if how[0] == '@' {
			*r.event = time.UnixMilli(int64(n))
		} else {
			task = n
		}
		how = how[end:]
	}
	if outside(r.sink.Assigner.Assign([]byte(record), r.now)) {
		return // sinkfs has no such directory
	}
	f, err := r.in.Descriptor(r.tasks[task], os.O_WRONLY|os.O_APPEND)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.WriteString(f, record+"\n"); err != nil {
		r.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		r.t.Fatal(err)
	}
	s := r.in.source(r.tasks[task])
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.in.tree.SetAttr(s.node, nil, nil, nil, nil, &r.now); err != nil {
		r.t.Fatal(err)
	}
	if _, err := s.observe(r.now); err != nil {
		r.t.Fatal(err)
	}
}

// outside says whether Flink's Path leaves the base path for a bucket: it may
// climb, and two slashes begin an authority, a letter and a colon a drive.
func outside(bucket string) bool {
	authority := len(bucket) > 2 && strings.HasPrefix(bucket, "//") && bucket[2] != '/'
	drive := len(bucket) > 1 && isLetter(bucket[0]) && bucket[1] == ':'
	below := path.Clean(strings.TrimLeft(slashes(bucket), "/"))
	return authority || drive || below == ".." || strings.HasPrefix(below, "../")
}

// moveTo moves the clock, stopping at every timer on the way.
func (r *replayer) moveTo(to time.Time) {
	for !r.tick.After(to) {
		r.now = r.tick
		r.fire()
	}
	r.now = to
}

func (r *replayer) fire() {
	// A timer that fires late is told when it was due, and goes by that.
	r.in.roll(r.sink.Rolling.CheckInterval, r.tick)
	r.tick = r.now.Add(r.sink.Rolling.CheckInterval)
}

func (r *replayer) prepare(n int) {
	trigger := Policy
	if r.ended {
		trigger = End
	}
	c, err := r.in.prepare(r.t.Context(), trigger)
	if err != nil {
		r.t.Fatal(err)
	}
	r.prepared[n], r.last = c, max(r.last, n)
}

func (r *replayer) complete(n int) {
	ids := []int{}
	for id := range r.prepared {
		if id <= n {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		if _, err := r.in.complete(r.t.Context(), r.prepared[id]); err != nil {
			r.t.Fatal(err)
		}
		delete(r.prepared, id)
	}
}

func (r *replayer) end() {
	r.ended = true
	if r.settings["mode"] == "batch" || r.settings["checkpointing"] == "off" {
		r.prepare(math.MaxInt)
		r.complete(math.MaxInt)
		return
	}
	r.prepare(r.last + 1) // what is closed now belongs to the checkpoint to come
}

func (r *replayer) finished() []string {
	out := []string{}
	if r.store != nil {
		walk(r.t, r.store, "", func(k backend.Key, content string) {
			dir, name := k.Split()
			if dir == "" {
				dir = "."
			}
			if !strings.HasPrefix(name, r.sink.Prefix+"-") || !strings.HasSuffix(name, r.sink.Suffix) {
				r.t.Fatalf("%q is listed", k)
			}
			out = append(out, fmt.Sprintf("%s: %q", dir, content))
		})
	}
	slices.Sort(out)
	return out
}

func walk(t *testing.T, store backend.Store, dir backend.Key, fn func(backend.Key, string)) {
	t.Helper()
	var dirs, keys []backend.Key
	err := store.List(t.Context(), dir, "", func(name string, i backend.Info) error {
		if i.Dir {
			dirs = append(dirs, dir.Join(name))
		} else {
			keys = append(keys, dir.Join(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		fn(k, readObject(t, store, k))
	}
	for _, d := range dirs {
		walk(t, store, d, fn)
	}
}

func readObject(t *testing.T, store backend.Store, k backend.Key) string {
	t.Helper()
	body, err := store.Open(t.Context(), k, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// openInstance opens an Instance in a folder of the test's own. Without Run
// nothing happens in it by itself.
func openInstance(t *testing.T, c Config) *Instance {
	t.Helper()
	if c.StateDir == "" {
		c.StateDir = t.TempDir()
	}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	})
	return in
}
