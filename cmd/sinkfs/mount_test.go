package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs/mount"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// foreground is a mount command that a test started.
type foreground struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *bufio.Reader
	errs   bytes.Buffer
	point  string
	target string
	state  string
}

// mountHere starts sinkfs mount in the foreground and waits until it says
// that it is mounted.
func mountHere(t *testing.T, env []string, args ...string) *foreground {
	t.Helper()
	dir := t.TempDir()
	f := &foreground{t: t, point: filepath.Join(dir, "mnt"), target: filepath.Join(dir, "target"), state: filepath.Join(dir, "state")}
	line := append([]string{"mount", "--state-dir", f.state, "--checkpoint-interval", "0"}, args...)
	f.cmd = exec.Command(sinkfstest.Program(t), append(line, f.target, f.point)...)
	f.cmd.Env = append(os.Environ(), env...)
	f.cmd.Stderr = &f.errs
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.out = bufio.NewReader(out)
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait()
		_ = unix.Unmount(f.point, unix.MNT_DETACH)
		sinkfstest.Command(t, exec.Command("chattr", "-i", f.point))
	})
	if first, err := f.out.ReadString('\n'); err != nil || first != "file://"+f.target+" is mounted on "+f.point+"\n" {
		_ = f.cmd.Wait()
		t.Fatalf("it says %q, %v\n%s", first, err, &f.errs)
	}
	return f
}

func (f *foreground) code() int {
	f.t.Helper()
	if _, err := io.Copy(io.Discard, f.out); err != nil {
		f.t.Fatal(err)
	}
	_ = f.cmd.Wait()
	return f.cmd.ProcessState.ExitCode()
}

// publishedText is the content of all finished files of a target.
func publishedText(t *testing.T, target string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(target, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestMountInForeground(t *testing.T) {
	f := mountHere(t, nil)
	appendTo(t, filepath.Join(f.point, "app.log"), "one\n")
	if err := f.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := f.code(); code != 0 {
		t.Errorf("exit code %d\n%s", code, &f.errs)
	}
	if got := publishedText(t, f.target); got != "one\n" {
		t.Errorf("finished %q", got)
	}
}

func TestMountErrors(t *testing.T) {
	dir := t.TempDir()
	m := sinkfstest.New(t)
	link, targeted, spoolInMount := filepath.Join(dir, "link"), filepath.Join(dir, "target.yaml"), filepath.Join(dir, "spool.yaml")
	err := errors.Join(os.Symlink(m.Point, link),
		os.WriteFile(targeted, []byte("target: "+filepath.Join(dir, "t")+"\n"), 0o600),
		os.WriteFile(spoolInMount, []byte("spool_dir: "+m.Path("s")+"\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"mount", 3, "TARGET is missing, see 'sinkfs mount --help'"},
		{"mount -c TARGETED", 3, "MOUNT.OINT is missing, see 'sinkfs mount --help'"},
		{"mount -o config=TARGETED", 3, "MOUNT.OINT is missing, see 'sinkfs mount --help'"},
		{"mount -c SPOOL", 3, "TARGET is missing, see 'sinkfs mount --help'"},
		{"mount -c TARGETED DIR/t DIR/m DIR/n", 3, `"DIR/n" is one argument too many, see 'sinkfs mount --help'`},
		{"mount DIR/t", 4, "the target is missing, .*"},
		{"mount --passthrough=maybe DIR/t DIR/m", 3, `--passthrough "maybe" is not one of its values, write auto, on or off`},
		{"mount -o allow_othr DIR/t DIR/m", 3, `-o allow_othr is not an option known here, the nearest is "allow_other"`},
		{"mount -o checkpoint_intervall=3s DIR/t DIR/m", 3, `-o checkpoint_intervall=3s is not an option known here, the nearest is "checkpoint_interval="`},
		{"mount -o mode=fast DIR/t DIR/m", 4, `--mode: "fast" is not one of its values, write streaming or batch`},
		{"mount -o umask=rwx DIR/t DIR/m", 3, `mount option umask: "rwx" is not a number it takes, write for example umask=0755`},
		{"mount --log-level=loud --state-dir DIR/s DIR/t DIR/m", 3, `--log-level "loud" is not one of its values, write debug, info, warn or error`},
		{"mount --state-dir DIR/t/s DIR/t DIR/m", 4, `the state directory DIR/t/s lies inside the target DIR/t, choose separate directories`},
		{"mount --state-dir DIR/m/s DIR/t DIR/m", 4, `the state directory DIR/m/s lies inside the mountpoint DIR/m, choose separate directories`},
		{"mount --state-dir DIR/s DIR/t DIR/t/m", 4, `the mountpoint DIR/t/m lies inside the target DIR/t, choose separate directories`},
		{"mount --state-dir DIR/s1 DIR/t DIR/no/m", 5, `cannot mount at DIR/no/m: DIR/no does not exist, make it first`},
		{"mount --state-dir DIR/s2 DIR/t POINT", 5, `cannot mount at POINT: sinkfs with the target file://TGT is mounted there; 'sinkfs umount' ends it, 'sinkfs mount --replace' takes it over`},
		{"mount --state-dir STATE TGT DIR/m", 6, `state directory is in use: STATE belongs to process [0-9]+, mounted at POINT; unmount that, or choose another --state-dir`},
		{"mount --state-dir DIR/s3 DIR/none/t DIR/m", 7, `.*DIR/none.*`},
		{"mount -b --state-dir DIR/s4 DIR/none/t DIR/m", 7, `.*DIR/none.*`},
		{"mount --replace --state-dir STATE TGT DIR/m", 6, `the state directory STATE is mounted at POINT, not at DIR/m: name that mountpoint, or unmount it`},
		{"mount --state-dir POINT/s DIR/t DIR/m", 6, `the state directory POINT/s lies in the sinkfs mount at POINT, which would publish it: choose one outside of every sinkfs mount with --state-dir`},
		{"mount -b --state-dir LINK/a/b DIR/t DIR/m", 6, `the state directory LINK/a/b lies in the sinkfs mount at POINT, which would publish it: .*`},
		{"mount -b -c SPOOL --state-dir DIR/s5 DIR/t DIR/m", 6, `the spool directory POINT/s lies in the sinkfs mount at POINT, which would publish it: choose one outside of every sinkfs mount with spool_dir`},
		{"worker DIR/t DIR/m", 3, `this command is started by sinkfs mount`},
		{"umount DIR", 5, `DIR is in no sinkfs mount, name the mountpoint or a path inside it`},
		{"umount --timeout 0s DIR", 3, `--timeout 0s is not a time to wait, write for example 30s`},
	} {
		names := strings.NewReplacer("DIR", dir, "POINT", m.Point, "STATE", m.State, "TGT", m.Target, "LINK", link, "TARGETED", targeted, "SPOOL", spoolInMount)
		r := sinkfstest.Run(t, strings.Fields(names.Replace(tt.args))...)
		if r.Code != tt.code {
			t.Errorf("%s: exit code %d, want %d", tt.args, r.Code, tt.code)
		}
		last := strings.TrimSuffix(r.Stderr, "\n")
		last = last[strings.LastIndexByte(last, '\n')+1:]
		if !regexp.MustCompile("^sinkfs: " + names.Replace(tt.stderr) + "$").MatchString(last) {
			t.Errorf("%s: it says %q, want %q", tt.args, last, names.Replace(tt.stderr))
		}
	}
	if files, err := os.ReadDir(filepath.Join(m.State, "spool", "tree")); err != nil || len(files) > 0 {
		t.Errorf("left in the mount: %v, %v", files, err)
	}
	if table, err := mount.Table(); err != nil {
		t.Error(err)
	} else if e, ok := mount.At(table, filepath.Join(dir, "m")); ok {
		t.Errorf("something is mounted: %+v", e)
	}
}

func TestMountOptions(t *testing.T) {
	m := sinkfstest.New(t, "-o", "uid=65534,gid=65534,umask=027,dir_mode=0750,noexec", "--allow-other=false")
	info, err := os.Stat(m.Point)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid != 65534 || st.Gid != 65534 || info.Mode().Perm() != 0o750 {
		t.Errorf("root is %v of %+v", info.Mode(), st)
	}
	if err := os.WriteFile(m.Path("x.log"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(m.Path("x.log")); err != nil || info.Mode().Perm()&0o027 != 0 {
		t.Errorf("file is %v, %v", info.Mode(), err)
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, m.Point) {
			continue
		}
		for _, word := range []string{"nosuid", "nodev", "noexec", "default_permissions", "fuse.sinkfs file://" + m.Target} {
			if !strings.Contains(line, word) {
				t.Errorf("no %s in %s", word, line)
			}
		}
		if strings.Contains(line, "allow_other") {
			t.Errorf("allow_other in %s", line)
		}
	}
}

// supervisorOf is who keeps a mount.
func supervisorOf(t *testing.T, m *sinkfstest.Mount) mount.Keeper {
	t.Helper()
	k, err := mount.Query(t.Context(), m.State)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Writers do not notice that workers are killed and programs replaced, with
// the real file system; every record is published once.
func TestHandOver(t *testing.T) {
	for _, how := range []string{"kill", "replace"} {
		t.Run(how, func(t *testing.T) {
			m := sinkfstest.New(t)
			stop, stopped := make(chan struct{}), make(chan error, 2)
			var lines [2]int
			for i, flags := range []int{os.O_WRONLY | os.O_APPEND | os.O_CREATE, os.O_WRONLY | os.O_CREATE} {
				go func() { stopped <- writeLines(m.Path(fmt.Sprintf("w%d.log", i)), flags, &lines[i], stop) }()
			}
			for round := range 4 {
				before := supervisorOf(t, m)
				waitFor(t, "some writing", func() bool { return written(m.Path("w1.log")) > int64(round+1)*2000 })
				if how == "kill" {
					if err := syscall.Kill(before.Worker, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				} else {
					want(t, sinkfstest.Run(t, "mount", "--replace", "--state-dir", m.State, "--checkpoint-interval", "0", m.Target, m.Point), 0, "file://.* was taken over by .*, programs go on writing\n", "")
				}
				waitFor(t, "another worker", func() bool { k := supervisorOf(t, m); return k.Worker != 0 && k.Worker != before.Worker })
				if after := supervisorOf(t, m); after.PID != before.PID {
					t.Errorf("supervisor %d, want %d", after.PID, before.PID)
				}
				m.Publish()
			}
			close(stop)
			for range 2 {
				if err := <-stopped; err != nil {
					t.Error(err)
				}
			}
			want(t, sinkfstest.Run(t, "umount", m.Point), 0, "", ".*")
			records := m.Records()
			for i, n := range lines {
				for line := range n {
					if got := records[fmt.Sprintf("%s/w%d.log line %d", m.Point, i, line)]; got != 1 {
						t.Fatalf("line %d of writer %d was published %d times", line, i, got)
					}
				}
			}
			t.Logf("%v lines", lines)
		})
	}
}

// writeLines writes numbered lines, opening the file anew now and then.
func writeLines(path string, flags int, lines *int, stop <-chan struct{}) error {
	for {
		f, err := os.OpenFile(path, flags, 0o644)
		if err != nil {
			return err
		}
		if flags&os.O_APPEND == 0 {
			if _, err := f.Seek(0, io.SeekEnd); err != nil {
				return err
			}
		}
		for range 10 {
			if _, err := fmt.Fprintf(f, "%s line %d\n", path, *lines); err != nil {
				return fmt.Errorf("line %d: %w", *lines, err)
			}
			*lines++
		}
		if _, err := f.Stat(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

func written(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestMountWithoutSupervisor(t *testing.T) {
	f := mountHere(t, nil, "--supervise=false")
	appendTo(t, filepath.Join(f.point, "app.log"), "one\n")
	want(t, sinkfstest.Run(t, "umount", f.point), 0, "", "")
	if code := f.code(); code != 0 {
		t.Errorf("exit code %d\n%s", code, &f.errs)
	}
	if got := publishedText(t, f.target); got != "one\n" {
		t.Errorf("finished %q", got)
	}
}

// A service manager hears when the mount answers and when it ends.
func TestNotifySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := func() string {
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	f := mountHere(t, []string{"NOTIFY_SOCKET=" + path})
	if got, want := heard(), fmt.Sprintf("READY=1\nMAINPID=%d", f.cmd.Process.Pid); got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := heard(); got != "STOPPING=1" {
		t.Errorf("heard %q", got)
	}
	if code := f.code(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestLogFileIsReopened(t *testing.T) {
	m := sinkfstest.New(t, "--log-format", "json")
	log := filepath.Join(m.State, "log")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(supervisorOf(t, m).PID, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a new log file", func() bool { _, err := os.Stat(log); return err == nil })
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, "", "")
	data, err := os.ReadFile(log + ".1")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// TestImpliedDirectoriesHaveTheOwner: a directory that the first write into
// what the target has makes in the spool is like all others of the mount.
func TestImpliedDirectoriesHaveTheOwner(t *testing.T) {
	m := sinkfstest.New(t, "-o", "uid=65534,gid=65534,dir_mode=0775")
	if err := os.Mkdir(filepath.Join(m.Target, "pub"), 0o755); err != nil {
		t.Fatal(err)
	}
	appendTo(t, m.Path("pub/a.log"), "one\n")
	if got := m.Shell("sleep 1.1; stat -c '%a %u %g' pub"); got != "775 65534 65534\n" {
		t.Errorf("mode and owner %q", got)
	}
}
