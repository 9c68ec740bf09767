package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	text := "nothing is open"
	if o.Count > 0 {
		text = fmt.Sprintf("%d still open: %s", o.Count, strings.Join(o.Names, ", "))
	}
	if o.Count > len(o.Names) {
		text += ", …"
	}
	if o.Cut {
		text += " (not all processes were looked at)"
	}
	return text
}

const (
	openNames     = 10
	openTime      = time.Second
	openTimeHaste = 100 * time.Millisecond
	searchers     = 32 // of which some may hang
)

// search is a look through all processes. It has its own goroutine, which
// nobody waits for: the kernel lets nobody look at a process that is within
// execve, and that may be waiting for us, to close a file of the mount.
type search struct {
	mu    sync.Mutex
	found Open
}

// OpenBelow looks through /proc for descriptors and working directories below
// path, for so long at most. It reads links only, which asks nothing of the
// mount. It sees what this process may see.
func OpenBelow(path string, limit time.Duration) Open {
	s := &search{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.all(path)
	}()
	late := time.NewTimer(limit)
	defer late.Stop()
	cut := false
	select {
	case <-done:
	case <-late.C:
		cut = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.found
	found.Names = append([]string(nil), found.Names...)
	found.Cut = found.Cut || cut
	return found
}

func (s *search) all(path string) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.found.Cut = true
		return
	}
	pids := make(chan string, len(procs))
	for _, proc := range procs {
		pid, err := strconv.Atoi(proc.Name())
		if err == nil && pid != os.Getpid() { // who holds the bare mountpoint has nothing open in the mount
			pids <- filepath.Join("/proc", proc.Name())
		}
	}
	close(pids)
	var wait sync.WaitGroup
	for range searchers {
		wait.Go(func() {
			for proc := range pids {
				s.process(proc, path)
			}
		})
	}
	wait.Wait()
}

func (s *search) process(proc, path string) {
	links := []string{filepath.Join(proc, "cwd"), filepath.Join(proc, "root")}
	if fds, err := os.ReadDir(filepath.Join(proc, "fd")); err == nil {
		for _, fd := range fds {
			links = append(links, filepath.Join(proc, "fd", fd.Name()))
		}
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err == nil && within(to, path) {
			s.add(processName(proc) + ": " + to)
		}
	}
}

func (s *search) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found.Count++
	if len(s.found.Names) < openNames {
		s.found.Names = append(s.found.Names, name)
	}
}

func processName(proc string) string {
	comm, err := os.ReadFile(filepath.Join(proc, "comm"))
	if err != nil {
		comm = []byte("?")
	}
	return strings.TrimSpace(string(comm)) + "[" + filepath.Base(proc) + "]"
}
