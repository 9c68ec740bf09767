package programs_test

import "testing"

func TestShellAppend(t *testing.T) {
	p := mount(t, standard)
	p.run(`echo one >> app.log; echo two >> app.log`)
	p.publishes(files{"part-0": "one\ntwo\n"})
	p.run(`echo three >> app.log`)
	p.publishes(files{"part-1": "three\n"})
	p.run(`stat -c %s app.log; cat app.log`).prints("14\none\ntwo\nthree\n")
}

func TestShellRewrite(t *testing.T) {
	p := mount(t, standard)
	p.run(`echo one > app.log; echo two > app.log; stat -c %s app.log`).prints("4\n")
	p.publishes(files{"part-0": "one\ntwo\n"})
	p.run(`for i in 1 2 3 4 5; do echo $i > app.log; done; cat app.log`).prints("5\n")
	p.publishes(files{"part-1": "1\n2\n3\n4\n5\n"})
	p.run(`set -o noclobber; ! echo 6 > app.log`).matches("cannot overwrite existing file")
	p.publishes(files{})
}

func TestShellRewriteFileSink(t *testing.T) {
	p := mount(t, standard)
	p.run(`echo one > files/x; echo two > files/x; cat files/x`).prints("two\n")
	p.publishes(files{"files/x": "two\n"})
	p.try(`echo three > files/x`).fails("Operation not permitted")
	p.try(`echo three >> files/x`).fails("Operation not permitted")
	p.run(`cat files/x`).prints("two\n")
	p.publishes(files{})
}

func TestShellExecDescriptor(t *testing.T) {
	p := mount(t, standard)
	p.run(`
		exec 3>>app.log
		echo one >&3
		(echo two; echo three) >&3
		echo > .sinkfs/checkpoint
		echo four >&3
		printf torn >&3
		echo > .sinkfs/checkpoint
		exec 3>&-`)
	// The torn tail waits for the descriptor: it is gone now.
	p.publishes(files{"part-0": "one\ntwo\nthree\n", "part-1": "four\n", "part-2": "torn"})
}

func TestShellHeredoc(t *testing.T) {
	p := mount(t, standard)
	p.run("cat > app.log <<END\na\nb\nEND\ncat >> app.log <<END\nc\nEND")
	p.publishes(files{"part-0": "a\nb\nc\n"})
}

func TestTeeAppend(t *testing.T) {
	p := mount(t, standard)
	p.run(`printf 'a\nb\n' | tee -a app.log other.log`).prints("a\nb\n")
	p.run(`echo c | tee -a app.log; echo d | tee other.log`).prints("c\nd\n")
	p.publishes(files{"part-0": "a\nb\nc\na\nb\nd\n"})
}

func TestDDAppend(t *testing.T) {
	p := mount(t, standard)
	p.run(`seq 1 3 | dd of=app.log conv=notrunc oflag=append bs=2 status=none
		seq 4 5 | dd of=app.log conv=notrunc,fsync oflag=append,dsync status=none
		seq 6 6 | dd of=app.log conv=notrunc oflag=append,nonblock status=none`)
	p.publishes(files{"part-0": "1\n2\n3\n4\n5\n6\n"})
}

func TestDD(t *testing.T) {
	p := mount(t, standard)
	p.run(`seq 1 4 | dd of=app.log status=none; seq 7 9 | dd of=app.log bs=1 status=none`)
	p.publishes(files{"part-0": "1\n2\n3\n4\n7\n8\n9\n"})
	// Into what is written already: refused, before a byte is lost.
	p.try(`seq 1 4 | dd of=app.log conv=notrunc status=none`).fails("Illegal seek")
	p.try(`seq 1 4 | dd of=app.log seek=1 bs=2 conv=notrunc status=none`).fails("Illegal seek")
	p.run(`cat app.log`).prints("7\n8\n9\n")
	p.publishes(files{})
	p.run(`seq 1 4 | dd of=files/x status=none; printf 33 | dd of=files/x bs=1 seek=2 conv=notrunc status=none`)
	p.publishes(files{"files/x": "1\n333\n4\n"})
}

func TestTruncateTouch(t *testing.T) {
	p := mount(t, standard)
	p.run(`touch app.log; stat -c %s app.log`).prints("0\n")
	p.publishes(files{}) // zero bytes: no part
	p.run(`echo one > app.log; truncate -s 0 app.log; stat -c %s app.log; truncate -s 0 app.log; echo two >> app.log; touch app.log`).prints("0\n")
	p.publishes(files{"part-0": "one\ntwo\n"})
	p.run(`truncate -s 4 app.log`) // its size
	p.try(`truncate -s 2 app.log`).fails("Operation not permitted")
	p.try(`truncate -s 9 app.log`).fails("Operation not permitted")
	p.run(`touch -d '2020-02-03 04:05:06' app.log; stat -c %y app.log`).matches(`^2020-02-03 04:05:06`)
	p.run(`touch files/empty; echo 12345 > files/x; truncate -s 3 files/x`)
	p.publishes(files{"files/empty": "", "files/x": "123"})
}
