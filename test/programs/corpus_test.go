package programs_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// corpusConfig publishes all that is there, each second.
const corpusConfig = `
checkpoint: {interval: 1s}
sinks:
  - path: /
    rolling: {on_checkpoint: true}
`

// corpusWriter is one program of the corpus. Its script writes the lines 0 to
// LINES-1 into the mount; gen FROM COUNT prints them, step COUNT does
// something with each COUNT of them.
type corpusWriter struct {
	name   string
	share  int // of all bytes, in percent
	most   int // lines, of what opens the file for each; 0: as many as its share has
	script string
}

// appender is the C program: one write(2) per line, O_APPEND.
const appender = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
	char *line = NULL; size_t room = 0; ssize_t n;
	int fd = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0644);
	if (fd < 0) { perror(argv[1]); return 1; }
	for (long i = 0; (n = getline(&line, &room, stdin)) > 0; i++) {
		if (write(fd, line, n) != n) { perror("write"); return 1; }
		if (i % 50000 == 49999 && fdatasync(fd) != 0) { perror("fdatasync"); return 1; }
	}
	if (close(fd) != 0) { perror("close"); return 1; }
	return 0;
}
`

var corpusWriters = []corpusWriter{
	{"shell append", 14, 0, `each() { gen $1 $2 >> shell.log; }; step 4000`},
	{"shell rewrite", 10, 0, `each() { gen $1 $2 > rewritten.log; }; step 40000`},
	{"shell lines", 1, 20000, `gen 0 $LINES | while IFS= read -r line; do printf '%s\n' "$line" >> lines.log; done`},
	{"tee -a", 12, 0, `each() { gen $1 $2 | tee -a tee.log > /dev/null; }; step 30000`},
	{"python logging, reopened", 3, 0, `gen 0 $LINES | python3 -c '
import logging, sys
h = logging.FileHandler("python.log", delay=True)
h.setFormatter(logging.Formatter("%(message)s"))
log = logging.getLogger("corpus"); log.addHandler(h); log.setLevel(logging.INFO); log.propagate = False
for i, line in enumerate(sys.stdin):
    log.info("%s", line.rstrip("\n"))
    if i % 1000 == 0: h.close()
'`},
	{"C, O_APPEND", 18, 0, `gen 0 $LINES | $SRC/appender c.log`},
	{"cp", 12, 0, `mkdir cp; each() { gen $1 $2 > $SRC/cp; cp $SRC/cp cp/$1.log; }; step 30000`},
	{"dd", 12, 0, `each() { gen $1 $2 | dd of=dd.log bs=256k iflag=fullblock oflag=append conv=notrunc status=none; }; step 60000`},
	{"rsync", 8, 0, `mkdir rsync; each() { rm -rf $SRC/rsync; mkdir $SRC/rsync; gen $1 $2 > $SRC/rsync/$1; rsync -r $SRC/rsync/ rsync/; }; step 40000`},
	{"moved logs", 10, 0, `mkdir moved; each() { gen $1 $2 >> moved/app.log; mv moved/app.log moved/app.log.1; }; step 10000`},
}

const corpusShell = `
gen() { PROGRAMS_GENERATE="$WRITER $1 $2" "$GENERATOR"; }
step() {
	local from=0 n
	while [ $from -lt $LINES ]; do
		n=$(($1 < LINES - from ? $1 : LINES - from))
		each $from $n
		from=$((from + n))
	done
}
`

// Two gigabytes of lines by ten programs at a time, published every second:
// each line must be in the finished files once, as it was, and never be seen
// before.
func TestCorpus(t *testing.T) {
	total := int64(2) << 30
	if testing.Short() {
		total = 200 << 20
	}
	began := time.Now()
	p := mount(t, corpusConfig)
	p.run("cat > $SRC/appender.c <<'END'\n" + appender + "\nEND\ngcc -O2 -Wall -o $SRC/appender $SRC/appender.c")
	c := newCensus(t, p, total)

	ended := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { c.follow(ended) })
	var writers sync.WaitGroup
	for i, w := range corpusWriters {
		writers.Go(func() { c.write(i, w) })
	}
	writers.Wait()
	written := time.Since(began)
	close(ended)
	reader.Wait()
	last := p.checkpoint("")
	if last.State != "complete" || len(last.LeftOut) > 0 {
		t.Errorf("the last checkpoint: %+v", last)
	}
	c.look()
	c.report()
	c.unchanged()
	p.umount(0)
	t.Logf("%d MB in %d lines and %d parts, %d checkpoints, %v to write, %v in all",
		c.bytes>>20, c.lines, len(c.seen), last.ID, written.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// census counts the lines of finished files, each file as soon as the mount
// shows it.
type census struct {
	t       *testing.T
	p       *place
	lines   int
	bytes   int64
	want    []int      // lines of each writer
	found   [][]uint64 // a bit per line of each writer
	seen    map[string]os.FileInfo
	scratch []byte
	wrong   int
}

func newCensus(t *testing.T, p *place, total int64) *census {
	c := &census{t: t, p: p, seen: map[string]os.FileInfo{}}
	for i, w := range corpusWriters {
		n := 0
		for size := int64(0); size < total*int64(w.share)/100 && (w.most == 0 || n < w.most); n++ {
			c.scratch = appendLine(c.scratch[:0], i, n)
			size += int64(len(c.scratch))
		}
		c.want = append(c.want, n)
		c.found = append(c.found, make([]uint64, n/64+1))
	}
	return c
}

// write runs a program until it has written all of its lines.
func (c *census) write(i int, w corpusWriter) {
	cmd := c.p.command(corpusShell + w.script)
	cmd.Env = append(cmd.Env, fmt.Sprint("WRITER=", i), fmt.Sprint("LINES=", c.want[i]), "GENERATOR="+os.Args[0])
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		c.t.Errorf("%s: %v\n%s", w.name, err, out)
	}
	c.t.Logf("%s: %d lines in %v", w.name, c.want[i], time.Since(began).Round(time.Millisecond))
}

// follow reads what is published meanwhile.
func (c *census) follow(ended <-chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			c.look()
		}
	}
}

// look reads the finished files that were not there before.
func (c *census) look() {
	err := filepath.WalkDir(c.p.mnt, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || c.seen[name] != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		c.seen[name] = info
		if !strings.HasPrefix(d.Name(), "part-") {
			c.complain("%s is listed", name)
		}
		return c.read(name)
	})
	if err != nil {
		c.t.Error(err)
	}
}

func (c *census) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	r := bufio.NewReaderSize(f, 1<<18)
	last := make([]int, len(c.want))
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s after line %d: %w", name, c.lines, err)
		}
		c.count(name, line, last)
	}
}

// count takes one line. Within a part, the lines of a source are in order;
// only what was copied and moved has several sources.
func (c *census) count(name string, line []byte, last []int) {
	c.lines++
	c.bytes += int64(len(line))
	w, seq, ok := parseLine(line, c.scratch)
	switch {
	case !ok || w >= len(c.want) || seq >= c.want[w]:
		c.complain("%s has a line that nobody wrote: %q", name, bytes.Clone(line))
		return
	case c.found[w][seq/64]&(1<<(seq%64)) != 0:
		c.complain("%s has line %d of %q again", name, seq, corpusWriters[w].name)
	case seq < last[w] && !strings.Contains(corpusWriters[w].script, "mkdir"):
		c.complain("%s has line %d of %q after line %d", name, seq, corpusWriters[w].name, last[w])
	}
	last[w] = seq
	c.found[w][seq/64] |= 1 << (seq % 64)
}

func (c *census) complain(format string, args ...any) {
	if c.wrong++; c.wrong <= 20 {
		c.t.Errorf(format, args...)
	}
}

// report says which lines were never found.
func (c *census) report() {
	total := 0
	for w, n := range c.want {
		total += n
		missing := []string{}
		for seq := range n {
			if c.found[w][seq/64]&(1<<(seq%64)) == 0 {
				missing = append(missing, fmt.Sprint(seq))
			}
		}
		if len(missing) > 0 {
			c.t.Errorf("%d lines of %q are missing: %s …", len(missing), corpusWriters[w].name, strings.Join(missing[:min(10, len(missing))], " "))
		}
	}
	if c.lines != total {
		c.t.Errorf("%d lines were published, %d were written", c.lines, total)
	}
}

// unchanged wants each finished file to be as it was when it was read.
func (c *census) unchanged() {
	for name, was := range c.seen {
		now, err := os.Stat(filepath.Join(c.p.target, strings.TrimPrefix(name, c.p.mnt)))
		if err != nil || now.Size() != was.Size() || !now.ModTime().Equal(was.ModTime()) {
			c.complain("%s changed: %v, had %d bytes", name, err, was.Size())
		}
	}
}
