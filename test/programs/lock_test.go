package programs_test

import "testing"

func TestFlock(t *testing.T) {
	p := mount(t, standard)
	p.run(`for i in 1 2 3 4 5 6 7 8; do
			(for j in 1 2 3; do flock job.lock bash -c "echo $i.$j.a >> app.log; echo $i.$j.b >> app.log"; done) &
		done; wait`)
	// The lock kept each pair together; the lock file is no log.
	p.run(`awk -F. 'NR % 2 { at = $1 "." $2; next } at != $1 "." $2 { print "torn apart:", at, $0 } END { print NR }' app.log`).prints("48\n")
	p.run(`exec 3>>app.log; flock -x 3; ! flock -n app.log true; flock -u 3; flock -n app.log echo free`).prints("free\n")
	text := p.run(`cat app.log`).out
	p.publishes(files{"part-0": text})
}

func TestFcntlLocks(t *testing.T) {
	p := mount(t, standard)
	p.run(`python3 - <<'END'
import fcntl, os, subprocess, sys
f = open('app.log', 'a')
fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)
other = '''
import fcntl, sys
f = open("app.log", "a")
for start in (0, 20):
    try: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, start); print("got", start)
    except BlockingIOError: print("held", start)
'''
print(subprocess.run([sys.executable, '-c', other], capture_output=True, text=True).stdout, end='')
f.write('line\n')
f.close()
print(subprocess.run([sys.executable, '-c', other], capture_output=True, text=True).stdout, end='')
END`).prints("held 0\ngot 20\ngot 0\ngot 20\n")
	p.publishes(files{"part-0": "line\n"})
}
