package mount_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs/mount"
)

func TestMountpoints(t *testing.T) {
	mkdir := func(t *testing.T, p plan) {
		t.Helper()
		if err := os.Mkdir(p.Mountpoint, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, p *plan)
		says    string // "MNT" stands for the mountpoint; "" is success
		made    bool
	}{
		{"missing", func(*testing.T, *plan) {}, "", true},
		{"empty", func(t *testing.T, p *plan) { mkdir(t, *p) }, "", false},
		{"demanded protection", func(t *testing.T, p *plan) { mkdir(t, *p); p.Protect = true }, "", true},
		{"missing parent", func(_ *testing.T, p *plan) { p.Mountpoint += "/a/b" }, "cannot mount at MNT: PARENT does not exist, make it first", false},
		{"a file", func(t *testing.T, p *plan) {
			if err := os.WriteFile(p.Mountpoint, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "cannot mount at MNT: it is not a directory", false},
		{"not empty", func(t *testing.T, p *plan) {
			mkdir(t, *p)
			if err := os.WriteFile(filepath.Join(p.Mountpoint, "x"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "cannot mount at MNT: the directory is not empty (x), empty it or use -o nonempty", false},
		{"not empty, allowed", func(t *testing.T, p *plan) {
			mkdir(t, *p)
			if err := os.WriteFile(filepath.Join(p.Mountpoint, "x"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			p.NonEmpty = true
		}, "", false},
		{"another file system", func(t *testing.T, p *plan) {
			mkdir(t, *p)
			if err := unix.Mount("some thing", p.Mountpoint, "tmpfs", 0, "size=4k"); err != nil {
				t.Fatal(err)
			}
		}, "cannot mount at MNT: some thing (tmpfs) is mounted there, choose another directory or unmount it", false},
		{"a living mount", func(t *testing.T, p *plan) {
			other := newPlan(t)
			other.Mountpoint = p.Mountpoint
			other.mounted(t)
		}, "cannot mount at MNT: sinkfs with the target test://target is mounted there; 'sinkfs umount' ends it, 'sinkfs mount --replace' takes it over", false},
		{"a dead mount", func(t *testing.T, p *plan) {
			other := newPlan(t)
			mkdir(t, *p)
			other.Mountpoint = p.Mountpoint
			k := other.mounted(t)
			k.signal(syscall.SIGKILL)
			k.code()
		}, "", false},
		{"a link to a directory", func(t *testing.T, p *plan) {
			mkdir(t, *p)
			link := filepath.Join(p.Dir, "link")
			if err := os.Symlink(p.Mountpoint, link); err != nil {
				t.Fatal(err)
			}
			p.Mountpoint = link
		}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlan(t)
			bare := p.Mountpoint
			tt.prepare(t, &p)
			if tt.says != "" {
				k := p.start(t)
				k.wantCode(5)
				want := "mount: " + strings.NewReplacer("MNT", p.Mountpoint, "PARENT", filepath.Dir(p.Mountpoint)).Replace(tt.says)
				k.await("it says "+want, func() bool { return k.says(want + "\n") })
				return
			}
			k := p.mounted(t)
			k.more(1)
			set(t, p, "hold-drain") // the end is a clean one, after which nothing is refused
			if err := mount.Detach(bare); err != nil {
				t.Fatal(err)
			}
			k.await("it drains", func() bool { return p.has("order") })
			err := os.WriteFile(filepath.Join(bare, "lost"), nil, 0o600)
			if got := errors.Is(err, syscall.EPERM); got != tt.made {
				t.Errorf("writing beneath the mount: %v, want refused %v", err, tt.made)
			}
			k.signal(syscall.SIGTERM)
			k.wantCode(0)
			if err := os.WriteFile(filepath.Join(bare, "after"), nil, 0o600); err != nil {
				t.Errorf("after a clean end: %v", err)
			}
		})
	}
}

// lockPatience is longer than any test machine takes.
const lockPatience = 30 * time.Second

func TestLockNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	first, err := mount.LockState(t.Context(), dir, 0, mount.Holder{PID: 17, Mountpoint: "/mnt/a b"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = mount.LockState(t.Context(), dir, 0, mount.Holder{PID: 18})
	if !errors.Is(err, mount.ErrInUse) || !strings.Contains(err.Error(), dir+" belongs to process 17, mounted at /mnt/a b") {
		t.Errorf("second: %v", err)
	}
	released := make(chan error, 1)
	go func() {
		l, err := mount.LockState(t.Context(), dir, lockPatience, mount.Holder{PID: 19})
		if err == nil {
			err = l.Close()
		}
		released <- err
	}()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-released; err != nil {
		t.Errorf("who waited: %v", err)
	}
}

func TestOptions(t *testing.T) {
	u := func(n uint32) *uint32 { return &n }
	base := mount.DefaultFlags()
	for _, tt := range []struct {
		in   string
		want mount.Flags
		says string
	}{
		{"", base, ""},
		{"defaults,noauto,_netdev,x-systemd.automount,comment=x", base, ""},
		{"ro,noexec,dev", mount.Flags{Bits: unix.MS_NOSUID | unix.MS_RDONLY | unix.MS_NOEXEC, AllowOther: true}, ""},
		{"ro,rw,noallow_other,nonempty", mount.Flags{Bits: base.Bits, NonEmpty: true}, ""},
		{"uid=33,gid=34,umask=027,dir_mode=0750", mount.Flags{Bits: base.Bits, AllowOther: true, UID: u(33), GID: u(34), Umask: u(0o27), DirMode: u(0o750)}, ""},
		{`config=/a\,b,mode=batch`, mount.Flags{Bits: base.Bits, AllowOther: true, Rest: []string{"config=/a,b", "mode=batch"}}, ""},
		{"uid=me", base, `mount option uid: "me" is not a number it takes, write for example uid=1000`},
		{"umask=99", base, `mount option umask: "99" is not a number it takes, write for example umask=0755`},
		{"dir_mode=10000", base, `mount option dir_mode: "10000" is not a number it takes, write for example dir_mode=0755`},
	} {
		got := mount.DefaultFlags()
		err := got.Parse(tt.in)
		if tt.says != "" {
			if !errors.Is(err, mount.ErrOption) || err.Error() != tt.says {
				t.Errorf("%q: error %v, want %s", tt.in, err, tt.says)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", tt.in, err, diff)
		}
	}
}

func TestContaining(t *testing.T) {
	table := []mount.Entry{{Path: "/", Type: "ext4"}, {Path: "/mnt/a", Type: "fuse.sinkfs"}, {Path: "/mnt/a", Type: "fuse.sinkfs", Source: "over"}, {Path: "/mnt/ab", Type: "tmpfs"}}
	for path, want := range map[string]mount.Entry{
		"/": table[0], "/mnt": table[0], "/mnt/a": table[2], "/mnt/a/x/y": table[2], "/mnt/ab/x": table[3], "/mnt/abc": table[0],
	} {
		if got, ok := mount.Containing(table, path); !ok || got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	if _, ok := mount.At(table, "/mnt"); ok {
		t.Error("/mnt is no mountpoint")
	}
}
