package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Open says who still has files of a mount open.
type Open struct {
	Count int      `json:"count"`
	Names []string `json:"names,omitempty"` // the first ones: "nginx[31]: /mnt/sink/a.log"
	Cut   bool     `json:"cut,omitempty"`   // the search took too long, there may be more
}

// String is for people.
func (o Open) String() string {
	if o.Count == 0 {
		return "nothing is open"
	}
	text := fmt.Sprintf("%d still open: %s", o.Count, strings.Join(o.Names, ", "))
	if o.Count > len(o.Names) {
		text += ", …"
	}
	if o.Cut {
		text += " (not all processes were looked at)"
	}
	return text
}

const (
	openNames = 10
	openTime  = 2 * time.Second
)

// OpenBelow looks through /proc for descriptors and working directories below
// path, for a bounded time. It reads links only, which asks nothing of the
// mount. It sees what this process may see.
func OpenBelow(path string) Open {
	var found Open
	procs, err := os.ReadDir("/proc")
	if err != nil {
		found.Cut = true
		return found
	}
	deadline := time.Now().Add(openTime)
	for _, proc := range procs {
		pid, err := strconv.Atoi(proc.Name())
		if err != nil || pid == os.Getpid() { // who holds the bare mountpoint has nothing open in the mount
			continue
		}
		if time.Now().After(deadline) {
			found.Cut = true
			break
		}
		found.process(filepath.Join("/proc", proc.Name()), path)
	}
	return found
}

func (o *Open) process(proc, path string) {
	links := []string{filepath.Join(proc, "cwd"), filepath.Join(proc, "root")}
	if fds, err := os.ReadDir(filepath.Join(proc, "fd")); err == nil {
		for _, fd := range fds {
			links = append(links, filepath.Join(proc, "fd", fd.Name()))
		}
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || !within(to, path) {
			continue
		}
		o.Count++
		if len(o.Names) < openNames {
			o.Names = append(o.Names, processName(proc)+": "+to)
		}
	}
}

func processName(proc string) string {
	comm, err := os.ReadFile(filepath.Join(proc, "comm"))
	if err != nil {
		comm = []byte("?")
	}
	return strings.TrimSpace(string(comm)) + "[" + filepath.Base(proc) + "]"
}
