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
	if !now || !first() {
		return nil
	}
	switch action, arg, _ := strings.Cut(pl.action, ":"); action {
	case "kill":
		die()
	case "delay":
		d, err := time.ParseDuration(arg)
		if err != nil {
			refuse(err.Error())
		}
		time.Sleep(d)
	case "error":
		return fmt.Errorf("injected at %s", p)
	default:
		refuse("no action " + action)
	}
	return nil
}

// first leaves the file behind. It is false when it is there already.
func first() bool {
	once := os.Getenv(OnceEnv)
	if once == "" {
		return true
	}
	f, err := os.OpenFile(once, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

func die() {
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}

// refuse ends a process whose fault is mistyped: a test that injects nothing
// must not pass.
func refuse(why string) {
	_, _ = os.Stderr.WriteString(Env + ": " + why + "\n")
	die()
}
