package mount_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUnmountWhileReplaced: who asks for the unmount while no worker lives,
// because the supervisor is about to become another program, is heard, and one
// worker serves it.
func TestUnmountWhileReplaced(t *testing.T) {
	for name, unmount := range map[string]func(*testing.T, *keeper, net.Conn){
		"control socket": func(t *testing.T, _ *keeper, c net.Conn) {
			order := []byte(`{"op":"unmount"}` + "\n")
			_, err := c.Write(order)
			if errors.Is(err, syscall.EPIPE) { // the second is over: the machine is slow
				if c, err = net.Dial("unix", "control"); err == nil {
					_, err = c.Write(order)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"TERM": func(_ *testing.T, k *keeper, _ net.Conn) { k.signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlan(t)
			p.Supervisor = true
			k := p.mounted(t)
			t.Chdir(k.State) // the socket's path may be long
			conn, err := net.Dial("unix", "control")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() // until it says what it wants, or for a second, the supervisor waits for it
			time.Sleep(50 * time.Millisecond)
			set(t, p, "hold-drain")
			old := k.worker()
			k.signal(syscall.SIGUSR2)
			k.await("the old worker is gone", func() bool {
				_, err := os.Stat(fmt.Sprintf("/proc/%d", old))
				return err != nil
			})
			time.Sleep(50 * time.Millisecond)
			unset(t, p, "order") // the old one's, to make room
			unmount(t, k, conn)
			k.await("it drains", func() bool { return p.has("order") })
			time.Sleep(100 * time.Millisecond)
			if n := children(t, k.cmd.Process.Pid); len(n) != 1 {
				t.Errorf("workers %v, want one", n)
			}
			k.signal(syscall.SIGTERM) // enough of that
			k.wantCode(0)
		})
	}
}

// Logs are rotated, and upgrades asked for again, whenever it pleases them: the
// program that the supervisor becomes must not die of that.
func TestSignalsWhileReplaced(t *testing.T) {
	p := newPlan(t)
	p.Supervisor = true
	k := p.mounted(t)
	for i := range 20 {
		old := k.worker()
		k.signal(syscall.SIGUSR2)
		k.await("the old worker is gone", func() bool {
			_, err := os.Stat(fmt.Sprintf("/proc/%d", old))
			return err != nil
		})
		time.Sleep(time.Duration(i) * time.Millisecond) // it takes about 20 ms
		k.signal(syscall.SIGHUP)
		k.signal(syscall.SIGUSR2)
		k.await("another worker serves", func() bool { w := k.worker(); return w != 0 && w != old })
	}
	last, calm := 0, 0
	k.await("no more replacements", func() bool {
		if w := k.worker(); w == 0 || w != last {
			last, calm = w, 0
		}
		calm++
		return calm > 50
	})
	k.signal(syscall.SIGTERM)
	k.wantCode(0)
}

func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lists {
		data, err := os.ReadFile(l)
		if err != nil {
			continue // a thread that ended
		}
		for f := range strings.FieldsSeq(string(data)) {
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, n)
		}
	}
	return pids
}
