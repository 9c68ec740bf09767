//go:build faults

package fault

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrInjected is what a point answers when its error is due.
var ErrInjected = errors.New("injected")

type plan struct {
	point      Point
	action     string
	first, end int // hits at which it acts, from first up to end
	hits       int
}

var (
	mu    sync.Mutex
	armed = parse(os.Getenv(Env))
)

// Arm replaces the fault that the environment named, for a test that goes on
// after it: hits count from now on. "" is no fault.
func Arm(what string) {
	mu.Lock()
	defer mu.Unlock()
	armed = parse(what)
}

func parse(what string) plan {
	point, rest, ok := strings.Cut(what, "=")
	if !ok {
		return plan{}
	}
	action, hits, counted := strings.Cut(rest, "@")
	if !counted {
		hits = "1"
	}
	first, last, many := strings.Cut(hits, "-")
	if !many {
		last = first
	}
	from, err := strconv.Atoi(first)
	to, lerr := strconv.Atoi(last)
	if err := errors.Join(err, lerr); err != nil {
		refuse(err.Error())
	}
	return plan{point: Point(point), action: action, first: from, end: to + 1}
}

// due counts a hit of p and says what to do about it, "" for nothing.
func due(p Point) string {
	mu.Lock()
	defer mu.Unlock()
	if armed.point != p {
		return ""
	}
	armed.hits++
	if armed.hits < armed.first || armed.hits >= armed.end {
		return ""
	}
	return armed.action
}

// Hit acts when the armed fault names p and its turn has come.
func Hit(p Point) error {
	action := due(p)
	if action == "" || !first() {
		return nil
	}
	switch action, arg, _ := strings.Cut(action, ":"); action {
	case "kill":
		die()
	case "delay":
		d, err := time.ParseDuration(arg)
		if err != nil {
			refuse(err.Error())
		}
		time.Sleep(d)
	case "error":
		return fmt.Errorf("%w at %s", ErrInjected, p)
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
