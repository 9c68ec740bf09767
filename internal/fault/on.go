//go:build faults

package fault

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Env selects one fault: SINKFS_FAULT=point=action@n, where action is kill,
// error or delay:DURATION and n (default 1) counts the hits of this process.
// A kill leaves the file SINKFS_FAULT_ONCE behind, if that is set, and does
// nothing while it exists, so that the next worker lives.
const Env = "SINKFS_FAULT"

type plan struct {
	point  Point
	action string
	at     int
}

var (
	armed = sync.OnceValue(parse)
	mu    sync.Mutex
	hits  = map[Point]int{}
)

func parse() plan {
	point, rest, ok := strings.Cut(os.Getenv(Env), "=")
	if !ok {
		return plan{}
	}
	action, count, _ := strings.Cut(rest, "@")
	at, err := strconv.Atoi(count)
	if err != nil {
		at = 1
	}
	return plan{point: Point(point), action: action, at: at}
}

// Hit acts when the armed fault names p and its turn has come.
func Hit(p Point) error {
	pl := armed()
	if pl.point != p {
		return nil
	}
	mu.Lock()
	hits[p]++
	now := hits[p] == pl.at
	mu.Unlock()
	if !now {
		return nil
	}
	switch action, arg, _ := strings.Cut(pl.action, ":"); action {
	case "kill":
		die()
	case "delay":
		d, _ := time.ParseDuration(arg)
		time.Sleep(d)
	case "error":
		return fmt.Errorf("injected at %s", p)
	}
	return nil
}

func die() {
	if once := os.Getenv("SINKFS_FAULT_ONCE"); once != "" {
		f, err := os.OpenFile(once, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return
		}
		_ = f.Close()
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}
