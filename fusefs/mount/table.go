package mount

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// fsType is what /proc/self/mountinfo calls our mounts.
const fsType = "fuse.sinkfs"

// Entry is one line of /proc/self/mountinfo.
type Entry struct {
	Device string // major:minor, its own for every FUSE mount
	Root   string // what of the file system is mounted, "/" unless it is a bind mount
	Path   string
	Type   string
	Source string
	Flags  string
}

// Ours says whether it is a mount of sinkfs.
func (e Entry) Ours() bool { return e.Type == fsType }

// Table reads the mounts of this process, in the order in which they cover
// each other.
func Table() ([]Entry, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mounts of this machine: %w", err)
	}
	var table []Entry
	for line := range bytes.Lines(data) {
		if e, ok := parseEntry(string(line)); ok {
			table = append(table, e)
		}
	}
	return table, nil
}

// parseEntry reads "id parent major:minor root path flags fields… - type
// source superflags".
func parseEntry(line string) (Entry, bool) {
	mount, super, found := strings.Cut(line, " - ")
	m, s := strings.Fields(mount), strings.Fields(super)
	if !found || len(m) < 6 || len(s) < 2 {
		return Entry{}, false
	}
	return Entry{Device: m[2], Root: unescape(m[3]), Path: unescape(m[4]), Flags: m[5], Type: s[0], Source: unescape(s[1])}, true
}

// unescape undoes the kernel's \040 for blanks and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// At is the topmost mount at exactly this path.
func At(table []Entry, path string) (Entry, bool) {
	for _, e := range slices.Backward(table) {
		if e.Path == path {
			return e, true
		}
	}
	return Entry{}, false
}

// Containing is the mount that a path lies in. The path is absolute and free
// of links; it is not looked at, for it may lie in a dead mount.
func Containing(table []Entry, path string) (Entry, bool) {
	best, found := Entry{}, false
	for _, e := range table {
		if within(path, e.Path) && len(e.Path) >= len(best.Path) {
			best, found = e, true
		}
	}
	return best, found
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// mounted says whether a FUSE device is still mounted anywhere we can see. Its
// number may be that of another file system by now.
func mounted(device string) bool {
	table, err := Table()
	if err != nil {
		return true // nothing is torn down on a doubt
	}
	for _, e := range table {
		if e.Device == device && e.Ours() {
			return true
		}
	}
	return false
}
