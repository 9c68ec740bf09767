// Package deploy_test runs what stands in this directory: the unit as a
// service manager does, the helpers as mount(8) and umount(8) do.
package deploy_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// unit reads a unit as systemd does: sections of key=value, each key once.
func unit(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	keys, section := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, isKey := strings.Cut(line, "=")
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		case !isKey || section == "" || keys[section+"."+key] != "":
			t.Errorf("%s: %q is no key of a section, or there twice", file, line)
		default:
			keys[section+"."+key] = value
		}
	}
	return keys
}

// TestUnit starts, reloads and stops the service as systemd would.
func TestUnit(t *testing.T) {
	u := unit(t, "sinkfs@.service")
	for key, want := range map[string]string{"Service.Type": "notify", "Service.KillMode": "mixed", "Service.ExecReload": "/bin/kill -USR2 $MAINPID"} {
		if u[key] != want {
			t.Errorf("%s=%s, want %s", key, u[key], want)
		}
	}
	for key := range u {
		if strings.Contains(key, "Private") || strings.Contains(key, "Protect") {
			t.Errorf("%s makes a mount namespace", key)
		}
	}
	stop, err := time.ParseDuration(strings.Replace(u["Service.TimeoutStopSec"], "min", "m", 1))
	if err != nil || stop <= 10*time.Minute {
		t.Errorf("TimeoutStopSec is %v, %v: a last checkpoint may take 10 min", stop, err)
	}

	dir := t.TempDir()
	point, target := filepath.Join(dir, "mnt"), filepath.Join(dir, "target")
	config := filepath.Join(dir, "mnt.yaml")
	if err := os.WriteFile(config, []byte("target: "+target+"\nstate_dir: "+dir+"/state\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	line := strings.NewReplacer("/usr/local/bin/sinkfs", sinkfstest.Program(t), "/etc/sinkfs/%i.yaml", config, "%f", point).Replace(u["Service.ExecStart"])
	manager, socket := listen(t)
	args := strings.Fields(line)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = unix.Unmount(point, unix.MNT_DETACH)
		sinkfstest.Command(t, exec.Command("chattr", "-i", point))
	})
	ready := fmt.Sprintf("READY=1\nMAINPID=%d", cmd.Process.Pid)
	heard(t, manager, ready)
	if err := os.WriteFile(filepath.Join(point, "app.log"), []byte("one\n"), 0o600); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.SIGUSR2); err != nil { // reload
		t.Fatal(err)
	}
	heard(t, manager, ready)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	heard(t, manager, "STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if parts, err := filepath.Glob(filepath.Join(target, "*", "part-*")); err != nil || len(parts) != 1 {
		t.Errorf("published %v, %v", parts, err)
	}
}

func listen(t *testing.T) (conn *net.UnixConn, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, path
}

func heard(t *testing.T, conn *net.UnixConn, want string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := conn.Read(buf)
	if err != nil || string(buf[:n]) != want {
		t.Fatalf("heard %q, %v; want %q", buf[:n], err, want)
	}
}

// TestFstab has mount(8) and umount(8) find the helpers in /sbin, in a mount
// namespace of its own, where /sbin and /usr/local/bin are ours.
func TestFstab(t *testing.T) {
	dir := t.TempDir()
	sbin, bin := filepath.Join(dir, "sbin"), filepath.Join(dir, "bin")
	for _, d := range []string{sbin, bin} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"mount.fuse.sinkfs", "umount.fuse.sinkfs"} {
		script, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sbin, name), script, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(sinkfstest.Program(t), filepath.Join(bin, "sinkfs")); err != nil {
		t.Fatal(err)
	}
	fstab := fmt.Sprintf("%s/target %s/mnt fuse.sinkfs state_dir=%s/state,checkpoint_interval=0,dir_mode=0750,noexec,_netdev,nofail 0 0\n", dir, dir, dir)
	if err := os.WriteFile(filepath.Join(dir, "fstab"), []byte(fstab), 0o600); err != nil {
		t.Fatal(err)
	}
	script := `
		set -eu
		mount --bind "$1/sbin" /sbin
		mount --bind "$1/bin" /usr/local/bin # mount(8) gives the helper a PATH of its own
		mkdir -p "$1/mnt"
		mount -T "$1/fstab" --fake "$1/mnt"
		mountpoint -q "$1/mnt" && exit 10
		mount -T "$1/fstab" "$1/mnt"
		trap 'sinkfs umount --no-drain "$1/mnt" || true' EXIT
		stat -c '%a' "$1/mnt"
		grep -c " $1/mnt .*noexec.* fuse.sinkfs " /proc/self/mountinfo
		echo one > "$1/mnt/app.log"
		umount "$1/mnt"
		cat "$1"/target/*/part-*
		mount -T "$1/fstab" "$1/mnt"
		echo two >> "$1/mnt/app.log"
		code=0; umount -f "$1/mnt" || code=$?
		echo "code $code"
	`
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", dir)
	cmd.Env = append(os.Environ(), "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
	r := sinkfstest.Command(t, cmd)
	mounted := fmt.Sprintf("file://%s/target is mounted on %s/mnt", dir, dir)
	var lines []string
	for line := range strings.Lines(r.Stdout) {
		if !strings.HasPrefix(line, mounted) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if want := []string{"750", "1", "one", "code 8"}; r.Code != 0 || !slices.Equal(lines, want) {
		t.Errorf("ended with %d, said %q, want %q\n%s", r.Code, lines, want, r.Stderr)
	}
	if !strings.Contains(r.Stderr, "4 B not yet published") {
		t.Errorf("umount -f says %q", r.Stderr)
	}
}
