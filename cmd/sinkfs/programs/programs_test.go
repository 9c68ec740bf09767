package programs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// sinks is a stream sink, with a file sink in it.
const sinks = "sinks: [{path: /files, kind: file}]\n"

func mount(t *testing.T) *sinkfstest.Mount {
	t.Helper()
	m := sinkfstest.NewConfigured(t, sinks)
	if err := os.MkdirAll(m.Path("files"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

// wantRecords compares all published lines with want, each exactly once.
func wantRecords(t *testing.T, m *sinkfstest.Mount, want ...string) {
	t.Helper()
	m.Publish()
	counts := map[string]int{}
	for _, w := range want {
		counts[w]++
	}
	if d := cmp.Diff(counts, m.Records()); d != "" {
		t.Errorf("records (-want +got)\n%s", d)
	}
}

// wantFile wants one finished file under its own name.
func wantFile(t *testing.T, m *sinkfstest.Mount, name, text string) {
	t.Helper()
	m.Publish()
	if got, ok := m.Finished()[name]; !ok || got != text {
		t.Errorf("%s: got %q, %v, want %q", name, got, ok, text)
	}
}

func lines(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

func TestRedirection(t *testing.T) {
	m := mount(t)
	m.Shell(`echo a > x.log; echo b >> x.log; { echo c; echo d; } >> x.log; echo e > x.log`)
	if got := m.Shell("cat x.log"); got != "e\n" {
		t.Errorf("after > the file reads %q", got)
	}
	wantRecords(t, m, "a", "b", "c", "d", "e")
}

func TestTee(t *testing.T) {
	m := mount(t)
	m.Shell(`seq -f a%g 0 99 | tee -a x.log y.log >/dev/null; seq -f b%g 0 9 | tee -a x.log >/dev/null`)
	wantRecords(t, m, append(append(lines("a", 100), lines("a", 100)...), lines("b", 10)...)...)
}

func TestCp(t *testing.T) {
	m := mount(t)
	m.Shell(`echo content > $dir/a.csv; chmod 640 $dir/a.csv; touch -d 2020-02-02T02:02:02Z $dir/a.csv
		cp -p $dir/a.csv files/a.csv; cp -p $dir/a.csv a.csv`)
	wantFile(t, m, "files/a.csv", "content\n")
	if got := m.Shell("stat -c '%a %Y %s' files/a.csv"); got != "640 1580608922 8\n" {
		t.Errorf("the finished file is %q", got)
	}
	if got := m.Records()["content"]; got != 2 {
		t.Errorf("published %d times, want once as a file and once as a record", got)
	}
	if r := m.TryShell("cp $dir/a.csv files/a.csv"); r.Code == 0 || !strings.Contains(r.Stderr, "Operation not permitted") {
		t.Errorf("cp onto a finished file: %+v", r)
	}
}

func TestMv(t *testing.T) {
	m := mount(t)
	m.Shell(`echo content > $dir/a.csv; mv $dir/a.csv files/a.csv; echo line > $dir/b; mv $dir/b x.log
		echo new > files/.b.tmp; mv files/.b.tmp files/b.csv`)
	wantFile(t, m, "files/a.csv", "content\n")
	wantFile(t, m, "files/b.csv", "new\n")
	wantRecords(t, m, "content", "line", "new")
	if r := m.TryShell("mv files/a.csv files/c.csv"); r.Code == 0 {
		t.Error("a finished file was renamed")
	}
}

func TestRsync(t *testing.T) {
	m := mount(t)
	m.Shell(`mkdir -p $dir/src/sub; echo one > $dir/src/a.csv; echo two > $dir/src/sub/b.csv; rsync -a $dir/src/ files/`)
	wantFile(t, m, "files/a.csv", "one\n")
	wantFile(t, m, "files/sub/b.csv", "two\n")
	if got := m.Shell(`rsync -ai $dir/src/ files/ | grep '^>' || true`); got != "" {
		t.Errorf("the second rsync sends\n%s", got)
	}
	m.Shell(`echo three > $dir/src/c.csv; rsync -a $dir/src/ files/`)
	wantRecords(t, m, "one", "two", "three")
	r := m.TryShell(`echo changed >> $dir/src/a.csv; rsync -a $dir/src/ files/`)
	if r.Code != 23 || !strings.Contains(r.Stderr, "File exists") {
		t.Errorf("rsync of a changed file: %+v", r)
	}
	wantRecords(t, m, "one", "two", "three")
}

func TestTar(t *testing.T) {
	m := mount(t)
	m.Shell(`mkdir -p $dir/src/sub; echo one > $dir/src/a.csv; echo two > $dir/src/sub/b.csv; chmod 600 $dir/src/a.csv
		tar -C $dir/src -cf $dir/x.tar .; tar -C files -xf $dir/x.tar; tar -C $dir/src -cf x.tar .`)
	wantFile(t, m, "files/a.csv", "one\n")
	wantFile(t, m, "files/sub/b.csv", "two\n")
	if got := m.Shell("stat -c %a files/a.csv; cat [0-9]*/x.tar | tar -t | sort"); got != "600\n./\n./a.csv\n./sub/\n./sub/b.csv\n" {
		t.Errorf("got %q", got)
	}
	if r := m.TryShell(`tar -C files -xf $dir/x.tar`); r.Code == 0 {
		t.Error("tar wrote over finished files")
	}
}

func TestDd(t *testing.T) {
	m := mount(t)
	m.Shell(`seq 1 20000 > $dir/in; dd if=$dir/in of=x.log bs=4k status=none
		dd if=$dir/in of=x.log bs=1M oflag=append conv=notrunc status=none
		dd if=$dir/in of=files/a.bin bs=512 conv=fsync status=none`)
	if r := m.TryShell("dd if=$dir/in of=x.log bs=1k seek=1 count=1 conv=notrunc status=none"); r.Code == 0 || !strings.Contains(r.Stderr, "Illegal seek") {
		t.Errorf("dd into the middle of a stream: %+v", r)
	}
	m.Shell("dd if=/dev/zero of=files/sparse.bin bs=1k seek=8 count=1 conv=notrunc status=none")
	m.Publish()
	for line, n := range m.Records() {
		if want := 3; n != want && !strings.ContainsRune(line, 0) {
			t.Fatalf("line %s is there %d times, want %d", line, n, want)
		}
	}
	if got := len(m.Finished()["files/sparse.bin"]); got != 9<<10 {
		t.Errorf("the file with a hole has %d bytes", got)
	}
}

func TestGzip(t *testing.T) {
	m := mount(t)
	m.Shell(`seq 1 1000 | gzip -c > x.gz; seq 1 1000 > $dir/y; gzip -c $dir/y > files/y.gz`)
	m.Publish()
	if got := m.Shell("zcat [0-9]*/x.gz | tail -n 1; zcat files/y.gz | wc -l"); got != "1000\n1000\n" {
		t.Errorf("got %q", got)
	}
}

func TestSplit(t *testing.T) {
	m := mount(t)
	m.Shell(`seq -f a%g 0 99 | split -l 30 - out.; seq -f b%g 0 99 | split -l 30 - files/out.`)
	wantRecords(t, m, append(lines("a", 100), lines("b", 100)...)...)
	if got := m.Shell("ls files; wc -l < files/out.aa"); got != "out.aa\nout.ab\nout.ac\nout.ad\n30\n" {
		t.Errorf("got %q", got)
	}
}

func TestSortOutput(t *testing.T) {
	m := mount(t)
	m.Shell(`seq 9 -1 1 | sort -o files/sorted.csv; seq 9 -1 1 | sort -o x.log`)
	wantFile(t, m, "files/sorted.csv", "1\n2\n3\n4\n5\n6\n7\n8\n9\n")
	if got := m.Records()["5"]; got != 2 {
		t.Errorf("published %d times, want once as a file and once as a record", got)
	}
}

func TestSedInPlace(t *testing.T) {
	m := mount(t)
	m.Shell(`printf 'a\nb\n' > files/x.csv; sed -i s/a/A/ files/x.csv`)
	wantFile(t, m, "files/x.csv", "A\nb\n")
	wantRecords(t, m, "A", "b")
	if r := m.TryShell("sed -i s/b/B/ files/x.csv"); r.Code == 0 {
		t.Error("sed -i changed a finished file")
	}
	wantRecords(t, m, "A", "b")
	// In a stream the old records were written, and the new ones are too.
	m.Shell(`printf 'c\nd\n' > x.log; sed -i s/c/C/ x.log`)
	wantRecords(t, m, "A", "b", "c", "d", "C", "d")
}

func TestVim(t *testing.T) {
	m := mount(t)
	m.Shell(`printf 'a\nb\n' > files/x.csv
		vim -u NONE -es -c '%s/a/A/' -c 'wq' files/x.csv </dev/null >/dev/null 2>&1
		vim -u NONE -es -c 'normal ihello' -c 'wq' files/new.csv </dev/null >/dev/null 2>&1`)
	wantFile(t, m, "files/x.csv", "A\nb\n")
	wantFile(t, m, "files/new.csv", "hello\n")
	wantRecords(t, m, "A", "b", "hello")
}

func TestTailFollows(t *testing.T) {
	m := mount(t)
	m.Shell("echo first > x.log")
	out, err := os.Create(filepath.Join(m.Dir, "tail.out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	tail := exec.Command("tail", "-s", "0.1", "-f", m.Path("x.log"))
	tail.Stdout = out
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	has := func(text string) func() bool {
		return func() bool {
			got, err := os.ReadFile(out.Name())
			return err == nil && strings.HasSuffix(string(got), text)
		}
	}
	sinkfstest.Eventually(t, "tail shows what was there", has("first\n"))
	m.Shell("echo second >> x.log")
	sinkfstest.Eventually(t, "tail shows what is appended", has("second\n"))
	m.Publish()
	m.Shell("echo third >> x.log")
	sinkfstest.Eventually(t, "tail goes on after a checkpoint", has("third\n"))
	if err := tail.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = tail.Wait() // it was killed
}

func TestFlock(t *testing.T) {
	m := mount(t)
	m.Shell(`for i in $(seq 0 19); do
			flock app.lock bash -c 'n=$(wc -l < app.lock); echo x >> app.lock; echo line$n >> x.log' &
		done; wait`)
	wantRecords(t, m, lines("line", 20)...)
	if r := m.TryShell(`exec 9>app.lock; flock 9; flock -n app.lock true`); r.Code != 1 {
		t.Errorf("a second lock: %+v", r)
	}
}

func TestTruncateCommand(t *testing.T) {
	m := mount(t)
	m.Shell(`echo a > x.log; truncate -s 0 x.log; echo b >> x.log; : > x.log; echo c >> x.log`)
	wantRecords(t, m, "a", "b", "c")
	if r := m.TryShell("truncate -s 1 x.log"); r.Code == 0 {
		t.Error("a stream was cut short")
	}
}

func TestInstall(t *testing.T) {
	m := mount(t)
	m.Shell(`echo x > $dir/a; install -m 600 $dir/a files/a.conf; install -d files/d/e`)
	wantFile(t, m, "files/a.conf", "x\n")
	if got := m.Shell("stat -c %a files/a.conf; stat -c %F files/d/e"); got != "600\ndirectory\n" {
		t.Errorf("got %q", got)
	}
}

func TestLinksAreRefused(t *testing.T) {
	m := mount(t)
	m.Shell("echo x > x.log")
	for _, command := range []string{"ln x.log y.log", "ln -s x.log y.log", "mkfifo f"} {
		if r := m.TryShell(command); r.Code == 0 || !strings.Contains(r.Stderr, "Operation not permitted") {
			t.Errorf("%s: %+v", command, r)
		}
	}
}
