package programs_test

import (
	"syscall"
	"testing"
)

func asOther() *syscall.Credential { return &syscall.Credential{Uid: 1234, Gid: 1234} }

// The modes of directories and files decide, as on any file system.
func TestOtherUserPermissions(t *testing.T) {
	p := mount(t, standard)
	p.as(asNobody(), `echo no > app.log`).fails("Permission denied")
	p.as(asNobody(), `mkdir d`).fails("Permission denied")
	p.run(`mkdir -m 1777 in; chmod 1777 files; echo root >> in/root.log; echo r > files/root`)
	if r := p.as(asNobody(), `umask 027; echo one >> in/app.log; stat -c '%a %u %g' in/app.log; echo f > files/f; echo g > files/.g.tmp; mv files/.g.tmp files/g; mkdir in/mine; echo d > in/mine/d.log`); r.code != 0 {
		t.Fatalf("nobody: %s", r.out)
	} else {
		r.prints("640 65534 65534\n")
	}
	p.as(asNobody(), `echo no >> in/root.log`).fails("Permission denied")
	p.as(asOther(), `echo no >> in/app.log`).fails("Permission denied")
	p.as(asOther(), `rm -f in/app.log`).fails("Operation not permitted") // sticky
	p.as(asOther(), `mv in/app.log in/other.log`).fails("Operation not permitted")
	p.as(asOther(), `chmod 666 in/app.log`).fails("Operation not permitted")
	p.as(asNobody(), `chown root in/app.log`).fails("Operation not permitted")
	p.publishes(files{
		"in/part-0": "one\nroot\n", "in/mine/part-1": "d\n", "files/f": "f\n", "files/g": "g\n", "files/root": "r\n",
	})
	p.run(`stat -c '%a %u %g' $TARGET/files/f`).prints("640 65534 65534\n")
	p.as(asOther(), `cat files/f`).fails("Permission denied")
	p.as(asOther(), `ls -l files >/dev/null; cat files/f`).fails("Permission denied") // however it became known
	p.as(asOther(), `cat in/part-*`).prints("one\nroot\n")
	p.as(asNobody(), `cat files/f`).prints("f\n")
}

// What is unfinished is read by its owner and by root only.
func TestOtherUserReadsUnfinished(t *testing.T) {
	p := mount(t, standard)
	p.run(`mkdir -m 777 in; chmod 777 files`)
	p.as(asNobody(), `echo one >> in/app.log; echo f > files/f`)
	p.as(asNobody(), `cat in/app.log files/f`).prints("one\nf\n")
	p.run(`cat in/app.log files/f`).prints("one\nf\n")
	p.as(asOther(), `cat in/app.log`).fails("Device or resource busy")
	p.as(asOther(), `cat files/f`).fails("Device or resource busy")
	p.as(asOther(), `stat -c %s in/app.log; tail -n 1 in/app.log`).fails("^4\ntail: cannot open 'in/app.log' for reading: Device or resource busy\n$")
	p.publishes(files{"in/part-0": "one\n", "files/f": "f\n"})
	p.as(asOther(), `cat files/f in/part-*`).prints("f\none\n")
	p.as(asOther(), `cat in/app.log`).fails("Device or resource busy")
}

func TestReadUnfinishedConfigured(t *testing.T) {
	for _, test := range []struct{ value, other, owner string }{
		{"all", "^one\n$", "^one\n$"},
		{"owner", "busy", "^one\n$"},
		{"none", "busy", "busy"},
	} {
		t.Run(test.value, func(t *testing.T) {
			p := mount(t, "read_unfinished: "+test.value+standard)
			p.run(`mkdir -m 777 in`)
			p.as(asNobody(), `echo one >> in/app.log`)
			p.as(asOther(), `cat in/app.log`).matches(test.other)
			p.as(asNobody(), `cat in/app.log`).matches(test.owner)
			p.publishes(files{"in/part-0": "one\n"})
		})
	}
}

func TestOtherUserControlFiles(t *testing.T) {
	p := mount(t, standard)
	p.run(`echo one >> app.log`)
	p.publishes(files{"part-0": "one\n"})
	p.run(`echo two >> app.log`)
	p.as(asNobody(), `echo > .sinkfs/checkpoint`).fails("Permission denied")
	p.as(asNobody(), `cat .sinkfs/checkpoint`).fails("Permission denied")
	p.as(asNobody(), `cat .sinkfs/config`).fails("Permission denied")
	for _, name := range []string{"status", "parts", "metrics"} {
		if r := p.as(asNobody(), `cat .sinkfs/`+name); r.code != 0 || r.out == "" {
			t.Errorf("nobody reads %s: %d %q", name, r.code, r.out)
		}
		p.as(asNobody(), `echo x > .sinkfs/`+name).fails("Permission denied")
	}
	p.appeared(files{})
	p.publishes(files{"part-1": "two\n"})
}

func TestControlGroup(t *testing.T) {
	p := mount(t, `control: {group: nogroup}`+standard)
	p.run(`echo one >> app.log; stat -c '%a %G' .sinkfs/checkpoint`).prints("660 nogroup\n")
	if r := p.as(asNobody(), `echo > .sinkfs/checkpoint`); r.code != 0 {
		t.Errorf("a member of the group triggers: %s", r.out)
	}
	p.as(asOther(), `echo > .sinkfs/checkpoint`).fails("Permission denied")
	p.appeared(files{"part-0": "one\n"})
}
