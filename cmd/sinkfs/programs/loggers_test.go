package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// python runs a script that has h, a handler, and log, which writes through it.
func python(t *testing.T, m *sinkfstest.Mount, handler, script string) {
	t.Helper()
	text := `
import logging, logging.handlers as handlers, os, time
h = ` + handler + `
h.setFormatter(logging.Formatter('%(message)s'))
log = logging.getLogger('x'); log.addHandler(h); log.setLevel(logging.INFO); log.propagate = False
` + script
	cmd := exec.Command("python3", "-c", text)
	cmd.Dir = m.Point
	if r := sinkfstest.Command(t, cmd); r.Code != 0 || r.Stderr != "" {
		t.Fatalf("python ended with %d: %s", r.Code, r.Stderr)
	}
}

const hundred = "for i in range(100): log.info('line%d', i)\n"

func TestPythonFileHandler(t *testing.T) {
	m := mount(t)
	python(t, m, "logging.FileHandler('app.log')", hundred)
	wantRecords(t, m, lines("line", 100)...)
}

func TestPythonRotatingFileHandler(t *testing.T) {
	m := mount(t)
	// Two backups of the nine that it makes: the others are removed, which
	// takes nothing away.
	python(t, m, "handlers.RotatingFileHandler('app.log', maxBytes=80, backupCount=2)", hundred)
	wantRecords(t, m, lines("line", 100)...)
}

func TestPythonTimedRotatingFileHandler(t *testing.T) {
	m := mount(t)
	python(t, m, "handlers.TimedRotatingFileHandler('app.log', when='S', interval=1, backupCount=1)", `
for i in range(100):
    log.info('line%d', i)
    if i % 40 == 0: h.rolloverAt = int(time.time()) - 1 - i
`)
	wantRecords(t, m, lines("line", 100)...)
}

func TestPythonWatchedFileHandler(t *testing.T) {
	m := mount(t)
	python(t, m, "handlers.WatchedFileHandler('app.log')", `
for i in range(100):
    log.info('line%d', i)
    if i == 50: os.rename('app.log', 'app.log.old')
assert os.path.getsize('app.log') < os.path.getsize('app.log.old') + 100
`)
	wantRecords(t, m, lines("line", 100)...)
}

// logrotate runs it once with options, whatever the time is.
func logrotate(t *testing.T, m *sinkfstest.Mount, options string) {
	t.Helper()
	file := filepath.Join(m.Dir, "logrotate.conf")
	text := m.Path("app.log") + " {\n rotate 2\n size 1\n missingok\n" + options + "\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m.Shell("logrotate -f -s $dir/logrotate.state " + file)
}

func TestLogrotateCreate(t *testing.T) {
	m := mount(t)
	for _, part := range []string{"a", "b", "c", "d", "e"} {
		m.Shell("seq -f " + part + "%g 0 9 >> app.log")
		logrotate(t, m, " create 0640")
	}
	if got := m.Shell("stat -c '%a %s' app.log"); got != "640 0\n" {
		t.Errorf("the new file is %q", got)
	}
	var want []string
	for _, part := range []string{"a", "b", "c", "d", "e"} {
		want = append(want, lines(part, 10)...)
	}
	wantRecords(t, m, want...)
}

func TestLogrotateCopytruncate(t *testing.T) {
	m := mount(t)
	f, err := os.OpenFile(m.Path("app.log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want []string
	for _, part := range []string{"a", "b", "c", "d", "e"} {
		want = append(want, lines(part, 10)...)
		if _, err := f.WriteString(strings.Join(lines(part, 10), "\n") + "\n"); err != nil {
			t.Fatal(err)
		}
		logrotate(t, m, " copytruncate")
		if st, err := f.Stat(); err != nil || st.Size() != 0 {
			t.Errorf("after logrotate the file has %d bytes, %v", st.Size(), err)
		}
	}
	wantRecords(t, m, want...) // the copies are scratch: nothing is there twice
}

func TestLogrotateCompress(t *testing.T) {
	m := mount(t)
	var want []string
	for _, part := range []string{"a", "b", "c"} {
		want = append(want, lines(part, 10)...)
		m.Shell("seq -f " + part + "%g 0 9 >> app.log")
		logrotate(t, m, " create\n compress")
	}
	wantRecords(t, m, want...)
}

func TestManyWriters(t *testing.T) {
	m := mount(t)
	m.Shell(`for w in a b c d e f g h; do
			(for i in $(seq 0 99); do echo $w$i >> app.log; done) &
		done; wait`)
	var want []string
	for _, w := range strings.Split("abcdefgh", "") {
		want = append(want, lines(w, 100)...)
	}
	wantRecords(t, m, want...)
}

func TestWritersDoNotNoticeAKilledWorker(t *testing.T) {
	m := mount(t)
	script := exec.Command("bash", "-euc", `
		exec 3>>app.log
		for i in $(seq 0 299); do
			echo line$i >&3
			echo other$i >> other.log
			[ $((i % 30)) != 0 ] || { echo $i; sync -d app.log; }
		done`)
	script.Dir = m.Point
	progress, err := script.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	script.Stderr = &complaints
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for n := 0; ; n++ {
		if _, err := progress.Read(buf); err != nil {
			break
		}
		if n%3 == 0 {
			m.KillWorker()
		}
	}
	if err := script.Wait(); err != nil || complaints.Len() > 0 {
		t.Errorf("the writer noticed: %v %s", err, complaints.String())
	}
	wantRecords(t, m, append(lines("line", 300), lines("other", 300)...)...)
}
