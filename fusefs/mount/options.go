package mount

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options are all that a supervisor is told.
type Options struct {
	// Worker is the command line of a worker: the installed path of the
	// program and its arguments. It inherits the environment.
	Worker []string
	// InProcess, when set, is the worker: it runs in this process, and when
	// the process dies the mount does. It returns after Done or Fail.
	InProcess func(*Worker)
	// Probe makes of Again, or of the command line that a replacement asked
	// for, one that ends with 0 if that can be started: the program and its
	// configuration. Tried before a running worker is replaced. Optional.
	Probe func(again []string) []string
	// Again is the command line that makes a supervisor like this one, for
	// an upgrade of the supervisor itself. Without it only the worker is
	// replaced.
	Again []string

	Mountpoint string
	Source     string // what mount(8) shows as the device: the target
	Flags      Flags
	Protect    bool  // also a mountpoint that was there before refuses writes once the mount died, until it is back
	Lock       *Lock // of the state directory
	Log        *slog.Logger
	Signals    chan os.Signal // of signal.Notify: SIGTERM and SIGINT drain, SIGHUP reopens logs, SIGUSR2 replaces

	// Mounted is called when the mount answers, once; Stopping when it
	// begins to go away; Reopen on SIGHUP; Progress for each word of the
	// last checkpoint. All optional, called from Supervise's goroutine.
	Mounted  func()
	Stopping func()
	Reopen   func()
	Progress func(Progress)

	YoungAge time.Duration // a worker that dies younger died young; default 2s
	YoungMax int           // so many in a row and the mount is given up, unless the last said why it cannot start; default 8
}

// Flags are options of mount(8) that a mount is made with.
type Flags struct {
	Bits       uintptr // MS_…
	AllowOther bool
	NonEmpty   bool
	// What files belong to and look like; nil when not given.
	UID, GID, Umask, DirMode *uint32
	// Rest are the options that this package does not know, name=value: the
	// caller's own.
	Rest []string
}

// bits are the options that are flags of mount(2); true sets, false clears.
var bits = map[string]struct {
	bit uintptr
	set bool
}{
	"ro": {unix.MS_RDONLY, true}, "rw": {unix.MS_RDONLY, false},
	"nosuid": {unix.MS_NOSUID, true}, "suid": {unix.MS_NOSUID, false},
	"nodev": {unix.MS_NODEV, true}, "dev": {unix.MS_NODEV, false},
	"noexec": {unix.MS_NOEXEC, true}, "exec": {unix.MS_NOEXEC, false},
	"noatime": {unix.MS_NOATIME, true}, "atime": {unix.MS_NOATIME, false},
	"nodiratime": {unix.MS_NODIRATIME, true}, "diratime": {unix.MS_NODIRATIME, false},
	"relatime": {unix.MS_RELATIME, true}, "norelatime": {unix.MS_RELATIME, false},
	"sync": {unix.MS_SYNCHRONOUS, true}, "async": {unix.MS_SYNCHRONOUS, false},
	"dirsync": {unix.MS_DIRSYNC, true},
}

// forFstab are options that mean something to mount(8), systemd or nobody.
var forFstab = []string{"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "_netdev", "nofail", "default_permissions"}

// DefaultFlags are what a mount has without any option.
func DefaultFlags() Flags {
	return Flags{Bits: unix.MS_NOSUID | unix.MS_NODEV, AllowOther: os.Geteuid() == 0}
}

// Known are the names that Parse understands, for messages.
func Known() []string {
	names := []string{"allow_other", "noallow_other", "nonempty", "uid=", "gid=", "umask=", "dir_mode="}
	names = append(names, forFstab...)
	for name := range bits {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Parse adds options as mount(8) passes them, "ro,uid=33". What it does not
// know goes to Rest.
func (f *Flags) Parse(list string) error {
	for _, option := range splitOptions(list) {
		if err := f.parseOne(option); err != nil {
			return err
		}
	}
	return nil
}

// splitOptions cuts at commas that no backslash stands before.
func splitOptions(list string) []string {
	var options []string
	var b strings.Builder
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] == '\\' && i+1 < len(list):
			i++
			b.WriteByte(list[i])
		case list[i] == ',':
			options = append(options, b.String())
			b.Reset()
		default:
			b.WriteByte(list[i])
		}
	}
	return append(options, b.String())
}

func (f *Flags) parseOne(option string) error {
	name, value, valued := strings.Cut(option, "=")
	number := map[string]**uint32{"uid": &f.UID, "gid": &f.GID, "umask": &f.Umask, "dir_mode": &f.DirMode}[name]
	bit, isBit := bits[name]
	switch {
	case option == "", slices.Contains(forFstab, option), strings.HasPrefix(option, "x-"), name == "comment":
	case isBit && !valued:
		f.Bits &^= bit.bit
		if bit.set {
			f.Bits |= bit.bit
		}
	case option == "allow_other":
		f.AllowOther = true
	case option == "noallow_other":
		f.AllowOther = false
	case option == "nonempty":
		f.NonEmpty = true
	case number != nil:
		base := 10
		if name == "umask" || name == "dir_mode" {
			base = 8
		}
		n, err := strconv.ParseUint(value, base, 32)
		if err != nil || base == 8 && n > 0o7777 {
			return fmt.Errorf("%w %s: %q is not a number it takes, write for example %s=%s", ErrOption, name, value, name, map[int]string{10: "1000", 8: "0755"}[base])
		}
		v := uint32(n)
		*number = &v
	default:
		f.Rest = append(f.Rest, option)
	}
	return nil
}

// kernelOptions are what the FUSE file system itself takes, in mount(2)'s
// data. The kernel checks permissions (default_permissions) always: with
// allow_other and without it, everybody could do everything.
func (o *Options) kernelOptions() []string {
	words := []string{"default_permissions", fmt.Sprintf("max_read=%d", maxRead)}
	if o.Flags.AllowOther {
		words = append(words, "allow_other")
	}
	return words
}

// helperOptions are kernelOptions and the flags as words: fusermount3 makes
// mount(2)'s arguments of them.
func (o *Options) helperOptions() []string {
	words := o.kernelOptions()
	for _, name := range []string{"ro", "noexec", "noatime", "nodiratime", "sync", "dirsync"} {
		if o.Flags.Bits&bits[name].bit != 0 {
			words = append(words, name)
		}
	}
	return words
}
