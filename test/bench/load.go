package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// loadCommand starts this program as a load generator: one thread, bare
// system calls, no buffers.
const loadCommand = "load"

// job is what a load generator does.
type job struct {
	Do    string // write, reopen, create
	Path  string // file, or directory of files to be
	Flags int    // of open(2), for write
	Size  int    // of each write
	Count int
}

// result is what it measured: from the first call to the last.
type result struct {
	Elapsed time.Duration
	Longest time.Duration // of one operation
}

func (r result) perSecond(n int) float64 { return float64(n) / r.Elapsed.Seconds() }

// loads runs a job in a process of its own and returns what it measured.
func loads(ctx context.Context, j job) (result, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return result{}, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", loadCommand, string(text))
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return result{}, fmt.Errorf("load %s: %w", text, err)
	}
	var r result
	return r, json.Unmarshal(out, &r)
}

// loadMain is the load generator.
func loadMain(args []string) int {
	runtime.LockOSThread()
	var j job
	err := json.Unmarshal([]byte(args[0]), &j)
	var r result
	if err == nil {
		r, err = j.do()
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err) //nolint:errcheck // nothing is left to do
		return 1
	}
	return 0
}

func (j job) do() (result, error) {
	switch j.Do {
	case "write":
		return j.write()
	case "reopen":
		return j.reopen()
	case "create":
		return j.create()
	}
	return result{}, fmt.Errorf("unknown job %q", j.Do)
}

// record is a line of n bytes.
func record(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	b[n-1] = '\n'
	return b
}

// records are n bytes of lines of 128.
func records(n int) []byte {
	b := make([]byte, 0, n)
	for len(b)+128 <= n {
		b = append(b, record(128)...)
	}
	if rest := n - len(b); rest > 0 {
		b = append(b, record(rest)...)
	}
	return b
}

// write opens once and writes; closing is not measured.
func (j job) write() (result, error) {
	fd, err := syscall.Open(j.Path, j.Flags|syscall.O_CREAT|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return result{}, err
	}
	data := records(j.Size)
	if err := bareWrite(fd, data); err != nil { // what the first write allocates is not measured
		return result{}, err
	}
	start := time.Now()
	for range j.Count {
		if err := bareWrite(fd, data); err != nil {
			return result{}, err
		}
	}
	r := result{Elapsed: time.Since(start)}
	return r, syscall.Close(fd)
}

// reopen opens, appends a line and closes, again and again.
func (j job) reopen() (result, error) {
	path, err := syscall.BytePtrFromString(j.Path)
	if err != nil {
		return result{}, err
	}
	data := record(j.Size)
	var longest time.Duration
	start := time.Now()
	last := start
	for range j.Count {
		if err := openWriteClose(path, syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CREAT, data); err != nil {
			return result{}, err
		}
		now := time.Now()
		longest, last = max(longest, now.Sub(last)), now
	}
	return result{Elapsed: last.Sub(start), Longest: longest}, nil
}

// create makes files, each written once and closed.
func (j job) create() (result, error) {
	data := records(j.Size)
	paths := make([]*byte, j.Count)
	for i := range paths {
		var err error
		if paths[i], err = syscall.BytePtrFromString(j.Path + "/f" + strconv.Itoa(i) + ".log"); err != nil {
			return result{}, err
		}
	}
	start := time.Now()
	for _, p := range paths {
		if err := openWriteClose(p, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC, data); err != nil {
			return result{}, err
		}
	}
	return result{Elapsed: time.Since(start)}, nil
}

func openWriteClose(path *byte, flags int, data []byte) error {
	const atFDCWD = -100
	dir := atFDCWD
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(path)), uintptr(flags), 0o644, 0, 0)
	if errno != 0 {
		return fmt.Errorf("open: %w", errno)
	}
	if err := bareWrite(int(fd), data); err != nil {
		return err
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0); errno != 0 {
		return fmt.Errorf("close: %w", errno)
	}
	return nil
}

// bareWrite is write(2) without the scheduler's help.
func bareWrite(fd int, data []byte) error {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	if errno != 0 {
		return fmt.Errorf("write: %w", errno)
	}
	if int(n) != len(data) {
		return fmt.Errorf("write: %d of %d bytes", n, len(data))
	}
	return nil
}
