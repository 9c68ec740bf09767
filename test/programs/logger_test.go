package programs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// python is a script whose logger log writes bare messages with handler h.
func python(handler, script string) string {
	return `python3 - <<'END'
import logging, logging.handlers, os
h = ` + handler + `
h.setFormatter(logging.Formatter('%(message)s'))
log = logging.getLogger('test')
log.addHandler(h)
log.setLevel(logging.INFO)
log.propagate = False
` + script + `
END`
}

func numbers(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "line %03d\n", i)
	}
	return b.String()
}

func TestPythonFileHandler(t *testing.T) {
	p := mount(t, standard)
	p.run(python(`logging.FileHandler('app.log')`, `
for i in range(1, 51):
    log.info('line %03d', i)
    if i % 10 == 0:
        open('.sinkfs/checkpoint', 'w').write('\n')
`)).prints("")
	want := files{}
	for i := range 5 {
		want[fmt.Sprintf("part-%d", i)] = numbers(i*10+1, i*10+10)
	}
	p.publishes(want)
}

// A program that reopens its log for every line, and once under the other
// name after somebody moved it away.
func TestPythonReopen(t *testing.T) {
	p := mount(t, standard)
	p.run(python(`logging.FileHandler('app.log', delay=True)`, `
for i in range(1, 51):
    log.info('line %03d', i)
    h.close()
    if i == 25: os.rename('app.log', 'app.old')
`))
	p.run(`cat app.old app.log`).prints(numbers(1, 50))
	p.publishes(files{"part-0": numbers(26, 50) + numbers(1, 25)}) // app.log, then app.old
}

func TestPythonRotatingFileHandler(t *testing.T) {
	p := mount(t, standard)
	// 9 bytes a line, 10 lines a file, and only two old files are kept: the
	// others are removed, their lines are not.
	p.run(python(`logging.handlers.RotatingFileHandler('app.log', maxBytes=95, backupCount=2)`, `
for i in range(1, 101): log.info('line %03d', i)
`))
	p.run(`cat app.log.2 app.log.1 app.log`).prints(numbers(71, 100))
	p.exactlyOnce(numbers(1, 100))
}

// exactlyOnce makes a checkpoint and wants each line of text in the finished
// files, once, and nothing else.
func (p *place) exactlyOnce(text string) {
	p.t.Helper()
	p.checkpoint("")
	p.finished = p.readTarget()
	want, got := map[string]int{}, map[string]int{}
	for line := range strings.Lines(text) {
		want[line]++
	}
	for _, text := range p.finished {
		for line := range strings.Lines(text) {
			got[line]++
		}
	}
	if diff := diffCounts(want, got); diff != "" {
		p.t.Errorf("lines of the finished files (-want +got):\n%s", diff)
	}
}

func TestPythonTimedRotatingFileHandler(t *testing.T) {
	p := mount(t, standard)
	p.run(python(`logging.handlers.TimedRotatingFileHandler('app.log', when='S', interval=3600, backupCount=1)`, `
for i in range(1, 51):
    log.info('line %03d', i)
    if i % 10 == 0: h.rolloverAt = 1 + i  # the next line is overdue
`))
	p.exactlyOnce(numbers(1, 50))
}

func TestPythonWatchedFileHandler(t *testing.T) {
	p := mount(t, standard)
	p.run(python(`logging.handlers.WatchedFileHandler('app.log')`, `
for i in range(1, 51):
    log.info('line %03d', i)
    if i == 20: os.rename('app.log', 'app.log.1')
    if i == 30: os.remove('app.log')
    if i == 40: os.truncate('app.log', 0)
`))
	p.run(`cat app.log.1`).prints(numbers(1, 20))
	p.run(`cat app.log`).prints(numbers(41, 50))
	p.exactlyOnce(numbers(1, 50))
}

func TestPythonOpen(t *testing.T) {
	p := mount(t, standard)
	p.run(`python3 - <<'END'
for i in (1, 2):
    with open('app.log', 'w') as f: f.write(f'w{i}\n')
    with open('app.log', 'a') as f: f.write(f'a{i}\n')
with open('files/x', 'w') as f:
    f.write('hello\nworld\n'); f.seek(0); f.write('HELLO'); f.truncate(8)
with open('files/y', 'x') as f: f.write('y\n')
f = open('app.log', 'r+b', buffering=0)
try: f.write(b'no')
except OSError as e: print(e.strerror)
f.seek(0, 2); f.write(b'end\n'); f.write(b'more\n')
END`).prints("Illegal seek\n")
	p.publishes(files{"part-0": "w1\na1\nw2\na2\nend\nmore\n", "files/x": "HELLO\nwo", "files/y": "y\n"})
	p.run(`python3 - <<'END'
import errno
for mode, want in (('w', errno.EPERM), ('a', errno.EPERM), ('x', errno.EEXIST), ('r+', errno.EPERM)):
    try: open('files/x', mode); print(mode, 'opened')
    except OSError as e:
        if e.errno != want: print(mode, e)
print(open('files/x').read())
END`).prints("HELLO\nwo\n")
}

// rotate runs logrotate once over app.log, whatever the time is.
func (p *place) rotate(options string) {
	p.t.Helper()
	file := filepath.Join(p.dir, "logrotate.conf")
	text := filepath.Join(p.mnt, "app.log") + " {\nrotate 2\nsize 1\nmissingok\n" + options + "\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.run(`logrotate -f -s ` + p.dir + `/logrotate.state ` + file).prints("")
}

func TestLogrotateCreate(t *testing.T) {
	p := mount(t, standard)
	for i := range 5 {
		p.run(`printf '` + strings.ReplaceAll(numbers(i*10+1, i*10+10), "\n", `\n`) + `' >> app.log`)
		if i == 2 {
			p.exactlyOnce(numbers(1, 30))
		}
		p.rotate("create 0640 nobody nogroup")
		p.run(`stat -c '%a %u %s' app.log`).prints("640 65534 0\n")
	}
	p.run(`cat app.log.1`).prints(numbers(41, 50))
	p.exactlyOnce(numbers(1, 50))
}

// The program keeps its descriptor over create until it is told to reopen.
func TestLogrotateCreateOpenDescriptor(t *testing.T) {
	p := mount(t, standard)
	f, err := os.OpenFile(filepath.Join(p.mnt, "app.log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(s string) {
		t.Helper()
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	write(numbers(1, 10))
	p.rotate("create")
	write(numbers(11, 20))
	p.exactlyOnce(numbers(1, 20))
	for range 3 { // until app.log.2 is removed
		p.run(`echo more >> app.log`)
		p.rotate("create")
	}
	write(numbers(21, 30))
	p.exactlyOnce(numbers(1, 30) + "more\nmore\nmore\n")
}

func TestLogrotateCopytruncate(t *testing.T) {
	p := mount(t, standard)
	f, err := os.OpenFile(filepath.Join(p.mnt, "app.log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 5 {
		if _, err := f.WriteString(numbers(i*10+1, i*10+10)); err != nil {
			t.Fatal(err)
		}
		p.rotate("copytruncate")
		if st, err := f.Stat(); err != nil || st.Size() != 0 {
			t.Errorf("after logrotate the log has %d bytes (%v), want 0", st.Size(), err)
		}
		p.run(`cat app.log.1`).prints(numbers(i*10+1, i*10+10)) // its copy
		if i == 2 {
			p.exactlyOnce(numbers(1, 30))
		}
	}
	p.exactlyOnce(numbers(1, 50)) // the copies are scratch
	if got := strings.Join(p.scratch(), " "); got != "app.log.1 app.log.2" {
		t.Errorf("scratch is %q, want the two copies", got)
	}
}

func TestLogrotateCompress(t *testing.T) {
	p := mount(t, standard)
	for i := range 4 {
		p.run(`printf '` + strings.ReplaceAll(numbers(i*10+1, i*10+10), "\n", `\n`) + `' >> app.log`)
		p.rotate("create\ncompress")
		p.run(`gzip -dc app.log.1.gz`).prints(numbers(i*10+1, i*10+10))
	}
	p.exactlyOnce(numbers(1, 40)) // compressed copies are scratch
}

// With dateext the old name is a live one of other programs, so it is no
// scratch; what was written under the first name stays published once.
func TestLogrotateDateext(t *testing.T) {
	p := mount(t, standard)
	for i := range 3 {
		p.run(`printf '` + strings.ReplaceAll(numbers(i*10+1, i*10+10), "\n", `\n`) + `' >> app.log`)
		p.rotate(fmt.Sprintf("create\ndateext\ndateformat -2026010%d", i+1))
	}
	p.exactlyOnce(numbers(1, 30))
}
