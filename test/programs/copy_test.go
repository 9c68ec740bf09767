package programs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// source makes a file outside of the mount, mode 0640, of nobody, from 2020.
func (p *place) source(name, text string) {
	p.t.Helper()
	file := filepath.Join(p.src, name)
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Chown(file, nobody, nobody); err != nil {
		p.t.Fatal(err)
	}
	when := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	if err := os.Chtimes(file, when, when); err != nil {
		p.t.Fatal(err)
	}
}

const (
	statAll = `stat -c '%a %u %Y %s' `
	// What it says of a file that source made, but for the size.
	nobodys    = "640 65534 1580702706 "
	nobodys600 = "600 65534 1580702706 "
)

func TestCp(t *testing.T) {
	p := mount(t, standard)
	p.source("a", "one\ntwo\n")
	p.source("b", "three\n")
	p.run(`cp $SRC/a app.log; cp $SRC/b app.log; cat app.log`).prints("three\n") // truncates, then writes
	p.publishes(files{"part-0": "one\ntwo\nthree\n"})
	p.run(`mkdir d; cp -r $SRC/. d`)
	p.publishes(files{"d/part-1": "one\ntwo\nthree\n"})
	p.run(`cp $SRC/a files/a; cp $SRC/b files/a; cp $SRC/a files/c.gz; cp $SRC/a w.gz`)
	p.publishes(files{"files/a": "three\n", "files/c.gz": "one\ntwo\n", "w.gz": "one\ntwo\n"})
	p.try(`cp $SRC/a files/a`).fails("Operation not permitted")
	p.try(`cp $SRC/a part-*`).fails("Operation not permitted")
	p.run(`cp -n $SRC/a files/a; cp -u $SRC/a files/a`)
	p.publishes(files{})
}

func TestCpPreserve(t *testing.T) {
	p := mount(t, standard)
	p.source("a", "one\n")
	p.run(`cp -p $SRC/a app.log; ` + statAll + `app.log`).prints(nobodys + "4\n")
	p.run(`cp -p $SRC/a files/a; cp -a $SRC/a files/b; cp -p $SRC/a w.zip; ` + statAll + `files/a`).prints(nobodys + "4\n")
	p.publishes(files{"part-0": "one\n", "files/a": "one\n", "files/b": "one\n", "w.zip": "one\n"})
	for _, name := range []string{"files/a", "files/b", "w.zip"} {
		p.run(statAll + `$TARGET/` + name).prints(nobodys + "4\n")
		p.run(statAll + name).prints(nobodys + "4\n")
	}
	p.run(`ls -ln --time-style=long-iso files`).matches(`(?m)^-rw-r----- 1 65534 65534 4 2020-02-03 04:05 a\n-rw-r----- 1 65534 65534 4 2020-02-03 04:05 b$`)
	p.run(statAll + `files/a`).prints(nobodys + "4\n") // also after ls saw it
	p.run(`stat -c '%a %u' part-*`).prints("444 0\n")
	// What changes nothing is no error: copies that are repeated do it.
	p.run(`chmod 640 files/a; chown 65534 files/a; touch -d '2020-02-03 04:05:06' files/a`)
	p.try(`chmod 600 files/a`).fails("Operation not permitted")
	p.try(`touch files/a`).fails("Operation not permitted")
}

// A first listing of a new mount tells owners and modes too.
func TestListedOwners(t *testing.T) {
	p := mount(t, standard)
	p.source("a", "one\n")
	p.run(`cp -p $SRC/a files/a`)
	p.publishes(files{"files/a": "one\n"})
	p.run(`ls -ln files; ls -ln files/a`).matches(`(?m)^-rw-r----- 1 65534 65534 4 .* files/a$`)
	p.umount(0)
	p.again()
	p.run(`ls -ln files`).matches(`(?m)^-rw-r----- 1 65534 65534 4 .* a$`)
	p.run(`ls -ln files/a`).matches(`(?m)^-rw-r----- 1 65534 65534 4 .* files/a$`)
}

func TestMvIn(t *testing.T) {
	p := mount(t, standard)
	p.source("a", "one\n")
	p.source("b", "two\n")
	p.run(`mv $SRC/a app.log; mv -f $SRC/b files/b; ls $SRC; ` + statAll + `files/b`).prints(nobodys + "4\n")
	p.publishes(files{"part-0": "one\n", "files/b": "two\n"})
	p.run(statAll + `$TARGET/files/b`).prints(nobodys + "4\n")
	p.source("b", "again\n")
	p.try(`mv -f $SRC/b files/b`).fails("Operation not permitted")
	p.run(`cat $SRC/b`).prints("again\n") // not lost
	p.publishes(files{})
}

func TestMvWithin(t *testing.T) {
	p := mount(t, standard)
	p.run(`mkdir d; echo one >> a.log; mv a.log b.log; echo two >> b.log; mv b.log d/c.log; echo three >> d/c.log; cat d/c.log`).prints("one\ntwo\nthree\n")
	// What was written stays in the directory where it was written.
	p.publishes(files{"part-0": "one\ntwo\n", "d/part-1": "three\n"})
	// Onto another: its records are kept.
	p.run(`echo old >> x.log; echo new >> y.log; mv y.log x.log; cat x.log`).prints("new\n")
	p.publishes(files{"part-2": "old\nnew\n"})
	p.run(`echo f > files/.f.tmp; mv files/.f.tmp files/f; echo g > files/g; mv files/g files/h; mkdir files/e; mv files/h files/e`)
	p.publishes(files{"files/f": "f\n", "files/e/h": "g\n"})
	p.try(`mv files/f files/z`).fails("Operation not permitted")
	p.try(`echo new > files/n; mv files/n files/f`).fails("File exists")
	p.publishes(files{"files/n": "new\n"})
}

// From one sink to another mv copies and removes: what the first sink has
// got stays its own, and the second gets it anew.
func TestMvToOtherSink(t *testing.T) {
	p := mount(t, standard)
	p.run(`printf 'one\ntwo\n' >> app.log; mv app.log files/app.log; ! test -e app.log; cat files/app.log`).prints("one\ntwo\n")
	p.publishes(files{"part-0": "one\ntwo\n", "files/app.log": "one\ntwo\n"})
	p.run(`echo three > files/t; mv files/t t.log; ! test -e files/t`)
	p.publishes(files{"part-1": "three\n"}) // a file that is removed was never there
}

func TestInstall(t *testing.T) {
	p := mount(t, standard)
	p.source("a", "one\n")
	p.run(`install -m 600 -o nobody -p $SRC/a files/a; install -D -m 640 $SRC/a files/deep/er/b; install $SRC/a app.log; install -m 644 $SRC/a app.log`)
	p.run(`stat -c %a app.log files`).prints("644\n755\n")
	// It removes what was there before: two files, both are published.
	p.publishes(files{"part-0": "one\none\n", "files/a": "one\n", "files/deep/er/b": "one\n"})
	p.run(statAll + `$TARGET/files/a`).prints(nobodys600 + "4\n")
	p.try(`install $SRC/a files/a`).fails("Operation not permitted")
	p.run(`cat files/a`).prints("one\n")
}

func TestTar(t *testing.T) {
	p := mount(t, standard)
	p.source("a", "one\n")
	p.source("b", "two\n")
	p.run(`tar cf $SRC/../x.tar -C $SRC a b; mkdir d; tar xf $SRC/../x.tar -C d; tar xpf $SRC/../x.tar -C files; ` + statAll + `d/a files/a`).
		prints(nobodys + "4\n" + nobodys + "4\n")
	p.publishes(files{"d/part-0": "one\ntwo\n", "files/a": "one\n", "files/b": "two\n"})
	p.run(statAll + `$TARGET/files/b`).prints(nobodys + "4\n")
	// A finished file is not replaced, and tar says so.
	p.try(`tar xf $SRC/../x.tar -C files`).fails("Cannot open: (File exists|Operation not permitted)")
	p.run(`tar xf $SRC/../x.tar -C files --skip-old-files; tar cf w.tar -C $SRC a; tar czf w.tgz -C $SRC b; tar tf w.tar`).prints("a\n")
	p.checkpoint("")
	p.run(`tar xOf $TARGET/w.tar; tar xOf $TARGET/w.tgz`).prints("one\ntwo\n")
	p.finished = p.readTarget()
}

func TestRsync(t *testing.T) {
	p := mount(t, standard)
	p.source("a", "one\n")
	p.run(`rsync -a $SRC/ logs/; rsync -a $SRC/ files/; ls files`).prints("") // unfinished names are not listed
	p.run(statAll + `logs/a files/a`).prints(nobodys + "4\n" + nobodys + "4\n")
	p.publishes(files{"logs/part-0": "one\n", "files/a": "one\n"})
	p.run(statAll + `$TARGET/files/a files/a`).prints(nobodys + "4\n" + nobodys + "4\n")
	// Nothing changed: nothing is sent, and nothing published.
	p.run(`rsync -a -i $SRC/ logs/; rsync -a -i $SRC/ files/`).matches(`^(\.d\S+ \./\n)*$`)
	p.publishes(files{})
	// A changed log is replaced as a whole by a temporary file's rename: its
	// lines are written anew, so they are published again.
	p.source("a", "one\ntwo\n")
	p.run(`rsync -a $SRC/ logs/; cat logs/a`).prints("one\ntwo\n")
	p.publishes(files{"logs/part-1": "one\ntwo\n"})
	p.try(`rsync -a $SRC/ files/`).fails("(File exists|Operation not permitted)")
	p.publishes(files{})
	if got := p.scratch(); len(got) > 0 {
		t.Errorf("temporary files stay: %q", got)
	}
}

func TestRsyncInplace(t *testing.T) {
	p := mount(t, standard)
	p.source("a", "one\ntwo\n")
	p.run(`rsync -a --inplace --no-whole-file $SRC/ logs/; rsync -a --inplace $SRC/ files/`)
	p.publishes(files{"logs/part-0": "one\ntwo\n", "files/a": "one\ntwo\n"})
	// Growth is appended: what is equal is skipped, not rewritten.
	p.source("a", "one\ntwo\nthree\n")
	p.run(`rsync -a --append $SRC/ logs/; cat logs/a`).prints("one\ntwo\nthree\n")
	p.publishes(files{"logs/part-1": "three\n"})
	p.source("a", "one\ntwo\nthree\nfour\n")
	p.run(`rsync -a --append-verify $SRC/ logs/; cat logs/a`).prints("one\ntwo\nthree\nfour\n")
	p.publishes(files{"logs/part-2": "four\n"})
	// A change in the middle cannot be made in a log, and rsync says so.
	p.source("a", "ONE\ntwo\n")
	p.try(`rsync -a --inplace $SRC/ logs/`).fails("Illegal seek|Operation not permitted")
	p.publishes(files{})
}

func TestRsyncFromMount(t *testing.T) {
	p := mount(t, standard)
	p.run(`echo one > app.log; echo f > files/f`)
	p.publishes(files{"part-0": "one\n", "files/f": "f\n"})
	p.run(`rsync -aX $MNT/ $SRC/; cd $SRC; find . -type f -size -1000c -name '[fp]*' | sort; cat part-* files/f`).
		matches(`^\./files/f\n\./part-[0-9a-f]{16}-0\none\nf\n$`)
}

// nobody is the user and group that tests become.
const nobody = 65534

func asNobody() *syscall.Credential { return &syscall.Credential{Uid: nobody, Gid: nobody} }
