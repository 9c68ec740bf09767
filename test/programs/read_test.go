package programs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// follow starts a tail and returns what it printed so far.
func (p *place) follow(script string) func() string {
	p.t.Helper()
	file := filepath.Join(p.dir, "followed")
	out, err := os.Create(file)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	cmd := p.command("exec " + script)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return func() string {
		b, _ := os.ReadFile(file)
		return string(b)
	}
}

func (p *place) eventuallyPrints(printed func() string, want string) {
	p.t.Helper()
	sinkfstest.Eventually(p.t, "prints "+want, func() bool { return strings.HasPrefix(printed(), want) })
	if got := printed(); got != want {
		p.t.Errorf("printed %q, want %q", got, want)
	}
}

func TestTailFollow(t *testing.T) {
	p := mount(t, standard)
	p.run(`echo one >> app.log`)
	printed := p.follow(`tail -n +1 -s 0.02 -f app.log`)
	p.eventuallyPrints(printed, "one\n")
	p.run(`exec 3>>app.log; echo two >&3; echo > .sinkfs/checkpoint; echo three >&3`)
	p.eventuallyPrints(printed, "one\ntwo\nthree\n")
	p.publishes(files{"part-0": "one\ntwo\n", "part-1": "three\n"})
	p.run(`echo four >> app.log`)
	p.eventuallyPrints(printed, "one\ntwo\nthree\nfour\n")
	p.publishes(files{"part-2": "four\n"})
	// Emptied: tail sees a truncated file and starts again.
	p.run(`echo 5 > app.log`)
	p.eventuallyPrints(printed, "one\ntwo\nthree\nfour\ntail: app.log: file truncated\n5\n")
	p.publishes(files{"part-3": "5\n"})
}

func TestTailFollowName(t *testing.T) {
	p := mount(t, standard)
	p.run(`echo one >> app.log`)
	printed := p.follow(`tail -n +1 -s 0.02 -F app.log`)
	p.eventuallyPrints(printed, "one\n")
	p.run(`mv app.log app.log.1; echo two >> app.log`)
	sinkfstest.Eventually(t, "tail reads the new file", func() bool { return strings.HasSuffix(printed(), "two\n") })
	p.publishes(files{"part-0": "two\none\n"}) // app.log, then app.log.1
	p.run(`echo three >> app.log`)
	sinkfstest.Eventually(t, "tail follows the new file", func() bool { return strings.HasSuffix(printed(), "two\nthree\n") })
	p.publishes(files{"part-1": "three\n"})
}

func TestReaders(t *testing.T) {
	p := mount(t, standard)
	p.run(`seq 1 1000 > app.log; seq 1 1000 > files/n; echo unfinished > files/later; exec 3>>files/open; echo > .sinkfs/checkpoint`)
	text := p.run(`seq 1 1000`).out
	p.appeared(files{"part-0": text, "files/n": text, "files/later": "unfinished\n"})
	p.publishes(files{"files/open": ""}) // it was open
	p.run(`cat part-*`).prints(text)
	p.run(`LESSOPEN= less part-* | cat; tail -n 1 files/n; head -n 1 files/n; wc -l < files/n; grep -c 7 files/n; dd if=files/n bs=1 skip=2 count=3 status=none`).
		prints(text + "1000\n1\n1000\n271\n2\n3")
	p.run(`python3 -c 'import mmap; f = open("files/n", "rb"); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); print(m[:4])'`).prints("b'1\\n2\\n'\n")
	p.run(`cmp files/n part-*; test "$(md5sum < files/n)" = "$(md5sum < $TARGET/files/n)"`).prints("")
	p.run(`grep -rlx 1000 . | sort | tail -n 1; tar cf - files/n part-* | tar tf - | wc -l; cp -a files $SRC/copy; cmp $SRC/copy/n files/n`).matches(`^\./part-[0-9a-f]{16}-0\n2\n$`)
}

// Listings show directories and finished files, never a name that programs
// still write; by its exact name that is there.
func TestListings(t *testing.T) {
	p := mount(t, standard)
	p.run(`mkdir -p logs/eu; echo one >> logs/eu/app.log; echo f > files/f; echo tmp > logs/.hidden; echo tmp > files/x.tmp`)
	p.run(`find . | sort`).prints(".\n./files\n./logs\n./logs/eu\n")
	p.run(`ls -A . logs logs/eu files`).prints(".:\nfiles\nlogs\n\nfiles:\n\nlogs:\neu\n\nlogs/eu:\n")
	p.run(`stat -c '%n %s %F' logs/eu/app.log files/f; test -f files/f; ls -l logs/eu/app.log`).matches(`^logs/eu/app.log 4 regular file\nfiles/f 2 regular file\n-rw-r--r-- 1 root root 4 .* logs/eu/app.log\n$`)
	p.try(`rmdir logs/eu`).fails("Directory not empty")
	p.publishes(files{"logs/eu/part-0": "one\n", "files/f": "f\n"})
	p.run(`find . -type f | sed 's/-[0-9a-f]\{16\}-/-/' | sort`).prints("./files/f\n./logs/eu/part-0\n")
	p.run(`ls -la files`).matches(`(?m)^total \d+\ndrwxr-xr-x 2 root root +4096 .* \.\ndrwxr-xr-x \d root root +4096 .* \.\.\n-rw-r--r-- 1 root root +2 .* f\n$`)
	p.run(`find . -newermt 2020-01-01 -size -10c -type f -printf '%s %m\n' | sort`).prints("2 644\n4 444\n")
	p.run(`du -ab --apparent-size files/f logs/eu/part-* | cut -f1`).prints("2\n4\n")
	p.run(`du -s . >/dev/null; df --output=fstype . | tail -n 1; df -i . >/dev/null; stat -f -c %T .`).prints("fuse.sinkfs\nfuseblk\n")
	// The free space is the spool's.
	free := func(dir string) string {
		out, err := exec.Command("df", "--output=size", dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if got, want := free(p.mnt), free(p.state); got != want {
		t.Errorf("df of the mount says %q, of the spool %q", got, want)
	}
	p.run(`ls -a . | grep -c sinkfs || true; ls .sinkfs; test -d .sinkfs; test -f logs/.sinkfs/status; rm files/x.tmp logs/.hidden`).
		matches(`^0\n(.*\n)*checkpoint\n(.*\n)*status\n$`)
}
