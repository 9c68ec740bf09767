package programs_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSedInPlace(t *testing.T) {
	p := mount(t, standard)
	p.run(`seq 1 4 > app.log; sed -i s/2/two/ app.log; cat app.log`).prints("1\ntwo\n3\n4\n")
	// The new file is another one of that name: its lines are published too.
	p.publishes(files{"part-0": "1\n2\n3\n4\n1\ntwo\n3\n4\n"})
	p.run(`sed -i s/3/three/ app.log; cat app.log; sed -i.orig s/4/four/ app.log`).prints("1\ntwo\nthree\n4\n")
	p.publishes(files{"part-1": "1\ntwo\nthree\nfour\n1\ntwo\nthree\n4\n"})
	p.run(`seq 1 3 > files/x; sed -i s/2/two/ files/x`)
	p.publishes(files{"files/x": "1\ntwo\n3\n"})
	p.try(`sed -i s/1/one/ files/x`).fails("Operation not permitted|File exists")
	p.run(`cat files/x`).prints("1\ntwo\n3\n")
	p.wantNoScratch()
}

// wantNoScratch wants that no temporary file was left behind.
func (p *place) wantNoScratch() {
	p.t.Helper()
	if got := p.scratch(); len(got) > 0 {
		p.t.Errorf("temporary files stay: %q", got)
	}
}

func TestVim(t *testing.T) {
	p := mount(t, standard)
	vim := func(options, file string) string {
		return "vim -u NONE -N -i NONE -es -c 'set directory=. backupdir=. backupskip= " + options + "' -c '%s/3/three/' -c 'wq' " + file + " </dev/null"
	}
	p.run(`seq 1 4 > app.log`)
	p.publishes(files{"part-0": "1\n2\n3\n4\n"})
	// With a swap file and a backup: it moves the log away and writes another
	// of its name, whose lines are published anew. What was moved stays a log.
	p.run(vim("swapfile writebackup backup", "app.log") + `; cat app.log; cat app.log~`).prints("1\n2\nthree\n4\n1\n2\n3\n4\n")
	p.publishes(files{"part-1": "1\n2\nthree\n4\n"})
	// Into the same file, with a backup only while it writes; then into
	// another one, old and new in order of their last names.
	p.run(`seq 1 4 > same; ` + vim("swapfile writebackup nobackup backupcopy=yes", "same") + `; cat same`).prints("1\n2\nthree\n4\n")
	p.publishes(files{"part-2": "1\n2\n3\n4\n1\n2\nthree\n4\n"})
	p.run(`seq 1 4 > other; ` + vim("swapfile writebackup nobackup backupcopy=no", "other") + `; cat other`).prints("1\n2\nthree\n4\n")
	p.publishes(files{"part-3": "1\n2\nthree\n4\n1\n2\n3\n4\n"})
	p.wantNoScratch()
	// A new file, and one of the file sink.
	p.run(`printf 'a\nb\n' > $SRC/ab; vim -u NONE -N -i NONE -es -c 'set directory=. swapfile' -c "r $SRC/ab" -c 'g/^$/d' -c 'wq' files/new </dev/null`)
	p.run(`seq 1 4 > files/x; ` + vim("swapfile writebackup nobackup", "files/x"))
	p.publishes(files{"files/new": "a\nb\n", "files/x": "1\n2\nthree\n4\n"})
	p.wantNoScratch()
	// A finished file cannot be written. Vim says so and keeps its backup,
	// as it could not put it back.
	p.try(vim("swapfile writebackup nobackup", "files/x")).fails("")
	p.run(`cat files/x; rm -f files/x~`).prints("1\n2\nthree\n4\n")
	p.publishes(files{})
	p.wantNoScratch()
}

func TestPatch(t *testing.T) {
	p := mount(t, standard)
	p.run(`printf 'a\nb\nc\n' > $SRC/old; printf 'a\nB\nc\n' > $SRC/new; ! diff -u $SRC/old $SRC/new > $SRC/diff
		cp $SRC/old app.log; cp $SRC/old files/x; patch app.log $SRC/diff; patch files/x $SRC/diff; cat app.log`).
		prints("patching file app.log\npatching file files/x\na\nB\nc\n")
	p.publishes(files{"part-0": "a\nb\nc\na\nB\nc\n", "files/x": "a\nB\nc\n"})
	p.wantNoScratch()
}

func TestSortOutput(t *testing.T) {
	p := mount(t, standard)
	p.run(`printf '3\n1\n2\n' > app.log; sort -o app.log app.log; cat app.log; printf 'b\na\n' | sort -o files/x; sort -o files/x files/x`).prints("1\n2\n3\n")
	p.publishes(files{"part-0": "3\n1\n2\n1\n2\n3\n", "files/x": "a\nb\n"})
}

func TestSplit(t *testing.T) {
	p := mount(t, standard)
	p.run(`seq 1 7 | split -l 3 - x.; seq 1 7 | split -l 4 -d --additional-suffix=.csv - files/y.; seq 1 4 | split -l 2 --filter='cat >> $FILE' - z.`)
	p.publishes(files{"part-0": "1\n2\n3\n4\n5\n6\n7\n1\n2\n3\n4\n", "files/y.00.csv": "1\n2\n3\n4\n", "files/y.01.csv": "5\n6\n7\n"})
}

func TestGzip(t *testing.T) {
	p := mount(t, standard)
	p.run(`seq 1 1000 > $SRC/n; gzip -c $SRC/n > a.gz; gzip -c < $SRC/n > files/b.gz; gzip $SRC/n -c | tee -a c.gz > /dev/null; seq 1 1000 | bzip2 > d.bz2; seq 1 1000 | xz > e.xz`)
	p.run(`gzip -dc a.gz | cmp - $SRC/n`)
	p.checkpoint("")
	p.finished = p.readTarget()
	want, err := os.ReadFile(filepath.Join(p.src, "n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.gz", "files/b.gz", "c.gz"} {
		z, err := gzip.NewReader(strings.NewReader(p.finished[name]))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes (%v), want the %d of the original", name, len(got), err, len(want))
		}
	}
	p.run(`bzip2 -dc $TARGET/d.bz2 | cmp - $SRC/n; xz -dc $TARGET/e.xz | cmp - $SRC/n`)
	if len(p.finished) != 5 {
		t.Errorf("%d finished files, want 5", len(p.finished))
	}
	// In place: gzip replaces a log by its own compressed file, so the log's
	// records are published, and so is the file.
	p.run(`echo line > app.log; gzip app.log; ! test -e app.log; gzip -dc app.log.gz`).prints("line\n")
	p.checkpoint("")
	p.run(`gzip -dc $TARGET/app.log.gz; cat $TARGET/part-*; find $TARGET -type f | wc -l`).prints("line\nline\n7\n")
	p.finished = p.readTarget()
}

// SQLite works in place: its database is a file, taken when nobody has it
// open, and its journals are scratch.
func TestSQLite(t *testing.T) {
	p := mount(t, standard)
	for _, name := range []string{"a.db", "b.sqlite", "c.sqlite3", "files/d.db"} {
		p.run(`sqlite3 ` + name + ` 'create table t(x); insert into t values (1), (2);'
			sqlite3 ` + name + ` 'begin; insert into t select x + 10 from t; commit; update t set x = x + 1; select sum(x) from t;'`).prints("30\n")
	}
	p.run(`sqlite3 a.db 'pragma journal_mode = wal; insert into t values (100); select sum(x) from t;'`).prints("wal\n130\n")
	p.checkpoint("")
	p.finished = p.readTarget()
	names := []string{}
	for name := range p.finished {
		names = append(names, name)
		p.run(`sqlite3 -readonly 'file:` + p.target + "/" + name + `?immutable=1' 'select count(*) from t;'`).matches(`^[45]\n$`)
	}
	if len(names) != 4 {
		t.Errorf("finished: %q, want the four databases", names)
	}
	p.wantNoScratch()
	p.try(`sqlite3 b.sqlite 'insert into t values (5);'`).fails("readonly|read-only|unable to open")
	p.run(`sqlite3 -readonly b.sqlite 'select sum(x) from t;'`).prints("30\n")
	p.publishes(files{})
}

func TestLinksAndDevices(t *testing.T) {
	p := mount(t, standard)
	p.run(`echo one > app.log; echo f > files/f`)
	for _, script := range []string{
		`mkfifo p`, `mknod c c 1 3`, `ln app.log hard`, `ln -s app.log soft`, `ln files/f files/hard`, `mkfifo files/p`,
	} {
		p.try(script).fails("Operation not permitted")
	}
	p.publishes(files{"part-0": "one\n", "files/f": "f\n"})
	p.try(`ln files/f files/hard`).fails("Operation not permitted")
}
